"""Reductions of rows over groups. Rows with a negative group index belong to none."""

from __future__ import annotations

import torch
from torch import Tensor


def _grouped(features: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Rows in at least float32, and their groups, with one more, the first, for those of none.

    Leaving these out would copy all the others, and a GPU's host would wait for their number.
    """
    if features.ndim != 2 or index.shape != features.shape[:1]:
        raise ValueError(
            f"features {tuple(features.shape)} and index {tuple(index.shape)}: expected (M, C) and (M,)"
        )
    half = features.dtype in (torch.float16, torch.bfloat16)
    return features.float() if half else features, _shifted(index)


def _shifted(index: Tensor) -> Tensor:
    return (index + 1).clamp_(min=0)


def segment_counts(index: Tensor, num_segments: int) -> Tensor:
    """(num_segments,) int64 number of rows of each group."""
    counts = torch.zeros(num_segments + 1, dtype=torch.long, device=index.device)
    return counts.index_add_(0, _shifted(index), torch.ones_like(index))[1:]


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
    return features.new_zeros(num_segments + 1, features.shape[1]).index_add(0, index, features)[1:]


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
    empty = features.new_zeros(num_segments + 1, features.shape[1])
    return empty.scatter_reduce(0, rows, features, "amax", include_self=False)[1:]
