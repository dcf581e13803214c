"""SECOND and PointPillars in OpenPCDet and mmdetection3d: what goes out computes there what it does here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from reference_detectors import bev_forward, mmdet3d_sparse, openpcdet_sparse, pillars_forward, scene
from small_exports import PILLARS, PLAIN, SECOND, bev_of, close, exported, made, points_in, space

SCALE = {"nuscenes": 255.0, "kitti": 1.0}


def fed(points: torch.Tensor, preset: str) -> torch.Tensor:
    """The points as the target feeds them."""
    points = points.double()
    points[:, 3] *= SCALE[preset]
    lag = torch.rand(len(points), 1).double()
    return torch.cat((points, lag), dim=1) if preset == "nuscenes" else points


@pytest.mark.parametrize("blocks", ["residual", "plain"])
@pytest.mark.parametrize("preset", SCALE)
def test_second_in_openpcdet(tmp_path: Path, blocks: str, preset: str) -> None:
    config = SECOND if blocks == "residual" else PLAIN
    encoder = made(tmp_path / "a.safetensors", config)
    state = exported(tmp_path / "a.safetensors", "openpcdet", preset)
    points = points_in(config)
    flat = openpcdet_sparse(state, scene(fed(points, preset), *space(encoder)), blocks == "residual")
    want = bev_forward(state, flat, "backbone_2d.", "backbone_2d.", 1, 1, conv_neck=False)
    close(bev_of(encoder, points), want)


@pytest.mark.parametrize(("blocks", "style"), [("residual", "centerpoint"), ("plain", "voxelnet")])
def test_second_in_mmdetection3d(tmp_path: Path, blocks: str, style: str) -> None:
    config = {**(SECOND if blocks == "residual" else PLAIN), "widths": [4, 6, 5, 8], "height_channels": 7}
    encoder = made(tmp_path / "a.safetensors", config)
    state = exported(tmp_path / "a.safetensors", "mmdet3d", "nuscenes")
    points, prefix = points_in(config), {"centerpoint": "pts_", "voxelnet": ""}[style]
    voxels = scene(fed(points, "nuscenes"), *space(encoder))
    flat = mmdet3d_sparse(state, voxels, blocks == "residual", prefix)
    conv_neck = blocks == "residual"
    want = bev_forward(state, flat, f"{prefix}backbone.", f"{prefix}neck.", 0, 1, conv_neck)
    close(bev_of(encoder, points), want)


@pytest.mark.parametrize("centre_z", [False, True])
@pytest.mark.parametrize("target", ["openpcdet", "mmdet3d"])
def test_pillars(tmp_path: Path, target: str, centre_z: bool) -> None:
    config = {**PILLARS, "centre_z": centre_z}
    encoder = made(tmp_path / "a.safetensors", config)
    state = exported(tmp_path / "a.safetensors", target, "nuscenes")
    points = points_in(config)
    layer = {"openpcdet": "vfe.pfn_layers.0", "mmdet3d": "voxel_encoder.pfn_layers.0"}[target]
    names = {"openpcdet": ("linear", "norm"), "mmdet3d": ("0", "1")}[target]
    canvas = pillars_forward(
        state, *(f"{layer}.{name}" for name in names), fed(points, "nuscenes"), *space(encoder)
    )
    parts = {"openpcdet": ("backbone_2d.", "backbone_2d.", 1), "mmdet3d": ("backbone.", "neck.", 0)}[target]
    want = bev_forward(state, canvas, *parts, 2, conv_neck=False)
    close(bev_of(encoder, points), want)
