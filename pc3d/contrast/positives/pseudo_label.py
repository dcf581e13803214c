"""Positives of the same cluster from other steps (InterCLR, Xie et al., IJCV 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from pc3d.contrast.comparison import Comparison, add_positives, logits_with
from pc3d.contrast.policy import Policy, draw, row_keys
from pc3d.contrast.prototypes import Clustering


class PseudoLabel(Policy):
    """A random row of the queue with the label of an anchor's key is a positive, too.

    (1 - share) L + share [ log( e^q + Ng ) - q ], q its logit and L the loss of the other positives: as in
    the paper each of the two is a contrast of its own, in whose denominator the other's positive is not.
    Both have the anchor's negatives (our choice; the authors' second one draws some of another label from the
    bank). Labels are the nearest of the centroids of the queue. The authors keep one row for each item of the
    data set, moved by its newest feature; a group has no identity over steps, so that ours is first in, first
    out.

    Args:
        clusters: 10,000 in the authors' code. share: of the added positive in the loss, 0.25 there.
        queue, every: see `Clustering`. dim: of the features.
    """

    unit_rows = True
    neutral: ClassVar[Mapping[str, Any] | None] = None

    def __init__(
        self, dim: int, clusters: int = 50, share: float = 0.25, queue: int = 2048, every: int = 20
    ) -> None:
        super().__init__()
        if not 0 < share < 1:
            raise ValueError(f"share is {share}, expected between 0 and 1")
        self.clustering, self.share = Clustering(dim, (clusters,), queue, every), share

    def forward(self, c: Comparison, generator: torch.Generator) -> Comparison:
        keys = row_keys(c.facts, len(c.anchors), c.anchors.device)
        number = draw(generator, keys, 1)[:, 0]
        if not self.clustering.ready or c.partner is None or not len(c.candidates):
            return c
        with torch.no_grad():
            centroids, rows = self.clustering.of(0).to(c.anchors), self.clustering.queue.rows().to(c.anchors)
            key = c.candidates[c.partner.clamp(min=0)]
            own, label = (key @ centroids.T).argmax(dim=1), (rows @ centroids.T).argmax(dim=1)
            place, there = _one_of(own, label, number, len(centroids))
            there &= c.partner >= 0
        logit = logits_with(c, rows[place][:, None])
        part = (self.share * there.to(c.positive.dtype))[:, None]
        shares = torch.cat([c.shares() * (1 - part), part], dim=1)
        return replace(add_positives(c, logit, there[:, None], apart=True), share=shares)


def _one_of(own: Tensor, label: Tensor, number: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(N,) place of a row of the (M,) labels with the (N,) own one, and whether there is any."""
    order = label.argsort(stable=True)
    size = torch.bincount(label, minlength=count)
    first = size.cumsum(dim=0) - size
    place = first[own] + (number * size[own]).long().clamp(max=(size[own] - 1).clamp(min=0))
    return order[place.clamp(max=len(label) - 1)], size[own] > 0
