"""Negatives weighed by clusters, or by a network (MEOW and AdaMEOW, Yu et al., 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pc3d.contrast.comparison import NOTHING, Comparison
from pc3d.contrast.policy import Policy
from pc3d.contrast.prototypes import Clustering


class ClusterWeights(Policy):
    """A negative counts as often as there are clusterings that put it elsewhere than the anchor.

    w_ij = number of the R clusterings in which i and j differ; those alike in all are no negatives. It goes
    with the decoupled loss: log sum_j w_ij e^s_ij - p_i. The authors cluster items, so that an item has one
    label whichever side shows it: here the nearest centroid of a queue of the other side to its row there,
    an anchor's own positive (an anchor without one is labelled by itself). Ready labels may be one more
    clustering. Centroids of a queue, and those of the other side, are our choice. Until the queue is full
    nothing is weighed.

    Args:
        counts: centroids of each clustering, 200 and 700 in the authors' code; smaller here.
        labels: the `labels` of the rows are a clustering, too; -1 differs from all.
        queue, every: see `Clustering`. dim: of the features.
    """

    neutral: ClassVar[Mapping[str, Any] | None] = None

    def __init__(
        self,
        dim: int,
        counts: Sequence[int] = (50, 200),
        labels: bool = False,
        queue: int = 2048,
        every: int = 20,
    ) -> None:
        super().__init__()
        if not counts and not labels:
            raise ValueError("ClusterWeights has no clustering: give counts, or labels=True")
        self.clustering = Clustering(dim, tuple(counts), queue, every) if counts else None
        self.labels = labels
        self.wants = ("labels",) if labels else ()

    def forward(self, c: Comparison, generator: torch.Generator) -> Comparison:
        differs: list[Tensor] = []
        if self.labels:
            own, other = c.facts["labels"][:, None], c.candidate_facts["labels"][None, :]
            differs.append((own != other) | (own < 0))
        if self.clustering is not None and self.clustering.ready:
            for number in range(len(self.clustering.counts)):
                centroids = self.clustering.of(number).to(c.anchors)
                with torch.no_grad():
                    other = (c.candidates @ centroids.T).argmax(dim=1)
                    own = (c.anchors @ centroids.T).argmax(dim=1)
                    if c.partner is not None and len(other):
                        own = torch.where(c.partner >= 0, other[c.partner.clamp(min=0)], own)
                differs.append(own[:, None] != other[None, :])
        if not differs:
            return c
        count = torch.stack(differs).sum(dim=0).to(c.weight.dtype)
        weight = c.weight.clone()
        weight[:, : len(c.candidates)] += count.log()  # log 0: no negative
        return replace(c, weight=weight)


class LearnedWeights(Policy):
    """w_ij = sigmoid( MLP(a_i + b_j) ), of mean 1 over the candidates of an anchor (AdaMEOW).

    As in the authors' code the own positive is among them, so that it stands in the denominator of the
    decoupled loss, which this goes with. Free weights would fall to 0: the mean of 1 is our choice. The MLP
    is D - hidden - tanh - 1; its first layer is applied to both sides apart.

    Args:
        hidden: 16 in the authors' code. dim: of the features.
    """

    neutral: ClassVar[Mapping[str, Any] | None] = None

    def __init__(self, dim: int, hidden: int = 16) -> None:
        super().__init__()
        if hidden < 1:
            raise ValueError(f"hidden is {hidden}, expected at least 1")
        self.first, self.last = nn.Linear(dim, hidden), nn.Linear(hidden, 1)

    def forward(self, c: Comparison, generator: torch.Generator) -> Comparison:
        present = c.weight > -torch.inf
        if c.partner is not None and len(c.candidates):
            own = torch.zeros_like(present)
            own.scatter_(1, c.partner.clamp(min=0)[:, None], (c.partner >= 0)[:, None])
            present = present | own
        found = nn.functional.logsigmoid(self.scores(c.anchors, c.candidates))
        # What was added to the candidates before keeps its weight.
        found = nn.functional.pad(found, (0, c.weight.shape[1] - len(c.candidates)))
        total = found.masked_fill(~present, NOTHING).logsumexp(dim=1, keepdim=True)
        mean = total - present.sum(dim=1, keepdim=True).clamp(min=1).to(found.dtype).log()
        before = c.weight.masked_fill(c.weight == -torch.inf, 0.0)
        return replace(c, weight=torch.where(present, before + found - mean, -torch.inf))

    def scores(self, anchors: Tensor, candidates: Tensor) -> Tensor:
        """(N, J) what the MLP says of each pair."""
        dtype = anchors.dtype
        weight, bias = self.first.weight.to(dtype), self.first.bias.to(dtype)
        hidden = ((anchors @ weight.T)[:, None] + (candidates @ weight.T + bias)[None, :]).tanh()
        return nn.functional.linear(hidden, self.last.weight.to(dtype), self.last.bias.to(dtype))[..., 0]
