"""Losses of masked neighbourhood occupancy: what is in cells that the encoder did not see."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.ops.precision import full_precision


@full_precision
def occupancy_loss(logits: Tensor, occupied: Tensor, weight: Tensor) -> Tensor:
    """Binary cross-entropy of drawn cells that stand for all: sum w BCE / sum w.

    With w = (cells of a kind) / (those that were drawn of it) its expectation is the mean over all cells
    (NOMAE, CVPR 2025), because sum w is always the number of these.

    Args:
        logits: (Q,) of being occupied. occupied: (Q,) bool. weight: (Q,) cells that each stands for.

    Returns:
        Scalar float32; 0 with a graph where no cell counts.
    """
    terms = F.binary_cross_entropy_with_logits(logits.float(), occupied.float(), reduction="none")
    return (weight * terms).sum() / weight.sum().clamp(min=1e-6)


@full_precision
def count_loss(predicted: Tensor, count: Tensor, weight: Tensor) -> Tensor:
    """Smooth L1 between predictions and log(1 + points) of occupied cells, a mean by `weight`.

    Args:
        predicted: (Q,). count: (Q,) points, 0 of an empty cell, which says nothing. weight: (Q,).
    """
    weight = weight * (count > 0)
    terms = F.smooth_l1_loss(predicted.float(), count.log1p(), reduction="none")
    return (weight * terms).sum() / weight.sum().clamp(min=1e-6)


@full_precision
def centroid_loss(predicted: Tensor, centroid: Tensor, count: Tensor, weight: Tensor) -> Tensor:
    """L1 between predicted and true means of the points of occupied cells, in sides of a cell.

    Args:
        predicted, centroid: (Q, 3) from the centre of the cell; the mean of the three is the distance.
        count: (Q,) points, 0 of an empty cell, which says nothing. weight: (Q,).
    """
    weight = weight * (count > 0)
    terms = (predicted.float() - centroid).abs().mean(dim=1)
    return (weight * terms).sum() / weight.sum().clamp(min=1e-6)


@full_precision
def twin_loss(first: Tensor, second: Tensor) -> Tensor:
    """Mean of 1 - cos of what two decoders say of the same cells under two masks: the diagonal alone.

    Point-CMAE's paper says so; its public code draws each token to all of the other branch.

    Args:
        first, second: (M, D), row for row the same cell.

    Returns:
        Scalar float32; 0 with a graph where M is 0.
    """
    cosine = F.cosine_similarity(first.float(), second.float(), dim=1)
    return (1 - cosine).sum() / max(len(cosine), 1)


@torch.no_grad()
def average_precision(scores: Tensor, occupied: Tensor, weight: Tensor) -> Tensor:
    """Area under precision over recall of weighted cells, ordered by score; ties in the order of the rows.

    Args:
        scores: (Q,). occupied: (Q,) bool. weight: (Q,) cells that each stands for.

    Returns:
        Scalar; the share of the occupied cells is what chance gets, 0 where there is none.
    """
    order = scores.argsort(descending=True, stable=True)
    weight = weight[order].double()
    hits = weight * occupied[order]
    precision = hits.cumsum(0) / weight.cumsum(0).clamp(min=1e-12)
    return ((precision * hits).sum() / hits.sum().clamp(min=1e-12)).float()
