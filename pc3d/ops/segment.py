"""Reductions of rows over groups. Rows with a negative group index belong to none."""

from __future__ import annotations

import torch
from torch import Tensor


def _check(features: Tensor, index: Tensor) -> None:
    if features.ndim != 2 or index.shape != features.shape[:1]:
        raise ValueError(
            f"features {tuple(features.shape)} and index {tuple(index.shape)}: expected (M, C) and (M,)"
        )


def _grouped(features: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """The rows that belong to a group, in at least float32, and their groups."""
    _check(features, index)
    if features.dtype in (torch.float16, torch.bfloat16):
        features = features.float()
    inside = index >= 0
    return (features, index) if bool(inside.all()) else (features[inside], index[inside])


def segment_counts(index: Tensor, num_segments: int) -> Tensor:
    """(num_segments,) int64 number of rows of each group."""
    index = index[index >= 0]
    return torch.zeros(num_segments, dtype=torch.long, device=index.device).index_add_(
        0, index, torch.ones_like(index)
    )


def segment_sum(features: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Sum of the rows of each group.

    Args:
        features: (M, C); half precision is accumulated, and returned, in float32.
        index: (M,) int64 group of each row in 0..num_segments-1, negative for none.
        num_segments: number of groups S.

    Returns:
        (S, C), zeros for an empty group. Differentiable.
    """
    features, index = _grouped(features, index)
    return features.new_zeros(num_segments, features.shape[1]).index_add(0, index, features)


def segment_mean(features: Tensor, index: Tensor, num_segments: int) -> tuple[Tensor, Tensor]:
    """Mean of the rows of each group: `segment_sum` over the group's size.

    Returns:
        (S, C) means, zeros for an empty group, and (S,) int64 sizes.
    """
    counts = segment_counts(index, num_segments)
    total = segment_sum(features, index, num_segments)
    return total / counts.clamp(min=1).unsqueeze(1).to(total.dtype), counts


def segment_max(features: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """(S, C) largest value of each group and channel, zeros for an empty group. Differentiable."""
    features, index = _grouped(features, index)
    rows = index.unsqueeze(1).expand_as(features)
    empty = features.new_zeros(num_segments, features.shape[1])
    return empty.scatter_reduce(0, rows, features, "amax", include_self=False)
