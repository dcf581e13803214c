"""Features of drawn cells: of their place alone, of the points in them, of LiDAR and camera maps."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pc3d.data.batch import Batch, Needs
from pc3d.data.frame_types import FrameConfig
from pc3d.data.points import load_sweep
from pc3d.data.records import Float32, Float64
from pc3d.evaluation.protocol.bev import BevData
from pc3d.evaluation.protocol.shown import batches, device_of, estimated_norms, modes_kept
from pc3d.geometry.grid import BevGrid
from pc3d.models.bev.base import ViewTransform
from pc3d.models.bev.camera_map import camera_map
from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar.base import LidarEncoder
from pc3d.ops.interpolate import sample_bev

POSITION = ("x", "y", "|x|", "|y|", "range", "cos", "sin")
STATISTICS = ("occupied", "log count", "lowest", "highest", "mean z", "mean intensity")
_AROUND = 2
"""Cells to each side that count as the surroundings of a cell."""


def position(data: BevData) -> Float32:
    """(N, 7) `POSITION` of the cells (m): what is known of a cell before anything is seen.

    The LiDAR stands on the road and the road goes on ahead of it, so that this alone says much of a map.
    """
    xy = np.concatenate(data.xy).astype(np.float64)
    distance = np.hypot(xy[:, 0], xy[:, 1])
    direction = xy / np.maximum(distance, 1e-6)[:, None]
    return np.column_stack([xy, np.abs(xy), distance, direction]).astype(np.float32)


def lidar_statistics(data: BevData) -> Float32:
    """(N, 12) `STATISTICS` of the points in each cell and of those in the 5 x 5 cells around it.

    Heights in metres above the LiDAR; all are 0 where there is no point. Nothing of them is learned.
    """
    parts = []
    for token, xy in zip(data.tokens, data.xy, strict=True):
        tables = _tables(load_sweep(data.index[data.index.row_of(token)]), data.grid)
        col = ((xy[:, 0] - data.grid.x_min) / data.grid.cell).astype(np.int64)
        row = ((xy[:, 1] - data.grid.y_min) / data.grid.cell).astype(np.int64)
        parts.append(np.hstack([_statistics(_spread(tables, around), row, col) for around in (0, _AROUND)]))
    return np.concatenate(parts)


def _tables(points: Float32, grid: BevGrid) -> list[Float64]:
    """Of each cell (rows, cols): number of points, sum of z, sum of intensity, lowest and highest z."""
    col = np.floor((points[:, 0] - grid.x_min) / grid.cell).astype(np.int64)
    row = np.floor((points[:, 1] - grid.y_min) / grid.cell).astype(np.int64)
    inside = (col >= 0) & (col < grid.cols) & (row >= 0) & (row < grid.rows)
    cell = (row * grid.cols + col)[inside]
    z, intensity = points[inside, 2].astype(np.float64), points[inside, 3].astype(np.float64)
    size = grid.rows * grid.cols
    sums = [np.bincount(cell, weights, size) for weights in (None, z, intensity)]
    low, high = np.full(size, np.inf), np.full(size, -np.inf)
    np.minimum.at(low, cell, z)
    np.maximum.at(high, cell, z)
    return [table.astype(np.float64).reshape(grid.rows, grid.cols) for table in (*sums, low, high)]


def _spread(tables: list[Float64], around: int) -> list[Float64]:
    """The same of the squares of 1 + 2 * `around` cells around each cell."""
    fills = (0.0, 0.0, 0.0, np.inf, -np.inf)
    width = 2 * around + 1
    windows = [
        np.lib.stride_tricks.sliding_window_view(np.pad(table, around, constant_values=fill), (width, width))
        for table, fill in zip(tables, fills, strict=True)
    ]
    sums = [window.sum(axis=(2, 3)) for window in windows[:3]]
    return [*sums, windows[3].min(axis=(2, 3)), windows[4].max(axis=(2, 3))]


def _statistics(tables: list[Float64], row: NDArray[np.int64], col: NDArray[np.int64]) -> Float32:
    """(n, 6) `STATISTICS` at some cells."""
    n, h, i, a, b = (table[row, col] for table in tables)
    filled, some = n > 0, np.maximum(n, 1)
    values = [filled, np.log1p(n), np.where(filled, a, 0), np.where(filled, b, 0), h / some, i / some]
    return np.stack(values, axis=1).astype(np.float32)


@torch.no_grad()
def of_lidar_map(data: BevData, encoder: LidarEncoder, frames: FrameConfig | None = None) -> Float32:
    """(N, C) of an encoder's BEV map at the cells, in evaluation mode; zeros off its grid."""
    parts = []
    with modes_kept(encoder):
        encoder.eval()
        for number, batch in enumerate(batches(data, frames, Needs(), 1)):
            bev = encoder(batch.to(device_of(encoder)).now.views["a"], want_bev=True).bev
            assert bev is not None
            parts.append(_read(bev, encoder.grid, data, number))
    return np.concatenate(parts)


def of_camera_map(
    data: BevData,
    image: ImageEncoder,
    camera: ViewTransform,
    frames: FrameConfig | None = None,
    estimate_on: BevData | None = None,
) -> Float32:
    """(N, C) of the cameras' BEV map at the cells, in evaluation mode; zeros off its grid.

    Args:
        image, camera: the branch; both are given back as they were.
        frames: size of the images.
        estimate_on: with it, the batch-norm statistics are those of these sweeps, as an untrained branch
            needs them that has none yet.
    """
    branch = nn.ModuleList([image, camera])
    shown = () if estimate_on is None else batches(estimate_on, frames, Needs(images=True), 1)
    passes = (_camera_map(batch, image, camera) for batch in shown)
    estimated = nullcontext() if estimate_on is None else estimated_norms(branch, passes)
    parts = []
    with modes_kept(branch), torch.no_grad(), estimated:
        branch.eval()
        for number, batch in enumerate(batches(data, frames, Needs(images=True), 1)):
            bev = _camera_map(batch, image, camera)
            parts.append(_read(bev, camera.grid, data, number))
    return np.concatenate(parts)


def _camera_map(batch: Batch, image: nn.Module, camera: nn.Module) -> Tensor:
    frame = batch.to(device_of(image)).now
    assert isinstance(camera, ViewTransform)
    return camera_map(camera, image(frame.pictures()), frame)


def _read(bev: Tensor, grid: BevGrid, data: BevData, number: int) -> Float32:
    xy = torch.from_numpy(data.xy[number]).to(bev.device)
    sample = torch.zeros(len(xy), dtype=torch.long, device=bev.device)
    return sample_bev(bev.float(), grid, xy, sample)[0].cpu().numpy()
