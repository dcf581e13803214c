"""Bags of visual words that are predicted from a part (OBoW, Gidaris et al., CVPR 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.contrast.nce import _float, zero_with_graph
from pc3d.ops.precision import full_precision


@torch.no_grad()
@full_precision
def word_codes(cells: Tensor, words: Tensor, inverse: float, scale: Tensor | float) -> tuple[Tensor, Tensor]:
    """(M, K) codes softmax_k( -(inverse / m) |u - w_k|^2 ) of cells, and the mean smallest distance.

    Args:
        cells: (M, D) u. words: (K, D) w. inverse: 15 in the authors' code. scale: m, its moving average.
    """
    squares = torch.cdist(_float(cells), _float(words), compute_mode="donot_use_mm_for_euclid_dist").square()
    return (-(inverse / scale) * squares).softmax(dim=1), squares.amin(dim=1).mean()


@torch.no_grad()
def bags_of(codes: Tensor, document: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(count, K) bags, the maximum over the cells of each document divided by its sum; which have a cell."""
    bags = codes.new_zeros(count, codes.shape[1])
    bags = bags.scatter_reduce(0, document[:, None].expand_as(codes), codes, "amax")
    has = torch.bincount(document, minlength=count) > 0
    return bags / bags.sum(dim=1, keepdim=True).clamp(min=1e-12), has


@full_precision
def bag_loss(logits: Tensor, bags: Tensor) -> Tensor:
    """mean over documents of KL(bag || softmax(logits)), the bags without gradient.

    Args:
        logits: (N, K) what the student predicts. bags: (N, K), of sum 1.

    Returns:
        Scalar, 0 with a graph where there is no document.
    """
    if not len(logits):
        return zero_with_graph(logits)
    bags = bags.detach()
    return (torch.special.entr(bags).neg() - bags * _float(logits).log_softmax(dim=1)).sum(dim=1).mean()


def perplexity(bags: Tensor) -> Tensor:
    """exp of the mean entropy of bags: near 1 where words have collapsed. NaN for none."""
    return torch.special.entr(bags).sum(dim=1).mean().exp()


@full_precision
def word_logits(pooled: Tensor, generated: Tensor, sharpness: float = 8.0) -> Tensor:
    """(N, K) sharpness f . norm(g) of (N, D) pooled features f and (K, D) generated weights g."""
    return sharpness * _float(pooled) @ F.normalize(_float(generated), dim=1).T
