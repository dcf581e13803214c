"""Mixtures of rows on either side of an anchor on a scale, as positives (SupReMix, 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from pc3d.contrast.comparison import Comparison, add_positives, logits_with
from pc3d.contrast.negatives.labelled import check_scale, in_order, ordinal, pick, scale_facts
from pc3d.contrast.policy import Policy, draw, row_keys


class MixedOrdinal(Policy):
    """Adds positives that stand for what lies at the anchor's place t_i of a scale, mixed of two candidates.

    x = u c_j + (1 - u) c_k   with t_j < t_i < t_k, both within the window, and u t_j + (1 - u) t_k = t_i

    Mixtures are constants and not normalised, as in another public code (not verified). They are drawn from
    the anchor's negatives; one that has none on a side gets none. Each weighs as much as its own positive.

    Args:
        window: largest |t_j - t_i| and |t_k - t_i|, metres or seconds; the paper's is 5 steps of its label.
        label: `range` or `height` of the row in metres, or `time` in seconds.
        count: mixtures of an anchor (our choice; all triples would be N^3).
    """

    neutral: ClassVar[Mapping[str, Any] | None] = MappingProxyType({"count": 0})

    def __init__(self, window: float = 5.0, label: str = "range", count: int = 32) -> None:
        super().__init__()
        check_scale(label)
        if window <= 0 or count < 0:
            raise ValueError(f"window {window}, count {count}: expected above 0, and 0 or more")
        self.window, self.label, self.count = window, label, count
        self.wants = scale_facts(label)

    def forward(self, c: Comparison, generator: torch.Generator) -> Comparison:
        numbers = draw(generator, row_keys(c.facts, len(c.anchors), c.anchors.device), 2 * self.count)
        if not self.count or not len(c.candidates):
            return c
        with torch.no_grad():
            rows, there = self.mixtures(c, numbers)
        return add_positives(c, logits_with(c, rows), there)

    def mixtures(self, c: Comparison, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """(N, S, D) rows and (N, S) which of them there are, by (N, 2 S) numbers in [0, 1)."""
        order = in_order(c)
        ours, theirs = ordinal(c.facts, self.label), ordinal(c.candidate_facts, self.label)[order]
        gap = theirs[None, :] - ours[:, None]
        usable = (c.weight[:, order] > -torch.inf) & (gap.abs() <= self.window)
        below, above = usable & (gap < 0), usable & (gap > 0)
        first, second = numbers.split(self.count, dim=1)
        j, k = pick(below, first), pick(above, second)
        down, up = -gap.gather(1, j), gap.gather(1, k)
        there = (below.any(dim=1) & above.any(dim=1))[:, None].expand_as(j)
        part = torch.where(there, up / torch.where(there, up + down, 1.0), 0.5).to(c.candidates.dtype)
        sources = c.candidates[order]
        return part[..., None] * sources[j] + (1 - part[..., None]) * sources[k], there
