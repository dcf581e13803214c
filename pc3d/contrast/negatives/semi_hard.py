"""Half-hard negatives (InterCLR, Xie et al., IJCV 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

import torch

from pc3d.contrast.comparison import Comparison
from pc3d.contrast.policy import Policy, draw, row_keys


class SemiHard(Policy):
    """Only some negatives stay, drawn without repeats from the anchor's hardest ones.

    The hardest ones are unreliable by themselves, and a draw from a larger pool of hard ones is better. The
    authors draw 16,384 of the 128,000 most alike of 1,281,167.

    Args:
        pool: share of the negatives that is drawn from, 0.1. count: share that is drawn, 0.0128; at least
            one.
    """

    neutral: ClassVar[Mapping[str, Any] | None] = MappingProxyType({"pool": 1.0, "count": 1.0})

    def __init__(self, pool: float = 0.1, count: float = 0.0128) -> None:
        super().__init__()
        if not 0 < count <= pool <= 1:
            raise ValueError(f"pool {pool} and count {count}: expected above 0, count <= pool <= 1")
        self.pool, self.count = pool, count

    def forward(self, c: Comparison, generator: torch.Generator) -> Comparison:
        size = len(c.candidates)
        with torch.no_grad():
            present = c.weight[:, :size] > -torch.inf
            many = present.sum(dim=1, keepdim=True)
            pool = torch.minimum((many * self.pool).round().clamp(min=1), many)
            widest = int(pool.max()) if size else 0
            numbers = draw(generator, row_keys(c.facts, len(c.anchors), c.anchors.device), widest)
            if not widest:
                return c
            # Places in the order of hardness are drawn: the same ones however the candidates stand.
            hardest = c.negative[:, :size].masked_fill(~present, -torch.inf).topk(widest, dim=1).indices
            pooled = torch.arange(widest, device=hardest.device) < pool
            rank = numbers.masked_fill(~pooled, torch.inf).argsort(dim=1).argsort(dim=1)
            kept = (rank < (many * self.count).round().clamp(min=1)) & pooled
            chosen = torch.zeros_like(present).scatter(1, hardest, kept)
        weight = c.weight.clone()
        weight[:, : len(c.candidates)].masked_fill_(~chosen, -torch.inf)
        return replace(c, weight=weight)
