"""Swapped assignment of two views to prototypes (SwAV, Caron et al., NeurIPS 2020, arXiv 2006.09882)."""

from __future__ import annotations

import torch
from torch import Tensor

from pc3d.contrast.nce import _float, check_pair, zero_with_graph
from pc3d.contrast.sinkhorn import sinkhorn


def swapped_assignment(
    features: Tensor,
    others: Tensor,
    prototypes: Tensor,
    temperature: float = 0.1,
    epsilon: float = 0.03,
    rounds: int = 3,
    across_ranks: bool = False,
) -> Tensor:
    """Each view predicts the codes of the other, as ProposalContrast (ECCV 2022) separates clusters.

    -1/2 mean_i sum_k ( q'_ik log p_ik + q_ik log p'_ik ), with p_ik = softmax_k( f_i.c_k / tau ) and the
    codes q = sinkhorn(f.c), which carry no gradient; ' marks the other view.

    Args:
        features, others: (N, D) L2-normalised; row i of one belongs to row i of the other.
        prototypes: (K, D) L2-normalised. All are computed in float32 whatever their type.
        temperature: tau, 0.1 (SwAV). epsilon, rounds, across_ranks: see `sinkhorn`.

    Returns:
        float32 scalar, 0 with a graph where N is 0.
    """
    check_pair(features, others, temperature)
    if prototypes.ndim != 2 or prototypes.shape[1] != features.shape[1]:
        raise ValueError(f"prototypes must be (K, {features.shape[1]}), got {tuple(prototypes.shape)}")
    with torch.autocast(features.device.type, enabled=False):
        a, b = (_float(f) @ _float(prototypes).T for f in (features, others))
        q_a, q_b = (sinkhorn(scores, epsilon, rounds, across_ranks) for scores in (a, b))
        if len(features) == 0:
            return zero_with_graph(features, others, prototypes)
        p_a, p_b = (a / temperature).log_softmax(dim=1), (b / temperature).log_softmax(dim=1)
        return -((q_b * p_a).sum(dim=1) + (q_a * p_b).sum(dim=1)).mean() / 2
