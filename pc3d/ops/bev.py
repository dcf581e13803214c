"""Point and voxel features averaged into the cells of a bird's-eye-view map, and maps blurred."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.geometry.grid import BevGrid
from pc3d.ops.precision import full_precision
from pc3d.ops.segment import segment_mean


@full_precision
def bev_cells(xy: Tensor, grid: BevGrid) -> tuple[Tensor, Tensor]:
    """Cell of each position.

    Args:
        xy: (M, 2) metres.
        grid: the grid.

    Returns:
        (M,) int64 flat cell row * cols + col (0 outside) and (M,) bool whether it lies on the grid.
    """
    col = torch.floor((xy[:, 0] - grid.x_min) / grid.cell)
    row = torch.floor((xy[:, 1] - grid.y_min) / grid.cell)
    valid = (col >= 0) & (col < grid.cols) & (row >= 0) & (row < grid.rows)
    cell = torch.where(valid, row * grid.cols + col, torch.zeros_like(row))
    return cell.long(), valid


def scatter_bev(features: Tensor, xy: Tensor, batch: Tensor, batch_size: int, grid: BevGrid) -> Tensor:
    """Mean of the features that fall into each cell.

    Args:
        features: (M, C).
        xy: (M, 2) metres. batch: (M,) int64 sample.
        batch_size: number of samples B.
        grid: the grid; positions outside are left out.

    Returns:
        (B, C, rows, cols), zeros in empty cells. Differentiable in `features`.
    """
    cell, valid = bev_cells(xy, grid)
    cells = grid.rows * grid.cols
    index = torch.where(valid, batch * cells + cell, torch.full_like(cell, -1))
    mean, _ = segment_mean(features, index, batch_size * cells)
    return mean.view(batch_size, grid.rows, grid.cols, -1).permute(0, 3, 1, 2).contiguous()


@full_precision
def blur_bev(maps: Tensor, sigma: float) -> Tensor:
    """Maps under a Gaussian.

    Args:
        maps: (B, 1, rows, cols); zeros are taken to lie beyond the border.
        sigma: standard deviation in cells; the Gaussian is cut off at 3 sigma and its weights sum to 1.

    Returns:
        (B, 1, rows, cols). Differentiable.
    """
    reach = math.ceil(3 * sigma)
    offsets = torch.arange(-reach, reach + 1, device=maps.device, dtype=maps.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma).square())
    kernel = kernel / kernel.sum()
    across = F.conv2d(maps, kernel.view(1, 1, 1, -1), padding=(0, reach))
    return F.conv2d(across, kernel.view(1, 1, -1, 1), padding=(reach, 0))
