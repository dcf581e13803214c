"""The focal loss of binary decisions (Lin et al., ICCV 2017)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_RARE = -2.19


def start_rare(layer: nn.Module) -> None:
    """Set the bias of the last layer, so that everything is found with p = 0.1 at first (section 4.1)."""
    assert isinstance(layer.bias, Tensor)
    nn.init.constant_(layer.bias, _RARE)


def sigmoid_focal_loss(
    logits: Tensor, targets: Tensor, gamma: float = 2.0, alpha: float | None = None
) -> Tensor:
    """Focal loss (equations 4 and 5) of independent binary decisions, of each element.

    With p_t the probability given to the truth, -a_t (1 - p_t)^gamma log(p_t); a_t is alpha where the target
    is 1 and 1 - alpha where it is 0.

    Args:
        logits, targets: of one shape; targets in 0..1.
        alpha: in 0..1; without it a_t is 1.
    """
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    # 1 - p_t without cancellation: the probability given to the wrong side.
    wrong = torch.sigmoid(torch.where(targets > 0.5, -logits, logits))
    loss = loss * wrong**gamma
    return loss if alpha is None else loss * (alpha * targets + (1 - alpha) * (1 - targets))
