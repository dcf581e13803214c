"""Balanced soft assignment by the Sinkhorn-Knopp algorithm (Cuturi, NIPS 2013), as SwAV uses it."""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
from torch import Tensor

from pc3d.contrast.gather import _alone, of_every_rank
from pc3d.contrast.nce import _float


@torch.no_grad()
def sinkhorn(
    scores: Tensor, epsilon: float = 0.03, rounds: int = 3, across_ranks: bool = False, common: int = 0
) -> Tensor:
    """Codes: exp(scores / epsilon), scaled in turn so that every prototype, then every row, has its share.

    The scaling is done on logarithms, so that no score overflows.

    Args:
        scores: (N, K) likeness of each row with each prototype. Computed in float32 whatever their type.
        epsilon: of the entropy term; the smaller, the harder the assignment.
        rounds: of scaling; the prototypes' shares are 1/K only approximately after few.
        across_ranks: the rows of all ranks share the prototypes, as in the public codes of SwAV and
            ProposalContrast; then every rank must call it. Else each rank's do by themselves.
        common: the first so many rows are the same on all ranks, and count once there.

    Returns:
        (N, K) float32 without gradient, rows of sum 1.
    """
    if scores.ndim != 2:
        raise ValueError(f"scores must be (N, K), got {tuple(scores.shape)}")
    if epsilon <= 0 or rounds < 1:
        raise ValueError(f"epsilon must be positive and rounds at least 1, got {epsilon} and {rounds}")
    codes = _float(scores) / epsilon
    weight = None
    if across_ranks and common and not _alone():
        weight = codes.new_zeros(len(codes), 1)
        weight[:common] = -math.log(dist.get_world_size())
    for _ in range(rounds):
        share = (codes if weight is None else codes + weight).logsumexp(dim=0, keepdim=True)
        codes = codes - (of_every_rank(share).logsumexp(dim=0) if across_ranks else share)
        codes = codes - codes.logsumexp(dim=1, keepdim=True)
    return codes.exp()
