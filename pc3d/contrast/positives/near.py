"""Positives by place (PixContrast, Xie et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

import torch

from pc3d.contrast.comparison import Comparison, add_positives
from pc3d.contrast.policy import Policy


class Near(Policy):
    """Candidates of the anchor's sweep that lie near it are positives, and no negatives.

    The paper's loss is -log of their summed share, which is InfoNCE's form `in` (the paper's form is
    reported, its temperature of 0.3 from another public code; the radius in metres is ours).

    Args:
        radius: metres, 0.5.
    """

    wants = ("sample", "xyz")
    neutral: ClassVar[Mapping[str, Any] | None] = MappingProxyType({"radius": 0.0})

    def __init__(self, radius: float = 0.5) -> None:
        super().__init__()
        if radius < 0:
            raise ValueError(f"radius is {radius} metres, expected 0 or more")
        self.radius = radius

    def forward(self, c: Comparison, generator: torch.Generator) -> Comparison:
        if not self.radius or not len(c.candidates):
            return c
        apart = torch.cdist(c.facts["xyz"].double(), c.candidate_facts["xyz"].double())
        near = (apart <= self.radius) & (c.facts["sample"][:, None] == c.candidate_facts["sample"][None, :])
        negative = c.weight[:, : len(c.candidates)] > -torch.inf
        near &= negative  # what is ignored stays so, and the own positive is there already
        weight = c.weight.clone()
        weight[:, : len(c.candidates)].masked_fill_(near, -torch.inf)
        return replace(add_positives(c, c.negative[:, : len(c.candidates)], near), weight=weight)
