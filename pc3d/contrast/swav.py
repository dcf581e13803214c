"""Swapped assignment of two views to prototypes (SwAV, Caron et al., NeurIPS 2020, arXiv 2006.09882)."""

from __future__ import annotations

import torch
from torch import Tensor

from pc3d.contrast.nce import _float, check_pair, zero_with_graph
from pc3d.contrast.sinkhorn import sinkhorn


def swapped_assignment(
    scores_a: Tensor,
    scores_b: Tensor,
    temperature: float = 0.1,
    epsilon: float = 0.03,
    rounds: int = 3,
) -> Tensor:
    """Each view predicts the codes of the other, as ProposalContrast (ECCV 2022) separates clusters.

    -1/2 mean_i sum_k ( q^b_ik log p^a_ik + q^a_ik log p^b_ik ), with p = softmax(scores / tau) and the codes
    q = sinkhorn(scores), which carry no gradient.

    Args:
        scores_a, scores_b: (N, K) dot products of normalised features with normalised prototypes; row i of
            one belongs to row i of the other. Computed in float32 whatever their type.
        temperature: tau, 0.1 (SwAV). epsilon, rounds: see `sinkhorn`.

    Returns:
        float32 scalar, 0 with a graph where N is 0.
    """
    check_pair(scores_a, scores_b, temperature)
    if len(scores_a) == 0:
        return zero_with_graph(scores_a, scores_b)
    with torch.autocast(scores_a.device.type, enabled=False):
        p_a, p_b = ((_float(s) / temperature).log_softmax(dim=1) for s in (scores_a, scores_b))
        q_a, q_b = (sinkhorn(s, epsilon, rounds) for s in (scores_a, scores_b))
        return -((q_b * p_a).sum(dim=1) + (q_a * p_b).sum(dim=1)).mean() / 2
