"""Features propagated among alike places, and agreement of near ones (PixPro, Xie et al., CVPR 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.contrast.nce import _float, zero_with_graph
from pc3d.ops.precision import full_precision


@full_precision
def propagate(features: Tensor, transformed: Tensor, sharpness: float = 2.0) -> Tensor:
    """y_i = sum_j max(cos(x_i, x_j), 0)^g t_j / |t_j|: each place smoothed by those like it.

    Args:
        features: (M, D) x, of one sweep. transformed: (M, D) t, the output of a learned linear layer.
        sharpness: g, 2 in the paper.

    Returns:
        (M, D), not divided by the sum of the weights, as in the authors' code.
    """
    x, t = F.normalize(_float(features), dim=1), F.normalize(_float(transformed), dim=1)
    likeness = (x @ x.T).clamp(min=0)
    if sharpness == 2:  # by a product: its gradient at 0 is 0, not that of a general power
        return (likeness * likeness) @ t
    return torch.where(likeness > 0, likeness.clamp(min=1e-12) ** sharpness, 0.0) @ t


@full_precision
def near_agreement(smoothed: Tensor, keys: Tensor, positive: Tensor) -> Tensor:
    """-2 (sum over positive pairs of cos(y_i, x'_j)) / number of pairs, of one sweep in one direction.

    Args:
        smoothed: (M, D) y of one view. keys: (M, D) x' of the other view, of the momentum networks.
        positive: (M, M) bool, whether place i of the one and place j of the other are near.

    Returns:
        Scalar, 0 with a graph where no pair is near.
    """
    if not bool(positive.any()):
        return zero_with_graph(smoothed, keys)
    cosine = F.normalize(_float(smoothed), dim=1) @ F.normalize(_float(keys), dim=1).T
    return -2 * (cosine * positive).sum() / positive.sum()


def near_in_metres(xyz: Tensor, radius: float) -> Tensor:
    """(M, M) bool of (M, 3) places in the frame of the loaded sweep: a place is near itself."""
    return torch.cdist(xyz.double(), xyz.double()) <= radius
