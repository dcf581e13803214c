"""Rows of the anchor's label as positives (SupCon, Khosla et al., NeurIPS 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch

from pc3d.contrast.comparison import Comparison, add_positives
from pc3d.contrast.policy import Policy


class SameRegion(Policy):
    """Candidates of the anchor's label, its region or class, are positives, and no negatives.

    With InfoNCE's form `out` it is SupCon, which regions contrast as PRC does. An anchor without a label
    (-1) keeps its own positive only. Pairs that the objective ignores stay ignored.
    """

    wants = ("labels",)
    neutral: ClassVar[Mapping[str, Any] | None] = None

    def forward(self, c: Comparison, generator: torch.Generator) -> Comparison:
        count = len(c.candidates)
        own, labels = c.facts["labels"][:, None], c.candidate_facts["labels"][None, :]
        same = (own == labels) & (own >= 0) & (c.weight[:, :count] > -torch.inf)
        weight = c.weight.clone()
        weight[:, :count].masked_fill_(same, -torch.inf)
        return replace(add_positives(c, c.negative[:, :count], same), weight=weight)
