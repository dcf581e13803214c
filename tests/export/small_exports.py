"""Encoders for the tests of exports: random weights and statistics, written as a checkpoint of pc3d."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pc3d.data.batch import PointView
from pc3d.export import export_checkpoint
from pc3d.export.base import Options
from pc3d.export.points import TargetPoints
from pc3d.models.lidar import LidarEncoder, build_lidar_encoder
from pc3d.models.weights import save_backbone

GRID = {"x_min": 1.0, "x_max": 4.2, "y_min": -0.8, "y_max": 0.8, "cell": 0.8}
"""4 x 2 cells: no side is like another, and no corner is the origin."""
SECOND: dict[str, Any] = {
    "type": "SECOND",
    "blocks": "residual",
    "height_layout": "openpcdet",
    "norm_eps": 1e-3,
    "norm_momentum": 0.01,
    "bev_widths": [6, 10],
    "bev_layers": [1, 2],
    "bev_channels": 16,
    "grid": GRID,
    "z_range": [-3.0, 1.0],
    "voxel_height": 0.1,
}
PLAIN: dict[str, Any] = {**SECOND, "blocks": "plain", "widths": [16, 32, 64, 64]}
PILLARS: dict[str, Any] = {
    "type": "PointPillars",
    "norm_eps": 1e-3,
    "norm_momentum": 0.01,
    "pillar_channels": 8,
    "stride": 2,
    "bev_widths": [6, 10],
    "bev_layers": [1, 2],
    "bev_channels": 16,
    "grid": GRID,
    "z_range": [-3.0, 1.0],
}


def randomise(module: nn.Module, seed: int = 0) -> None:
    """Weights that keep features near 1, and statistics of norms that no new network has."""
    generator = torch.Generator().manual_seed(seed)
    residual = any(hasattr(part, "shortcut") for part in module.modules())
    gain = 1.5 if residual else 9  # few voxels have neighbours

    def uniform(like: Tensor, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(like.shape, generator=generator)

    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.weight.data, part.bias.data = uniform(part.weight, 0.5, 1.5), uniform(part.bias, -0.5, 0.5)
            part.running_mean = uniform(part.weight, -0.5, 0.5)
            part.running_var = uniform(part.weight, 0.5, 2.0)
            part.num_batches_tracked.fill_(7)
        elif getattr(part, "weight", None) is not None and part.weight.ndim > 1:
            fan = part.weight[0].numel() / (gain if part.weight.ndim == 5 else 2)
            part.weight.data = torch.randn(part.weight.shape, generator=generator) / fan**0.5


def made(
    path: Path, config: Mapping[str, Any], features: Sequence[str] = ("intensity",), seed: int = 0
) -> LidarEncoder:
    """A random encoder in evaluation mode, and its checkpoint at `path`."""
    encoder = build_lidar_encoder(config).eval()
    randomise(encoder, seed)
    frames = {"features": list(features)}
    save_backbone(encoder, path, {"lidar": json.dumps(dict(config)), "frames": json.dumps(frames)})
    return encoder


def exported(path: Path, target: str, points: str | None = None, **options: Any) -> dict[str, Tensor]:
    """The tensors that a target's file holds, read as its loader reads them."""
    chosen = Options(points=None if points is None else TargetPoints.parse(points), **options)
    (weights, _), _ = export_checkpoint(path, target, path.parent / target, chosen)
    content = torch.load(weights, weights_only=True)
    wrapped = [value for value in content.values() if isinstance(value, dict) and value]
    return wrapped[0] if wrapped else content


def points_in(config: Mapping[str, Any], count: int = 600, columns: int = 4, seed: int = 1) -> Tensor:
    """(count, columns) points within the range, several to a voxel; further columns in 0..1."""
    grid, (low, high) = config["grid"], config["z_range"]
    corner = torch.tensor([grid["x_min"], grid["y_min"], low])
    sides = torch.tensor([grid["x_max"] - grid["x_min"], grid["y_max"] - grid["y_min"], high - low])
    generator = torch.Generator().manual_seed(seed)
    seeds = torch.rand(count // 3, 3, generator=generator)
    near = seeds.repeat(3, 1) + 0.003 * torch.rand(len(seeds) * 3, 3, generator=generator)
    xyz = corner + sides * near.clamp(0.001, 0.999)
    return torch.cat((xyz, torch.rand(len(xyz), columns - 3, generator=generator)), dim=1)


def view_of(points: Tensor) -> PointView:
    """A batch of one cloud."""
    rows = torch.arange(len(points))
    return PointView(points, torch.zeros(len(points), dtype=torch.long), rows, torch.eye(4)[None], 1)


@torch.no_grad()
def bev_of(encoder: LidarEncoder, points: Tensor) -> Tensor:
    bev = encoder(view_of(points)).bev
    assert bev is not None
    return bev


def space(encoder: LidarEncoder) -> tuple[Tensor, Tensor, tuple[int, int, int]]:
    """Corner, size and number (z, y, x) of the voxels, from the grid's own numbers."""
    grid = encoder.inputs.grid
    return torch.tensor(grid.limits[:3]).double(), torch.tensor(grid.size).double(), grid.shape


def close(got: Tensor, want: Tensor, tolerance: float = 1e-5) -> None:
    """Equal within the tolerance, at a scale that is not small."""
    assert want.abs().max() > 0.25
    assert got.shape == want.shape
    assert (got.double() - want.double()).abs().max() < tolerance * max(1.0, float(want.abs().max()))
