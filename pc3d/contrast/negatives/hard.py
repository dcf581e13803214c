"""Hard negatives by concentration (Robinson et al., ICLR 2021; HAR, Choi et al., 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

import torch

from pc3d.contrast.comparison import NOTHING, Comparison
from pc3d.contrast.policy import Policy

FALLS = 9


class Hard(Policy):
    """Negatives near the anchor count more: w_ij = e^(beta s_ij) / mean_j e^(beta s_ij) over i's negatives.

    s has 1 / tau in it. With `prior` > 0 the expected share of hidden positives is taken off, see
    `comparison.log_negatives`. Where negatives have weights already, these multiply.

    Args:
        beta: concentration, 1 in the authors' code for images at a tau of 0.5; 0.5 for 0.07 (our choice).
        prior: share of the negatives that are of the anchor's class, 0.1 there.
        detach: the weights carry no gradient; they do in the authors' code.
        anneal: steps in which beta falls to 0, in nine equal falls; None: it stays.
    """

    neutral: ClassVar[Mapping[str, Any] | None] = MappingProxyType({"beta": 0.0})

    def __init__(
        self, beta: float = 1.0, prior: float = 0.0, detach: bool = False, anneal: int | None = None
    ) -> None:
        super().__init__()
        if beta < 0:
            raise ValueError(f"beta is {beta}, expected 0 or more")
        if not 0 <= prior < 1:
            raise ValueError(f"prior is {prior}, expected 0 or more, and less than 1")
        if anneal is not None and anneal < 1:
            raise ValueError(f"anneal is {anneal} steps, expected at least 1")
        self.beta, self.prior, self.detach, self.anneal = beta, prior, detach, anneal
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        self.step: torch.Tensor

    def forward(self, c: Comparison, generator: torch.Generator) -> Comparison:
        beta = self.beta
        if self.anneal is not None:
            beta *= 1 - min(FALLS, int(self.step) * (FALLS + 1) // self.anneal) / FALLS
        present = c.weight > -torch.inf
        scores = beta * (c.negative.detach() if self.detach else c.negative)
        total = scores.masked_fill(~present, NOTHING).logsumexp(dim=1, keepdim=True)
        mean = total - c.counts.clamp(min=1)[:, None].to(total.dtype).log()
        return replace(c, weight=torch.where(present, c.weight + scores - mean, -torch.inf), prior=self.prior)

    def commit(self) -> None:
        if self.training and self.anneal is not None:
            self.step += 1
