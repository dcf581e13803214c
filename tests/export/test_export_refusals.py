"""What cannot be equal is refused with the reason and a remedy; what is folded or left out is said."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from reference_detectors import bev_forward, openpcdet_sparse, scene
from small_exports import PILLARS, PLAIN, SECOND, bev_of, close, exported, made, points_in, space
from test_export_unets import POINTCEPT, UNET

from pc3d.cli import dispatch
from pc3d.data.errors import DataError
from pc3d.export import TARGETS, export_checkpoint
from pc3d.export.base import Options
from pc3d.export.points import TargetPoints
from pc3d.models.weights import save_backbone

REPOSITORY = Path(__file__).resolve().parents[2]
KITTI = Options(points=TargetPoints.parse("kitti"))
GRID = SECOND["grid"]

REFUSED: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "padding along z": (
        "openpcdet",
        {**PLAIN, "height_layout": "pc3d"},
        "pads along z",
        'height_layout = "openpcdet"',
    ),
    "epsilon": (
        "openpcdet",
        {**SECOND, "norm_eps": 1e-5},
        "epsilon 0.001, those of this network 1e-05",
        "--fold-eps",
    ),
    "epsilon of pillars": ("mmdet3d", {**PILLARS, "norm_eps": 1e-5}, "epsilon 0.001", "norm_eps = 0.001"),
    "widths": (
        "openpcdet",
        PLAIN | {"widths": [16, 32, 64, 128]},
        r"\(16, 32, 64, 64\) and 128 only",
        "train it with",
    ),
    "trilinear": (
        "openpcdet",
        {**SECOND, "point_source": "trilinear"},
        "sparse levels",
        "--leave-out point_head",
    ),
    "odd cells": (
        "mmdet3d",
        {**SECOND, "grid": {**GRID, "y_max": 1.6}},
        "3 x 4 cells, which its coarsest level",
        "multiple of 2 cells",
    ),
    "parts of voxels": (
        "openpcdet",
        {**SECOND, "voxel_height": 0.11},
        "along z is 36.36 voxels",
        "whole voxels",
    ),
    "a U-Net in a detector": ("openpcdet", UNET, "MinkUNet: it has no BEV backbone", "choose mmdet3d-spconv"),
    "cylinders in a detector": (
        "mmdet3d",
        {**UNET, "voxel": "cylinder", "voxel_size": None},
        "cylinder voxels and no BEV backbone",
        "choose",
    ),
    "cylinders": (
        "pointcept",
        {**POINTCEPT, "voxel": "cylinder", "voxel_size": None},
        "those of a cylinder, and Pointcept has cubes",
        'voxel = "cubic"',
    ),
    "a detector in a U-Net": (
        "pointcept",
        SECOND,
        "is a SECOND, the target's a MinkUNet",
        "choose openpcdet",
    ),
    "a stem": (
        "pointcept",
        {**POINTCEPT, "stem_kernels": [3, 3]},
        r"convolutions of \(3, 3\)",
        "stem_kernels = ",
    ),
    "where it widens": (
        "pointcept",
        {**POINTCEPT, "widen": "blocks"},
        "widths change in `blocks`",
        'widen = "down"',
    ),
    "and the other way": ("spvnas", {**UNET, "widen": "down"}, "widths change in `down`", 'widen = "blocks"'),
    "bottlenecks": ("mmdet3d-torchsparse", {**UNET, "depth": 50}, "depth 50 has bottleneck", "18 or 34"),
    "sizes": ("slidr", {**UNET, "stem_kernels": [3]}, "has depth 34 with widths", "train depth = 34"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_equal(tmp_path: Path, name: str) -> None:
    target, config, why, remedy = REFUSED[name]
    made(tmp_path / "a.safetensors", config)
    with pytest.raises(DataError, match=f"{why}(?s:.*)where: .*a.safetensors(?s:.*)remedy: (?s:.*){remedy}"):
        export_checkpoint(tmp_path / "a.safetensors", target, tmp_path / "out", KITTI)
    assert not (tmp_path / "out").exists()


def test_columns_are_asked_for_where_they_hang_on_the_data(tmp_path: Path) -> None:
    made(tmp_path / "a.safetensors", SECOND)
    with pytest.raises(DataError, match=r"columns and the scale of intensity(?s:.*)--points nuscenes, kitti"):
        export_checkpoint(tmp_path / "a.safetensors", "openpcdet", tmp_path)


def test_a_column_that_the_target_lacks(tmp_path: Path) -> None:
    made(tmp_path / "a.safetensors", {**SECOND, "in_channels": 5}, features=("intensity", "ring"))
    with pytest.raises(
        DataError, match=r"reads ring, which the target's points \(x,y,z,intensity\) do not have"
    ):
        export_checkpoint(tmp_path / "a.safetensors", "openpcdet", tmp_path, KITTI)
    state = exported(tmp_path / "a.safetensors", "openpcdet", "x,y,z,ring,intensity*100")
    _, found = export_checkpoint(
        tmp_path / "a.safetensors",
        "mmdet3d",
        tmp_path,
        Options(TargetPoints.parse("x,y,z,ring,intensity*100")),
    )
    assert "The first layer's weights for intensity are multiplied by 0.01." in found.notes
    assert state["backbone_3d.conv_input.0.weight"].shape[-1] == 5


@pytest.mark.parametrize(
    "text", ["nuscene", "x,y,z,intensity*", "x,y,z,x", "x,y,z,intensity*-1", "y,x,z", "", "a b"]
)
def test_columns_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="points "):
        TargetPoints.parse(text)


def test_column_scales_of_the_encoder_are_folded(tmp_path: Path) -> None:
    """An encoder that multiplies the intensity by 255 itself needs nothing folded where 0..255 is fed."""
    config = {**UNET, "column_scales": [1.0, 1.0, 1.0, 255.0]}
    encoder = made(tmp_path / "a.safetensors", config)
    state = exported(tmp_path / "a.safetensors", "superflow")
    own = encoder.state_dict()["stem.0.conv.weight"]
    assert torch.equal(state["conv0.0.conv.kernel"][13], own[:, 1, 1, 1].T)


def test_epsilon_folded_is_equal_in_inference(tmp_path: Path) -> None:
    config = {**PLAIN, "norm_eps": 1e-5}
    encoder = made(tmp_path / "a.safetensors", config)
    state = exported(tmp_path / "a.safetensors", "openpcdet", "kitti", fold_eps=True)
    points = points_in(config)
    flat = openpcdet_sparse(state, scene(points, *space(encoder)), residual=False)
    close(bev_of(encoder, points), bev_forward(state, flat, "backbone_2d.", "backbone_2d.", 1, 1, False))
    assert "equal in inference" in (tmp_path / "openpcdet/openpcdet.yaml").read_text()


def test_a_trilinear_head_that_may_be_left_out(tmp_path: Path) -> None:
    made(tmp_path / "a.safetensors", {**SECOND, "point_source": "trilinear"})
    options = Options(KITTI.points, leave_out=("point_head",))
    _, found = export_checkpoint(tmp_path / "a.safetensors", "openpcdet", tmp_path, options)
    assert found.left_out == {"point_head": "no point features in the target"}
    assert not any("point_head" in name for name in found.tensors)


def test_the_snippet_of_openpcdet(tmp_path: Path) -> None:
    made(tmp_path / "a.safetensors", PILLARS | {"in_channels": 5}, features=("intensity", "time"))
    exported(tmp_path / "a.safetensors", "openpcdet", "nuscenes")
    text = (tmp_path / "openpcdet/openpcdet.yaml").read_text()
    assert "multiplied by 0.00392157" in text
    config = yaml.safe_load(text)
    data, model = config["DATA_CONFIG"], config["MODEL"]
    assert data["POINT_CLOUD_RANGE"] == [1.0, -0.8, -3.0, 4.2, 0.8, 1.0]
    assert data["DATA_PROCESSOR"][2]["VOXEL_SIZE"] == [0.4, 0.4, 4.0]
    features = data["POINT_FEATURE_ENCODING"]["used_feature_list"]
    assert features == ["x", "y", "z", "intensity", "timestamp"]
    assert model["VFE"]["NUM_FILTERS"] == [8]
    assert model["BACKBONE_2D"] == {
        "NAME": "BaseBEVBackbone",
        "LAYER_NUMS": [1, 2],
        "LAYER_STRIDES": [2, 2],
        "NUM_FILTERS": [6, 10],
        "UPSAMPLE_STRIDES": [1, 2],
        "NUM_UPSAMPLE_FILTERS": [8, 8],
    }
    made(tmp_path / "b.safetensors", SECOND)
    exported(tmp_path / "b.safetensors", "openpcdet", "kitti")
    model = yaml.safe_load((tmp_path / "openpcdet/openpcdet.yaml").read_text())["MODEL"]
    assert model["MAP_TO_BEV"]["NUM_BEV_FEATURES"] == 256
    assert model["BACKBONE_3D"]["NAME"] == "VoxelResBackBone8x"


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    for path, says in (
        (tmp_path / "none.safetensors", "no checkpoint with the lidar network"),
        (tmp_path, "no checkpoint"),
    ):
        with pytest.raises(DataError, match=says):
            export_checkpoint(path, "openpcdet", tmp_path, KITTI)
    (tmp_path / "a.pth").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"no checkpoint of pc3d's weights(?s:.*)pc3d import"):
        export_checkpoint(tmp_path / "a.pth", "openpcdet", tmp_path, KITTI)
    with pytest.raises(ValueError, match="unknown target 'openpcdt'; did you mean 'openpcdet'"):
        export_checkpoint(tmp_path / "a.pth", "openpcdt", tmp_path)


def test_a_run_folder_is_a_checkpoint(tmp_path: Path) -> None:
    made(tmp_path / "backbone.safetensors", PLAIN)
    files, _ = export_checkpoint(tmp_path, "openpcdet", tmp_path / "out", KITTI)
    assert [file.name for file in files] == ["openpcdet.pth", "openpcdet.yaml"]


def test_a_segmenters_head_is_left_out(tmp_path: Path) -> None:
    from pc3d.engine.finetuner import build_segmenter

    head = {"num_classes": 3}
    segmenter = build_segmenter(UNET, head)
    about = {"lidar": json.dumps(UNET), "head": json.dumps(head)}
    save_backbone(segmenter, tmp_path / "segmenter.safetensors", about)
    _, found = export_checkpoint(tmp_path / "segmenter.safetensors", "spvnas", tmp_path)
    assert found.left_out["head"] == "of the segmentation: its own layers, one per class set"


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    made(tmp_path / "a.safetensors", SECOND)
    dispatch(["export", "--list"])
    listed = capsys.readouterr().out
    assert all(f"\n{name} " in f"\n{listed}" for name in TARGETS)
    out = tmp_path / "new/folder"
    command = ["export_weights", str(tmp_path / "a.safetensors"), "--to", "openpcdet", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*command, "--points", "nuscenes"])
    runpy.run_path(str(REPOSITORY / "tools/export_weights.py"), run_name="__main__")
    text = capsys.readouterr().out
    assert "The network does not read time: weights of zero." in text
    assert f"weights: {out / 'openpcdet.pth'}\nbeside them: {out / 'openpcdet.yaml'}\n" in text
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(REPOSITORY / "tools/export_weights.py"), run_name="__main__")
    assert stop.value.code == 2
    assert "give --points nuscenes" in capsys.readouterr().err
    with pytest.raises(ValueError, match="name a checkpoint and --to TARGET"):
        dispatch(["export", "--to", "openpcdet"])
