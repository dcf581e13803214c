"""A detector with CenterPoint's layers goes out with its head."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_exports import GRID, SECOND, close, exported, points_in, randomise, view_of
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d

from pc3d.models.bev_models import BevModel, build_bev_model
from pc3d.models.weights import save_backbone

HEAD: dict[str, Any] = {
    "groups": [["car"], ["truck", "bus"]],
    "detection": ["bus", "car", "truck"],
    "shared_channels": 6,
    "head_channels": 6,
}
NAMES = {"openpcdet": {"heatmap": "hm", "reg": "center", "height": "center_z"}, "mmdet3d": {}}
LEAVES = ("running_mean", "running_var", "weight", "bias")


def detector(path: Path, network: dict[str, Any], head: dict[str, Any]) -> BevModel:
    model = build_bev_model("detection", network, head).eval()
    randomise(model)
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if ".outputs." in name and name.endswith("bias"):
            parameter.data = 2 * torch.rand(parameter.shape, generator=generator) - 1
    about = {"task": "detection", "network": json.dumps(network), "head": json.dumps(head)}
    save_backbone(model, path, about)
    return model


def conv_norm(state: dict[str, Tensor], x: Tensor, conv: str, norm: str) -> Tensor:
    bias = state.get(f"{conv}.bias")
    y = conv2d(x, state[f"{conv}.weight"].double(), None if bias is None else bias.double(), padding=1)
    return batch_norm(y, *(state[f"{norm}.{leaf}"].double() for leaf in LEAVES), eps=1e-5).relu()


def head_forward(state: dict[str, Tensor], bev: Tensor, target: str) -> list[dict[str, Tensor]]:
    """Maps of the target's head, by its names, for each of two groups."""
    layers = {"openpcdet": ("0", "1"), "mmdet3d": ("conv", "bn")}[target]
    base = {"openpcdet": "dense_head.", "mmdet3d": "pts_bbox_head."}[target]
    groups = {"openpcdet": "heads_list", "mmdet3d": "task_heads"}[target]
    shared = conv_norm(state, bev.double(), *(f"{base}shared_conv.{layer}" for layer in layers))
    found = []
    for group in (0, 1):
        maps = {}
        for branch in ("heatmap", "reg", "height", "dim", "rot", "vel"):
            name = f"{base}{groups}.{group}.{NAMES[target].get(branch, branch)}"
            hidden = conv_norm(state, shared, *(f"{name}.0.{layer}" for layer in layers))
            last = state[f"{name}.1.weight"].double()
            maps[branch] = conv2d(hidden, last, state[f"{name}.1.bias"].double(), padding=1)
        found.append(maps)
    return found


@pytest.mark.parametrize("target", NAMES)
def test_the_maps_are_the_same(tmp_path: Path, target: str) -> None:
    model = detector(tmp_path / "a.safetensors", {"lidar": SECOND, "fused_channels": None}, HEAD)
    state = exported(tmp_path / "a.safetensors", target, "kitti")
    with torch.no_grad():
        bev = model.network.lidar(view_of(points_in(SECOND))).bev
        own = model.head(model.network.backbone(model.network.fuser(bev)))
    for mine, theirs in zip(own, head_forward(state, bev, target), strict=True):
        if target == "openpcdet":  # it reads atan2 of the second over the first
            theirs["rot"] = theirs["rot"].flip(1)
        for branch, maps in mine.items():
            close(maps, theirs[branch])


def test_the_snippets_have_the_head(tmp_path: Path) -> None:
    detector(tmp_path / "a.safetensors", {"lidar": SECOND, "fused_channels": None}, HEAD)
    exported(tmp_path / "a.safetensors", "openpcdet", "kitti")
    head = yaml.safe_load((tmp_path / "openpcdet/openpcdet.yaml").read_text())["MODEL"]["DENSE_HEAD"]
    assert head["CLASS_NAMES_EACH_HEAD"] == [["car"], ["truck", "bus"]]
    assert head["TARGET_ASSIGNER_CONFIG"]["FEATURE_MAP_STRIDE"] == 8
    exported(tmp_path / "a.safetensors", "mmdet3d", "kitti")
    config: dict[str, Any] = {}
    exec((tmp_path / "mmdet3d/mmdet3d.py").read_text(), config)
    assert config["model"]["pts_bbox_head"]["in_channels"] == 16
    assert [task["num_class"] for task in config["model"]["pts_bbox_head"]["tasks"]] == [1, 2]


def test_a_head_over_a_fuser_stays(tmp_path: Path) -> None:
    from pc3d.export import export_checkpoint
    from pc3d.export.base import Options
    from pc3d.export.points import TargetPoints

    detector(tmp_path / "a.safetensors", {"lidar": SECOND, "fused_channels": 5}, HEAD)
    kitti = Options(TargetPoints.parse("kitti"))
    _, found = export_checkpoint(tmp_path / "a.safetensors", "openpcdet", tmp_path, kitti)
    assert "fused_channels=None" in found.left_out["fuser"]
    assert not any(name.startswith("dense_head") for name in found.tensors)
    narrow = {**HEAD, "head_channels": 4}
    detector(tmp_path / "b.safetensors", {"lidar": SECOND, "fused_channels": None}, narrow)
    _, found = export_checkpoint(tmp_path / "b.safetensors", "openpcdet", tmp_path, kitti)
    assert found.left_out == {"head": "branches of 4 channels, the target's have the 6 shared ones"}
    _, found = export_checkpoint(tmp_path / "b.safetensors", "mmdet3d", tmp_path, kitti)
    assert found.left_out == {}


def test_two_branches_need_a_fuser() -> None:
    camera = {"type": "LSS", "grid": GRID, "bev_channels": 4}
    image = {"type": "EfficientNetLite0", "pretrained": False, "levels": [16]}
    with pytest.raises(ValueError, match="2 branches need a fuser: set `fused_channels`"):
        build_bev_model(
            "detection", {"lidar": SECOND, "image": image, "camera": camera, "fused_channels": None}, HEAD
        )
