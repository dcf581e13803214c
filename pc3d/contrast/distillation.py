"""Losses without negatives: a feature against the one that a teacher gives at the same place."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.contrast.nce import _float, check_pair, zero_with_graph

DISTANCES = ("l2", "cosine")


def feature_distance(students: Tensor, teachers: Tensor, distance: str = "l2") -> Tensor:
    """Mean over rows of the distance of two features.

    `l2`: mean_i || s_i - t_i ||_2, of features that the caller has normalised (ScaLR, CVPR 2024).
    `cosine`: mean_i 1 - cos(s_i, t_i), whatever their lengths, as half the squared distance of the unit
    vectors: at equal rows that is 0 exactly, which 1 less a rounded cosine is not. Of unit vectors l2 is
    sqrt(2 (1 - cos)): its gradient does not fade as they meet, that of the cosine does.

    Args:
        students, teachers: (N, D). Computed in float32 whatever their type.
        distance: of `DISTANCES`.

    Returns:
        float32 scalar, 0 with a graph where N is 0; at equal rows its gradient is 0.
    """
    check_pair(students, teachers)
    check_distance(distance)
    if len(students) == 0:
        return zero_with_graph(students, teachers)
    with torch.autocast(students.device.type, enabled=False):
        s, t = _float(students), _float(teachers)
        if distance == "l2":
            return torch.linalg.vector_norm(s - t, dim=1).mean()
        return (F.normalize(s, dim=1) - F.normalize(t, dim=1)).square().sum(dim=1).mean() / 2


def check_distance(distance: str) -> None:
    """Raise ValueError unless the distance is one of `DISTANCES`."""
    if distance not in DISTANCES:
        raise ValueError(f"unknown distance {distance!r}; known: {', '.join(DISTANCES)}")


def weighted_distance(students: Tensor, teachers: Tensor, weights: Tensor, distance: str = "l2") -> Tensor:
    """sum_i w_i d(s_i, t_i / |t_i|) / sum_i w_i: BEVDistill's dense distillation (ICLR 2023).

    Args:
        students, teachers: (N, D) adapted camera features and LiDAR features of N places; computed in
            float32 whatever their type.
        weights: (N,) w >= 0, how much of the foreground each place is.
        distance: `l2`, d = |s - t|^2, so that the student learns the length 1 as well, or `cosine`,
            d = 1 - cos(s, t). Both are our choice for features of unit length; the authors' code has the mean
            squared error of features that are not normalised.

    Returns:
        float32 scalar, 0 with a graph where no place has a weight.
    """
    check_pair(students, teachers)
    if weights.shape != students.shape[:1]:
        raise ValueError(f"weights must have shape ({len(students)},), got {tuple(weights.shape)}")
    check_distance(distance)
    with torch.autocast(students.device.type, enabled=False):
        s, t, w = _float(students), F.normalize(_float(teachers), dim=1), _float(weights)
        if not len(s):
            return zero_with_graph(students, teachers)
        total = w.sum()
        apart = (s - t).square().sum(dim=1) if distance == "l2" else 1 - F.cosine_similarity(s, t)
        return (w * apart).sum() / torch.where(total > 0, total, 1.0)
