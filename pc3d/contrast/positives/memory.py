"""Positives from a clustered memory (DyCE of BECLR, Poulakakis-Daktylidis & Jamali-Rad, ICLR 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from pc3d.contrast.clustered_memory import ClusteredMemory
from pc3d.contrast.comparison import Comparison, Facts, add_positives, logits_with
from pc3d.contrast.policy import Policy


class Memory(ClusteredMemory, Policy):
    """The nearest rows of memory within the cluster of an anchor's key are positives, too.

    Args:
        prototypes, rows, neighbours, start, epsilon: see `ClusteredMemory`. dim: of the features.
    """

    unit_rows = True
    neutral: ClassVar[Mapping[str, Any] | None] = None

    def __init__(
        self,
        dim: int,
        prototypes: int = 50,
        rows: int = 2048,
        neighbours: int = 5,
        start: int = 0,
        epsilon: float = 0.05,
    ) -> None:
        super().__init__(dim, prototypes, rows, neighbours, start, epsilon)

    def forward(self, c: Comparison, generator: torch.Generator) -> Comparison:
        if not self.ready or c.partner is None or not len(c.candidates):
            return c
        logits = logits_with(c, self.nearest(c.candidates[c.partner.clamp(min=0)].detach()))
        return add_positives(c, logits, (c.partner >= 0)[:, None].expand_as(logits))

    def observe(self, anchors: Tensor, others: Tensor, facts: Facts, other_facts: Facts) -> None:
        self.see(others)
