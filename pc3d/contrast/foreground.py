"""The two losses of foreground-aware feature contrast (FAC, CVPR 2023, arXiv 2303.06388).

No public code holds them and the paper's text was not at hand: which features, pairs and negatives are
compared is read from its framework figure, the forms are our choice.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pc3d.contrast.comparison import NOTHING
from pc3d.contrast.nce import _float, zero_with_graph

BACKGROUND = -1


def _logits(anchors: Tensor, keys: Tensor, temperature: float) -> Tensor:
    if anchors.ndim != 2 or keys.ndim != 2 or anchors.shape[1] != keys.shape[1]:
        raise ValueError(
            f"anchors {tuple(anchors.shape)} and keys {tuple(keys.shape)}: expected (A, C) and (K, C)"
        )
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    with torch.autocast(anchors.device.type, enabled=False):
        return _float(anchors) @ _float(keys).T / temperature


def geometric_contrast(
    anchors: Tensor,
    keys: Tensor,
    anchor_segments: Tensor,
    key_segments: Tensor,
    temperature: float = 0.07,
    block: int | None = None,
) -> Tensor:
    """L_Geo: a foreground point is drawn to the points of its segment in the other view.

    mean over anchors a, then over a's positives a+, of
    -log( exp(d_a.d_a+/tau) / ( exp(d_a.d_a+/tau) + sum_{k: seg(k) != seg(a)} exp(d_a.d_k/tau) ) )

    Args:
        anchors: (A, C) L2-normalised features of view a. keys: (K, C) of view b.
        anchor_segments, key_segments: int64 segment ids, -1 for the background, which is never an anchor
            and always a negative.
        temperature: tau, 0.07 (our choice).
        block: at most so many anchors at a time, whose logits the backward pass makes again, where those of
            all would not fit: A x K numbers, and several copies; None for all at once.

    Returns:
        float32 scalar, 0 with a graph where no anchor has a positive.
    """
    if anchor_segments.shape != anchors.shape[:1] or key_segments.shape != keys.shape[:1]:
        raise ValueError("a segment id for each anchor and each key is needed")

    def summed(part: slice) -> Tensor:
        return _geometric(anchors[part], keys, anchor_segments[part], key_segments, temperature)

    total, used = _in_blocks(summed, len(anchors), block)
    return total / used.clamp(min=1)


def _geometric(
    anchors: Tensor, keys: Tensor, anchor_segments: Tensor, key_segments: Tensor, temperature: float
) -> Tensor:
    """(2,) sum over the anchors that have a positive, and how many these are."""
    logits = _logits(anchors, keys, temperature)
    same = anchor_segments[:, None] == key_segments[None, :]
    positive = same & (anchor_segments != BACKGROUND)[:, None]
    count = positive.sum(dim=1)
    negatives = logits.masked_fill(positive, NOTHING).logsumexp(dim=1, keepdim=True)
    terms = F.softplus(negatives - logits).masked_fill(~positive, 0.0)
    total = (terms.sum(dim=1) / count.clamp(min=1)).sum()
    return torch.stack([total, (count > 0).sum().to(total.dtype)])


def _in_blocks(summed: Callable[[slice], Tensor], count: int, block: int | None) -> Tensor:
    """Sum of `summed` over slices of so many anchors, each computed again in the backward pass."""
    if block is None or count <= block:
        return summed(slice(0, count))
    parts = [slice(start, start + block) for start in range(0, count, block)]
    return torch.stack([checkpoint(summed, part, use_reentrant=False) for part in parts]).sum(dim=0)


def feature_contrast(
    anchors: Tensor,
    keys: Tensor,
    background: Tensor,
    temperature: float = 0.07,
    matches: int = 16,
    block: int | None = None,
) -> Tensor:
    """L_Fea: a foreground point is drawn to the foreground points most like it, away from the background.

    -1/|A| sum_a log( sum_{k in top(a)} exp(f_a.f_k/tau)
                      / ( sum_{k in top(a)} exp(f_a.f_k/tau) + sum_{b in background} exp(f_a.f_b/tau) ) )
    top(a) are the min(matches, K) keys most like a, chosen without gradient.

    Args:
        anchors: (A, C) L2-normalised foreground features of view a.
        keys: (K, C) foreground features, background: (M, C) background features, of view b.
        temperature: tau, 0.07. matches: 16. Both are our choice.
        block: see `geometric_contrast`.

    Returns:
        float32 scalar, 0 with a graph where one of the three is empty.
    """

    def summed(part: slice) -> Tensor:
        logits = _logits(anchors[part], keys, temperature)
        others = _logits(anchors[part], background, temperature)
        top = logits.detach().topk(min(matches, len(keys)), dim=1).indices
        return F.softplus(others.logsumexp(dim=1) - logits.gather(1, top).logsumexp(dim=1)).sum()

    if not (len(anchors) and len(keys) and len(background)):
        _logits(anchors, keys, temperature)  # what cannot be compared is said all the same
        return zero_with_graph(anchors, keys, background)
    return _in_blocks(summed, len(anchors), block) / len(anchors)
