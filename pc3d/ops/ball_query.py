"""Neighbours within a radius (the ball query of PointNet++, Qi et al., NeurIPS 2017)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pc3d.storage.compiled import njit

CHUNK = 256
"""Centres whose distances to all points are in memory at once, on CUDA."""


@njit(cache=True)
def _query_numba(xyz, key, order, cells, centres, width, radius, found):  # type: ignore[no-untyped-def]
    """Fill the rows of `found` (M, count) with the lowest rows within the radius of each centre.

    `key` are the cells' numbers, ascending; `order` the row of each; `cells` (P, 4) sample and x, y, z cell
    of each row; `width` the number of cells along x, y, z with one empty cell at either end.
    """
    count = found.shape[1]
    for m in range(len(centres)):
        c = centres[m]
        filled = 0
        for i in range(-1, 2):
            for j in range(-1, 2):
                column = (cells[c, 0] * width[0] + cells[c, 1] + i) * width[1] + cells[c, 2] + j
                first = column * width[2] + cells[c, 3] - 1
                for s in range(np.searchsorted(key, first), np.searchsorted(key, first + 3)):
                    p = order[s]
                    dx, dy, dz = xyz[p, 0] - xyz[c, 0], xyz[p, 1] - xyz[c, 1], xyz[p, 2] - xyz[c, 2]
                    if dx * dx + dy * dy + dz * dz > radius * radius:
                        continue
                    if filled == count and p > found[m, count - 1]:
                        continue
                    filled = min(filled + 1, count)
                    k = filled - 1  # insertion sort: the last place is free or gives way
                    while k > 0 and found[m, k - 1] > p:
                        found[m, k] = found[m, k - 1]
                        k -= 1
                    found[m, k] = p


def _query_grid(xyz: np.ndarray, batch: np.ndarray, centres: np.ndarray, radius: float, count: int) -> Tensor:
    """By a grid of cells as wide as the radius: a ball lies within 27 of them."""
    cells = np.floor((xyz - xyz.min(axis=0)) / radius).astype(np.int64) + 1
    width = cells.max(axis=0) + 2
    key = ((batch * width[0] + cells[:, 0]) * width[1] + cells[:, 1]) * width[2] + cells[:, 2]
    order = np.argsort(key, kind="stable")
    found = np.full((len(centres), count), -1, dtype=np.int64)
    packed = np.concatenate([batch[:, None], cells], axis=1)
    _query_numba(xyz, key[order], order, packed, centres, width, np.float32(radius), found)
    return torch.from_numpy(found)


def _query_dense(xyz: Tensor, batch: Tensor, centres: Tensor, radius: float, count: int) -> Tensor:
    """By the distances of `CHUNK` centres to all points at a time."""
    rows = torch.arange(len(xyz), device=xyz.device)
    parts = []
    for chunk in centres.split(CHUNK):
        dx, dy, dz = (xyz[None] - xyz[chunk][:, None]).unbind(2)
        near = (dx * dx + dy * dy + dz * dz <= radius * radius) & (batch[None] == batch[chunk][:, None])
        lowest = rows.where(near, len(xyz)).topk(min(count, len(xyz)), dim=1, largest=False).values
        lowest = torch.nn.functional.pad(lowest, (0, count - lowest.shape[1]), value=len(xyz))
        parts.append(lowest.where(lowest < len(xyz), -1))
    return torch.cat(parts)


def ball_query(xyz: Tensor, batch: Tensor, centres: Tensor, radius: float, count: int) -> Tensor:
    """The first `count` points within the radius of each centre, in the order of rows.

    Shuffled rows make them random points of the ball. On the CPU by numba over a grid; on CUDA by chunks of
    all distances.

    Args:
        xyz: (P, 3) metres, finite. batch: (P,) int64 sample of each point.
        centres: (M,) int64 rows of `xyz`; a centre is in its own ball.
        radius: metres; a point at that distance is within.

    Returns:
        (M, count) int64 rows of the centre's sample, ascending, then -1.
    """
    if xyz.ndim != 2 or xyz.shape[1] != 3 or batch.shape != xyz.shape[:1]:
        raise ValueError(f"xyz {tuple(xyz.shape)} and batch {tuple(batch.shape)}: expected (P, 3) and (P,)")
    if radius <= 0 or count < 1:
        raise ValueError(f"radius must be positive and count at least 1, got {radius} and {count}")
    if not len(centres):
        return torch.zeros(0, count, dtype=torch.long, device=xyz.device)
    xyz = xyz.detach().float()
    if xyz.is_cuda:
        return _query_dense(xyz, batch, centres, radius, count)
    return _query_grid(xyz.numpy(), batch.numpy(), centres.numpy(), radius, count)
