"""Points as the pillars that an exported PointPillars reads, in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pc3d.models.lidar.pointpillars import PointPillars


@dataclass(frozen=True)
class PillarGrid:
    """How space is cut into pillars.

    Attributes:
        low, high: corners of the range, x y z in metres; lower bounds are inside, upper bounds outside.
        size: of a pillar along x and y in metres.
        shape: pillars along y and x.
        columns: of the points that enter. scales: a factor for each.
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    size: tuple[float, float]
    shape: tuple[int, int]
    columns: tuple[int, ...]
    scales: tuple[float, ...]

    @classmethod
    def of(cls, encoder: PointPillars) -> PillarGrid:
        """That of an encoder."""
        inputs = encoder.inputs
        limits, scales = inputs.grid.limits, inputs.column_scales
        return cls(
            limits[:3],
            limits[3:],
            inputs.grid.size[:2],
            inputs.grid.shape[1:],
            tuple(inputs.columns),
            (1.0,) * len(inputs.columns) if scales is None else tuple(scales.tolist()),
        )


def pillars_of(
    points: NDArray[np.float32], grid: PillarGrid, most: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Pillars of one cloud.

    Args:
        points: (N, C) x y z (m, LiDAR frame), then features. grid: of the network.
        most: points that a pillar holds, others are left out; None: as many as the fullest has.

    Returns:
        (V, M, columns) points of each pillar, x y z always the first three, zeros behind its last;
        (V,) their number; (V, 2) row and column. V is at least 1: an empty cloud has a pillar without points.
    """
    xyz = points[:, :3]
    inside = ((xyz >= _array(grid.low)) & (xyz < _array(grid.high))).all(axis=1)
    points, xyz = points[inside], xyz[inside]
    cells = np.floor((xyz[:, 1::-1] - _array(grid.low[1::-1])) / _array(grid.size[::-1])).astype(np.int64)
    cells = np.clip(cells, 0, np.array(grid.shape) - 1)
    keys, first = np.unique(cells @ np.array([grid.shape[1], 1]), return_inverse=True)
    counts = np.bincount(first, minlength=max(len(keys), 1))
    order = np.argsort(first, kind="stable")
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)[: len(order)]
    held = max(int(counts.max()), 1) if most is None else most
    kept = rank < held
    enter = np.concatenate((xyz, points[:, list(grid.columns)] * _array(grid.scales)), axis=1)
    filled = np.zeros((len(counts), held, enter.shape[1]), np.float32)
    filled[first[order[kept]], rank[kept]] = enter[order[kept]]
    places = np.stack(np.divmod(keys, grid.shape[1]), axis=1) if len(keys) else np.zeros((1, 2), np.int64)
    return filled, np.minimum(counts, held).astype(np.int64), places.astype(np.int64)


def _array(values: Sequence[float]) -> NDArray[np.float32]:
    return np.asarray(values, np.float32)
