"""Negatives weighed by what is known of both rows: their cluster, or where they lie on a scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from pc3d.contrast.comparison import Comparison, add_negatives
from pc3d.contrast.policy import Policy, draw, row_keys

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
        check_scale(label)
        if scale <= 0:
            raise ValueError(f"scale is {scale}, expected above 0")
        self.label, self.scale = label, scale
        self.wants = scale_facts(label)

    def forward(self, c: Comparison, generator: torch.Generator) -> Comparison:
        ours, theirs = ordinal(c.facts, self.label), ordinal(c.candidate_facts, self.label)
        distance = (ours[:, None] - theirs[None, :]).abs().to(c.weight.dtype) / self.scale
        weight = c.weight.clone()
        weight[:, : len(c.candidates)] += torch.log1p(distance)
        return replace(c, weight=weight)


class MixedOrdinalNegatives(Policy):
    """Adds negatives mixed of the anchor and one that lies elsewhere on a scale (SupReMix, 2023).

    x = u a_i + (1 - u) c_k   with t_k != t_i, u ~ Beta(2, 8); x lies at t_x = u t_i + (1 - u) t_k and counts
    |t_x - t_i| / scale + 1 times, as `Ordinal` weighs the candidates. Mixtures are constants and not
    normalised, as in another public code (not verified). c_k is drawn from the anchor's negatives.

    Args:
        label, scale: see `Ordinal`.
        count: mixtures of an anchor (our choice).
        beta: the two numbers of the Beta distribution, integers.
    """

    neutral: ClassVar[Mapping[str, Any] | None] = MappingProxyType({"count": 0})

    def __init__(
        self, label: str = "range", scale: float = 10.0, count: int = 32, beta: Sequence[int] = (2, 8)
    ) -> None:
        super().__init__()
        check_scale(label)
        if scale <= 0 or count < 0:
            raise ValueError(f"scale {scale}, count {count}: expected above 0, and 0 or more")
        if len(beta) != 2 or any(number < 1 or number != int(number) for number in beta):
            raise ValueError(f"beta is {beta}, expected two integers of at least 1")
        self.label, self.scale, self.count = label, scale, count
        self.low, self.high = (int(number) for number in beta)
        self.wants = scale_facts(label)

    def forward(self, c: Comparison, generator: torch.Generator) -> Comparison:
        # The a-th smallest of a + b - 1 even numbers is Beta(a, b).
        each = self.low + self.high - 1
        keys = row_keys(c.facts, len(c.anchors), c.anchors.device)
        numbers = draw(generator, keys, self.count * (1 + each))
        if not self.count or not len(c.candidates):
            return c
        among, part = numbers.split([self.count, self.count * each], dim=1)
        part = part.unflatten(1, (self.count, each)).sort(dim=2).values[..., self.low - 1]
        with torch.no_grad():
            rows, weight = self.mixtures(c, among, part)
        return add_negatives(c, rows, weight)

    def mixtures(self, c: Comparison, among: Tensor, part: Tensor) -> tuple[Tensor, Tensor]:
        """(N, S, D) rows and (N, S) log-weights, by (N, S) numbers in [0, 1) and parts of the anchor."""
        order = in_order(c)
        ours, theirs = ordinal(c.facts, self.label), ordinal(c.candidate_facts, self.label)[order]
        gap = (theirs[None, :] - ours[:, None]).abs()
        usable = (c.weight[:, order] > -torch.inf) & (gap > 0)
        k, part = pick(usable, among), part.to(c.anchors.dtype)
        distance = (1 - part) * gap.gather(1, k).to(part.dtype)
        weight = torch.log1p(distance / self.scale).masked_fill(~usable.any(dim=1)[:, None], -torch.inf)
        rows = part[..., None] * c.anchors[:, None] + (1 - part[..., None]) * c.candidates[order][k]
        return rows, weight


def pick(mask: Tensor, numbers: Tensor) -> Tensor:
    """(N, S) columns that (N, J) bool allows, evenly by (N, S) numbers in [0, 1); any where there is none."""
    rank = (numbers * mask.sum(dim=1, keepdim=True)).long() + 1
    return torch.searchsorted(mask.cumsum(dim=1), rank).clamp(max=mask.shape[1] - 1)


def in_order(c: Comparison) -> Tensor:
    """(J,) candidates in the order of their keys, so that a choice among them is one by identity."""
    return row_keys(c.candidate_facts, len(c.candidates), c.candidates.device).argsort(stable=True)


def check_scale(label: str) -> None:
    """Refuse a scale that is not known."""
    if label not in SCALES:
        raise ValueError(f"unknown label {label!r}; known: {', '.join(SCALES)}")


def scale_facts(label: str) -> tuple[str, ...]:
    """The facts that a scale reads."""
    return ("time",) if label == "time" else ("xyz",)


def ordinal(facts: Mapping[str, torch.Tensor], label: str) -> torch.Tensor:
    """(N,) where each row lies on a scale: metres from the sensor in the plane, metres up, or seconds."""
    if label == "time":
        return facts["time"]
    xyz = facts["xyz"]
    return xyz[:, 2] if label == "height" else xyz[:, :2].norm(dim=1)
