"""What goes out comes in again, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_exports import PILLARS, PLAIN, SECOND, exported, made
from test_export_unets import POINTCEPT, SLIDR, SLIDR_TARGET, UNET

from pc3d.engine.checkpoints import load_encoder
from pc3d.export import TARGETS
from pc3d.models.lidar.published import import_checkpoint

SPACE = ("grid", "z_range", "voxel_height", "stride", "voxel_size", "point_range")
"""Settings that no file tells."""

CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "openpcdet residual": ("openpcdet", "openpcdet", SECOND),
    "openpcdet plain": ("openpcdet", "openpcdet", PLAIN),
    "openpcdet pillars": ("openpcdet", "openpcdet", {**PILLARS, "centre_z": True}),
    "mmdet3d residual": ("mmdet3d", "mmdet3d", {**SECOND, "widths": [4, 6, 5, 8], "height_channels": 7}),
    "mmdet3d plain": ("mmdet3d", "mmdet3d", PLAIN),
    "mmdet3d square necks": ("mmdet3d", "mmdet3d", {**SECOND, "bev_widths": [8, 8]}),
    "mmdet3d pillars": ("mmdet3d", "mmdet3d", {**PILLARS, "centre_z": True}),
    "pointcept": ("pointcept", "pointcept", POINTCEPT),
    "mmdet3d spconv": ("mmdet3d-spconv", "mmdet3d-minkunet", UNET),
    "mmdet3d torchsparse": ("mmdet3d-torchsparse", "mmdet3d-minkunet", UNET),
    "mmdet3d minkowski": ("mmdet3d-minkowski", "mmdet3d-minkunet", UNET),
    "superflow": ("superflow", "superflow", UNET),
    "superflow bottlenecks": ("superflow", "superflow", {**UNET, "depth": 50}),
    "spvnas": ("spvnas", "scalr", UNET),
    "slidr": ("slidr", "slidr", SLIDR),
}


@pytest.mark.parametrize("name", CASES)
def test_export_and_import(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, form, config = CASES[name]
    if target == "slidr":
        narrow = replace(TARGETS[target], export=replace(SLIDR_TARGET, sizes=None).export)
        monkeypatch.setitem(TARGETS, target, narrow)
    encoder = made(tmp_path / "a.safetensors", config)
    exported(tmp_path / "a.safetensors", target, "intensity" if target == "slidr" else "kitti")
    again = tmp_path / "b.safetensors"
    overrides = {key: config[key] for key in SPACE if key in config}
    file = tmp_path / target / f"{target}.pth"
    _, report = import_checkpoint(file, form, again, overrides, intensity_scale=1.0)
    state, loaded = encoder.state_dict(), load_encoder(again).state_dict()
    assert all(part.startswith("bev_head.") for part in report.fresh)
    assert set(state) == set(loaded)
    for key in report.loaded:
        assert torch.equal(state[key], loaded[key]), key


def test_a_folded_intensity_comes_back_to_the_last_bit_but_one(tmp_path: Path) -> None:
    encoder = made(tmp_path / "a.safetensors", SECOND)
    exported(tmp_path / "a.safetensors", "openpcdet", "nuscenes")
    file, again = tmp_path / "openpcdet/openpcdet.pth", tmp_path / "b.safetensors"
    overrides = {key: SECOND[key] for key in SPACE if key in SECOND} | {"in_channels": 4}
    lidar, report = import_checkpoint(file, "openpcdet", again, overrides, intensity_scale=255.0)
    assert lidar["in_channels"] == 4
    assert report.left_out["levels.0.0.conv.weight, columns 4 to 4"] == "in_channels says so"
    state, loaded = encoder.state_dict(), load_encoder(again).state_dict()
    first = "levels.0.0.conv.weight"
    torch.testing.assert_close(loaded[first], state[first], rtol=1.2e-7, atol=0)
    assert all(torch.equal(state[key], loaded[key]) for key in state if key != first)


def test_the_time_lag_of_a_detector_is_kept(tmp_path: Path) -> None:
    """Of ten sweeps: the same points, `features = ["intensity", "time"]`, give the same map."""
    config = {**SECOND, "in_channels": 5}
    encoder = made(tmp_path / "a.safetensors", config, features=("intensity", "time"))
    state = exported(tmp_path / "a.safetensors", "openpcdet", "nuscenes")
    first = encoder.state_dict()["levels.0.0.conv.weight"]
    assert torch.equal(state["backbone_3d.conv_input.0.weight"][..., 4], first[..., 4])
    file, again = tmp_path / "openpcdet/openpcdet.pth", tmp_path / "b.safetensors"
    overrides = {key: SECOND[key] for key in SPACE if key in SECOND}
    lidar, _ = import_checkpoint(file, "openpcdet", again, overrides, intensity_scale=255.0)
    assert lidar["in_channels"] == 5
    assert torch.equal(load_encoder(again).state_dict()["levels.0.0.conv.weight"][..., 4], first[..., 4])
