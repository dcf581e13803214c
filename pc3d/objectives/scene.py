"""One vector of a whole sample: its points, or the maps of its images, pooled."""

from __future__ import annotations

from torch import Tensor

from pc3d.ops.segment import segment_max

POOLS = ("max", "mean")


def pooled_points(features: Tensor, sample: Tensor, size: int) -> Tensor:
    """(B, C) largest value of each channel over the points of each sample, zeros where it has none.

    Args:
        features: (N, C). sample: (N,) int64 of each. size: number of samples B.
    """
    return segment_max(features, sample, size)


def pooled_maps(maps: Tensor, present: Tensor, pool: str = "max") -> Tensor:
    """(B, C) largest value, or mean, of each channel over the cells of all images of each sample.

    Args:
        maps: (B * V, C, h, w), in the order b * V + v.
        present: (B, V) bool, False for a camera that is missing: its map counts nothing.
        pool: of `POOLS`.

    Returns:
        Zeros for a sample without any camera.

    Raises:
        ValueError: another pool.
    """
    if pool not in POOLS:
        raise ValueError(f"unknown pool {pool!r}; known: {', '.join(POOLS)}")
    size, cameras = present.shape
    cells = maps.view(size, cameras, maps.shape[1], -1)
    kept = present[:, :, None]
    if pool == "mean":
        total = (cells.mean(dim=3) * kept).sum(dim=1)
        return total / present.sum(dim=1, keepdim=True).clamp(min=1)
    largest = cells.amax(dim=3).masked_fill(~kept, float("-inf")).amax(dim=1)
    return largest.masked_fill(~present.any(dim=1, keepdim=True), 0.0)
