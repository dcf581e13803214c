"""Balanced soft assignment by the Sinkhorn-Knopp algorithm (Cuturi, NIPS 2013), as SwAV uses it."""

from __future__ import annotations

import torch
from torch import Tensor

from pc3d.contrast.nce import _float


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = 0.03, rounds: int = 3) -> Tensor:
    """Codes: exp(scores / epsilon), scaled in turn so that every prototype, then every row, has its share.

    The scaling is done on logarithms, so that no score overflows. One rank's rows are balanced by
    themselves.

    Args:
        scores: (N, K) likeness of each row with each prototype. Computed in float32 whatever their type.
        epsilon: of the entropy term; the smaller, the harder the assignment.
        rounds: of scaling; the prototypes' shares are 1/K only approximately after few.

    Returns:
        (N, K) float32 without gradient, rows of sum 1.
    """
    if scores.ndim != 2:
        raise ValueError(f"scores must be (N, K), got {tuple(scores.shape)}")
    if epsilon <= 0 or rounds < 1:
        raise ValueError(f"epsilon must be positive and rounds at least 1, got {epsilon} and {rounds}")
    codes = _float(scores) / epsilon
    if not len(scores):
        return codes
    for _ in range(rounds):
        codes = codes - codes.logsumexp(dim=0, keepdim=True)
        codes = codes - codes.logsumexp(dim=1, keepdim=True)
    return codes.exp()
