"""Hard negative mixing (MoCHi, Kalantidis et al., NeurIPS 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.contrast.comparison import Comparison, add_negatives
from pc3d.contrast.policy import Policy, draw, row_keys


class Mixed(Policy):
    """Adds negatives mixed from each anchor's hardest ones, and from these and the anchor itself.

        h  = norm( u c_j + (1 - u) c_k ),    u in [0, 1)       c_j, c_k two of the hardest
        h' = norm( v a   + (1 - v) c_j ),    v in [0, 0.5)

    They are constants: the gradient reaches the anchor only. The paper reports 1,024, 1,024 and 128 with a
    queue; the defaults are ours. An anchor with one negative gets no h, one without any nothing.

    Args:
        hardest: so many candidates of the highest likeness are drawn from.
        pairs, with_anchor: number of h and of h'.
        start: steps before which nothing is mixed.
        other_samples: the hardest of other sweeps only, where neighbours of one may be false negatives.
    """

    neutral: ClassVar[Mapping[str, Any] | None] = MappingProxyType({"pairs": 0, "with_anchor": 0})

    def __init__(
        self,
        hardest: int = 256,
        pairs: int = 64,
        with_anchor: int = 32,
        start: int = 0,
        other_samples: bool = False,
    ) -> None:
        super().__init__()
        if hardest < 1 or pairs < 0 or with_anchor < 0 or start < 0:
            raise ValueError(
                f"hardest {hardest}, pairs {pairs}, with_anchor {with_anchor}, start {start}: expected at "
                "least 1, 0, 0 and 0"
            )
        self.hardest, self.pairs, self.with_anchor, self.start = hardest, pairs, with_anchor, start
        self.other_samples = other_samples
        self.wants = ("sample",) if other_samples else ()
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        self.step: Tensor

    def forward(self, c: Comparison, generator: torch.Generator) -> Comparison:
        count = self.pairs + self.with_anchor
        keys = row_keys(c.facts, len(c.anchors), c.anchors.device)
        numbers = draw(generator, keys, 3 * self.pairs + 2 * self.with_anchor).to(c.anchors.dtype)
        if not count or int(self.step) < self.start or not c.negative.shape[1]:
            return c
        with torch.no_grad():
            rows, there = self._synthetic(c, numbers)
        weight = c.weight.new_zeros(there.shape).masked_fill(~there, -torch.inf)
        return add_negatives(c, rows, weight)

    def _synthetic(self, c: Comparison, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """(N, S, D) rows, and which of them there are."""
        usable = c.weight[:, : len(c.candidates)] > -torch.inf
        if self.other_samples:
            usable &= c.facts["sample"][:, None] != c.candidate_facts["sample"][None, :]
        scores = c.negative[:, : len(c.candidates)].masked_fill(~usable, -torch.inf)
        place = scores.topk(min(self.hardest, scores.shape[1]), dim=1).indices
        among = usable.sum(dim=1, keepdim=True).clamp(max=place.shape[1])
        first, gap, part = numbers[:, : 3 * self.pairs].split(self.pairs, dim=1)
        last, near = numbers[:, 3 * self.pairs :].split(self.with_anchor, dim=1)

        def chosen(number: Tensor) -> Tensor:
            return c.candidates[place.gather(1, number.clamp(min=0))]

        j = (first * among).long().clamp(max=place.shape[1] - 1)
        k = (j + 1 + (gap * (among - 1)).long()) % among.clamp(min=1)  # another one
        mixed = part[..., None] * chosen(j) + (1 - part[..., None]) * chosen(k)
        v = near[..., None] / 2
        own = v * c.anchors[:, None] + (1 - v) * chosen((last * among).long().clamp(max=place.shape[1] - 1))
        there = torch.cat([(among >= 2).expand_as(j), (among >= 1).expand_as(last)], dim=1)
        return F.normalize(torch.cat([mixed, own], dim=1), dim=2), there

    def commit(self) -> None:
        if self.training and int(self.step) < self.start:
            self.step += 1
