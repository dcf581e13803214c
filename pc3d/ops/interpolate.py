"""Bilinear samples of feature maps at packed positions; only the asked positions are computed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from pc3d.geometry.grid import BevGrid
from pc3d.ops.device import constant


def _bilinear(maps: Tensor, index: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(M, C) samples of maps (N, C, H, W) at continuous cell coordinates, cell centres at + 0.5.

    Beyond the outermost centres the border value holds.
    """
    _, channels, height, width = maps.shape
    rows = maps.permute(0, 2, 3, 1).reshape(-1, channels)
    x = (x - 0.5).clamp(0, width - 1)
    y = (y - 0.5).clamp(0, height - 1)
    x0, y0 = x.floor().long(), y.floor().long()
    x1, y1 = (x0 + 1).clamp(max=width - 1), (y0 + 1).clamp(max=height - 1)
    wx, wy = (x - x0).unsqueeze(1), (y - y0).unsqueeze(1)  # not rounded to half precision
    first = index * (height * width)

    def corner(row: Tensor, col: Tensor) -> Tensor:
        return rows.index_select(0, first + row * width + col)

    top = corner(y0, x0) * (1 - wx) + corner(y0, x1) * wx
    bottom = corner(y1, x0) * (1 - wx) + corner(y1, x1) * wx
    return (top * (1 - wy) + bottom * wy).to(maps.dtype)


def on_grid(grid: BevGrid, xy: Tensor) -> Tensor:
    """(M,) bool: which of (M, 2) positions in metres lie on a BEV grid."""
    return _cells(grid, xy)[2]


def _cells(grid: BevGrid, xy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    col = (xy[:, 0] - grid.x_min) / grid.cell
    row = (xy[:, 1] - grid.y_min) / grid.cell
    return col, row, (col >= 0) & (col < grid.cols) & (row >= 0) & (row < grid.rows)


def sample_bev(bev: Tensor, grid: BevGrid, xy: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
    """Bilinear samples of a BEV map at positions in metres.

    Args:
        bev: (B, C, rows, cols) on `grid`; cell (i, j) stands for its centre.
        grid: the grid.
        xy: (M, 2) metres. batch: (M,) int64 sample of each position.

    Returns:
        (M, C) samples, zeros outside the grid, and (M,) bool whether the position lies on the grid.
        Differentiable in `bev`.
    """
    if bev.shape[2:] != (grid.rows, grid.cols):
        raise ValueError(f"map of {tuple(bev.shape[2:])} cells on a grid of {grid.rows} x {grid.cols}")
    col, row, valid = _cells(grid, xy)
    samples = _bilinear(bev, batch, torch.nan_to_num(col), torch.nan_to_num(row))
    return torch.where(valid.unsqueeze(1), samples, torch.zeros_like(samples)), valid


def sample_images(maps: Tensor, image_index: Tensor, uv: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Bilinear samples of image feature maps at pixel coordinates.

    Args:
        maps: (N, C, H', W') feature maps.
        image_index: (M,) int64 image of each position.
        uv: (M, 2) pixel coordinates (right, down), pixel centres at integer + 0.5.
        image_size: (height, width) in pixels of the images that the maps cover.

    Returns:
        (M, C) samples, as if the map were stretched over the image. Differentiable in `maps`.
    """
    height, width = image_size
    x = uv[:, 0] * (maps.shape[3] / width)
    y = uv[:, 1] * (maps.shape[2] / height)
    return _bilinear(maps, image_index, x, y)


def sample_voxels(
    features: Tensor, coords: Tensor, shape: Sequence[int], xyz: Tensor, batch: Tensor
) -> Tensor:
    """Trilinear samples of a sparse map; weights are spread over the active voxels among the eight.

    Args:
        features: (N, C) of the active voxels.
        coords: (N, 4) their (sample, z, y, x), each once.
        shape: number of voxels along z, y, x.
        xyz: (M, 3) positions in voxel units, voxel centres at integer + 0.5.
        batch: (M,) int64 sample of each position.

    Returns:
        (M, C), zeros where none of the eight voxels is active. Differentiable in `features`.
    """
    key, order = _flat_key(coords[:, 0].long(), coords[:, 1:].long(), shape).sort()
    low = (xyz - 0.5).floor()
    fraction = xyz - 0.5 - low
    total = features.new_zeros(len(xyz), features.shape[1])
    weights = features.new_zeros(len(xyz))
    limit = constant(list(shape), batch)
    for offset in product((0, 1), repeat=3):
        step = constant(offset, xyz)
        corner = (low + step).long().flip(1)
        inside = ((corner >= 0) & (corner < limit)).all(dim=1)
        wanted = _flat_key(batch, corner, shape)
        place = torch.searchsorted(key, wanted).clamp(max=len(key) - 1)
        active = inside & (key[place] == wanted)
        weight = torch.where(step.bool(), fraction, 1 - fraction).prod(dim=1) * active
        total = total + features.index_select(0, order[place]) * weight.unsqueeze(1)
        weights = weights + weight
    return total / weights.clamp(min=1e-6).unsqueeze(1)


def _flat_key(sample: Tensor, zyx: Tensor, shape: Sequence[int]) -> Tensor:
    z, y, x = zyx.unbind(1)
    return ((sample * shape[0] + z) * shape[1] + y) * shape[2] + x
