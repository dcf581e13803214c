"""Negatives weighed by what is known of both rows: their cluster, or where they lie on a scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

import torch

from pc3d.contrast.comparison import Comparison
from pc3d.contrast.policy import Policy

SCALES = ("range", "height", "time")


class SameCluster(Policy):
    """Only rows of the anchor's label stay negatives (MCL, Zhang et al., ECCV 2024).

    They are what an earlier stage could not tell apart, where the labels are its clusters.

    An anchor without a label (-1) keeps all of them; one that is alone with its label teaches nothing.
    """

    wants = ("labels",)
    neutral: ClassVar[Mapping[str, Any] | None] = None

    def forward(self, c: Comparison, generator: torch.Generator) -> Comparison:
        own, labels = c.facts["labels"][:, None], c.candidate_facts["labels"][None, :]
        weight = c.weight.clone()
        weight[:, : len(c.candidates)].masked_fill_((own != labels) & (own >= 0), -torch.inf)
        return replace(c, weight=weight)


class Ordinal(Policy):
    """Negatives that lie farther on a scale count more: |t_i - t_j| / scale + 1 times (SupReMix, 2023).

    The paper's weights stand on every candidate but the anchor's own row; a positive of the same t has 1.

    Args:
        label: `range` or `height` of the row in metres, or `time` in seconds.
        scale: metres or seconds that count as one step of the paper's ordinal label; infinity: plain.
    """

    neutral: ClassVar[Mapping[str, Any] | None] = MappingProxyType({"scale": float("inf")})

    def __init__(self, label: str = "range", scale: float = 10.0) -> None:
        super().__init__()
        if label not in SCALES:
            raise ValueError(f"unknown label {label!r}; known: {', '.join(SCALES)}")
        if scale <= 0:
            raise ValueError(f"scale is {scale}, expected above 0")
        self.label, self.scale = label, scale
        self.wants = ("time",) if label == "time" else ("xyz",)

    def forward(self, c: Comparison, generator: torch.Generator) -> Comparison:
        ours, theirs = ordinal(c.facts, self.label), ordinal(c.candidate_facts, self.label)
        distance = (ours[:, None] - theirs[None, :]).abs().to(c.weight.dtype) / self.scale
        weight = c.weight.clone()
        weight[:, : len(c.candidates)] += torch.log1p(distance)
        return replace(c, weight=weight)


def ordinal(facts: Mapping[str, torch.Tensor], label: str) -> torch.Tensor:
    """(N,) where each row lies on a scale: metres from the sensor in the plane, metres up, or seconds."""
    if label == "time":
        return facts["time"]
    xyz = facts["xyz"]
    return xyz[:, 2] if label == "height" else xyz[:, :2].norm(dim=1)
