"""Losses of a centre-based head: a focal loss of the heatmap, and L1 of the box codes at the boxes' cells."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def _float(values: Tensor) -> Tensor:
    """`values` in float32, or float64 where they are."""
    return values if values.dtype == torch.float64 else values.float()


def heatmap_focal_loss(logits: Tensor, target: Tensor, alpha: float = 2.0, beta: float = 4.0) -> Tensor:
    """Penalty-reduced pixel-wise logistic regression with focal loss.

    -1/N sum_cells (1 - p)^alpha log p                  where the target y is 1, N such cells (at least 1)
                   (1 - y)^beta p^alpha log(1 - p)      elsewhere

    From logits, so that no probability is clamped and no gradient vanishes at a confident mistake.

    Args:
        logits: (..., rows, cols). target: the same shape, in [0, 1].

    Returns:
        Scalar, float32 unless the logits are float64.

    Source: Zhou et al., "Objects as Points", 2019, equation 1.
    """
    if logits.shape != target.shape:
        raise ValueError(f"heatmap logits {tuple(logits.shape)}, target {tuple(target.shape)}: shapes differ")
    with torch.autocast(logits.device.type, enabled=False):
        logits = _float(logits)
        target = target.to(logits.dtype)
        p = logits.sigmoid()
        centre = target == 1
        at_centre = (1 - p) ** alpha * F.logsigmoid(logits)
        elsewhere = (1 - target) ** beta * p**alpha * F.logsigmoid(-logits)
        return -torch.where(centre, at_centre, elsewhere).sum() / centre.sum().clamp(min=1)


def code_l1_loss(predicted: Tensor, target: Tensor, known: Tensor, weights: Tensor) -> Tensor:
    """sum_d w_d sum_i k_id |p_id - t_id| / N: L1 of N boxes over the numbers that are known.

    Args:
        predicted, target: (N, D). known: (N, D) bool k. weights: (D,) w.

    Returns:
        Scalar, float32 unless the predictions are float64; 0 with a graph where N is 0.

    Source: Yin et al., CVPR 2021, section 4.
    """
    if not predicted.shape == target.shape == known.shape or weights.shape != predicted.shape[1:]:
        raise ValueError(
            f"codes {tuple(predicted.shape)}, targets {tuple(target.shape)}, known {tuple(known.shape)} and "
            f"weights {tuple(weights.shape)} do not belong together: expected three (N, D) and one (D,)"
        )
    with torch.autocast(predicted.device.type, enabled=False):
        predicted = _float(predicted)
        apart = (predicted - target.to(predicted.dtype)).abs()
        # Selected before the sum: 0 times a prediction that overflowed would be NaN.
        weighted = torch.where(known, apart, 0) * weights.to(predicted.dtype)
        return weighted.sum() / max(len(predicted), 1)
