"""InfoNCE over matched rows, the loss of PPKT, SLidR and SuperFlow."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def check_pair(anchors: Tensor, others: Tensor, temperature: float = 1.0) -> None:
    """Raise ValueError unless both are (N, D) of one shape and the temperature is positive."""
    if anchors.ndim != 2 or anchors.shape != others.shape:
        raise ValueError(
            f"features must be two (N, D) tensors of one shape, got {tuple(anchors.shape)} and "
            f"{tuple(others.shape)}"
        )
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")


def check_extra(anchors: Tensor, extra: Tensor | None) -> None:
    """Raise ValueError unless the further candidates of (N, D) anchors are (M, D), or None."""
    if extra is not None and (extra.ndim != 2 or extra.shape[1] != anchors.shape[1]):
        raise ValueError(f"extra must be (M, {anchors.shape[1]}), got {tuple(extra.shape)}")


def zero_with_graph(*features: Tensor | None) -> Tensor:
    """A float32 scalar 0 that backpropagates zeros into `features`: the loss of an empty set."""
    return torch.stack([f.float().sum() * 0.0 for f in features if f is not None]).sum()


def info_nce(
    anchors: Tensor,
    others: Tensor,
    temperature: float = 0.07,
    ignore: Tensor | None = None,
    extra: Tensor | None = None,
) -> Tensor:
    """Rows of `anchors` against all rows of `others`; row i of one belongs to row i of the other.

    mean_i -log( exp(a_i.b_i / tau) / sum_j exp(a_i.b_j / tau) ), one direction, the positive in
    the denominator (Sautier et al., SLidR, CVPR 2022, eq. 1). The features are taken as they are:
    normalise them before, where the method does.

    Args:
        anchors, others: (N, D). Computed in float32 whatever their type.
        temperature: tau.
        ignore: (N, N) bool, True for pairs that are no negatives; the diagonal counts all the same.
        extra: (M, D) more candidates j, negatives of every anchor: the rows of other ranks.

    Returns:
        float32 scalar, 0 with a graph where N is 0.
    """
    check_pair(anchors, others, temperature)
    check_extra(anchors, extra)
    if len(anchors) == 0:
        return zero_with_graph(anchors, others, extra)
    with torch.autocast(anchors.device.type, enabled=False):
        logits = _float(anchors) @ _float(others).T / temperature
        if ignore is not None:
            own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
            logits = logits.masked_fill(ignore & ~own, -torch.inf)
        if extra is not None:  # also without rows: the backward pass of gathered ones needs every rank
            logits = torch.cat([logits, _float(anchors) @ _float(extra).T / temperature], dim=1)
        return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def two_way_nce(
    features: Tensor, others: Tensor, temperature: float = 0.1, extra: Tensor | None = None
) -> Tensor:
    """Each row of either view against all other rows of both; row i of one belongs to row i of the other.

    mean over the 2N rows z_r of both of -log( exp(z_r.z_p(r) / tau) / sum_{k != r} exp(z_r.z_k / tau) ), p(r)
    the same row of the other view (SimCLR, Chen et al., ICML 2020, eq. 1; ProposalContrast's code).

    Args and returns: as `info_nce`.
    """
    check_pair(features, others, temperature)
    check_extra(features, extra)
    if len(features) == 0:
        return zero_with_graph(features, others, extra)
    with torch.autocast(features.device.type, enabled=False):
        rows = _float(torch.cat([features, others]))
        logits = (rows @ rows.T / temperature).fill_diagonal_(-torch.inf)
        if extra is not None:
            logits = torch.cat([logits, rows @ _float(extra).T / temperature], dim=1)
        partner = torch.arange(len(rows), device=rows.device).roll(len(features))
        return F.cross_entropy(logits, partner)


def _float(features: Tensor) -> Tensor:
    """float32, or float64 where the caller computes in it."""
    return features if features.dtype == torch.float64 else features.float()
