"""Several heads that judge a pair, each with a temperature for the pair (AMCL, Wang et al., ECCV 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pc3d.contrast.comparison import NOTHING, Comparison
from pc3d.contrast.similarity.cosine import Similarity


class AdaptiveHeads(Similarity):
    """C heads that each judge a pair, and for each pair and head a temperature: its own loss.

    sum over heads of
        -s_ii / t_ii + reg Om(t_ii) + lse_n( s_in / t_in - reg Om(t_in) )    over the hardest negatives n
    with s the cosine of the head's projections, Om(t) = (reg_dim / 2) log t + 1 / t, and
    t = low + (high - low) sigmoid( MLP(z_i * z_n) ). With one hardest negative the lse is its argument.

    The equation is reported from a table of the paper; the authors' public code does not run and has no
    negatives of the batch. Our choice: the lse for several hardest ones, the product in the MLP (theirs
    reads both vectors side by side), one MLP for each head, projections that both sides share, of the
    compared features. Policies may weigh negatives or leave some out.

    The form is ill-posed where reg < 1, as printed (0.1): where a cosine is above reg, the positive part
    falls without bound as its temperature falls. With reg = 1 and reg_dim = 1 it is least at
    t = 2 (1 - cos). The negatives' part has no such minimum for any reg of 1 or more; `low` bounds it.

    Args:
        heads: C, 3 in the authors' code.
        hardest: so many negatives of the highest cosine count; None: all, which makes (N, J, dim) numbers.
        reg, reg_dim: see above; 1 and 1 (our choice).
        low, high: bounds of a temperature; 0.05 (our choice; 1e-5 in the authors' code) and 2.
        dim: of the compared features.
    """

    neutral: ClassVar[Mapping[str, Any] | None] = None
    own_loss = True

    def __init__(
        self,
        heads: int = 3,
        hardest: int | None = 1,
        reg: float = 1.0,
        reg_dim: int = 1,
        low: float = 0.05,
        high: float = 2.0,
        dim: int = 64,
    ) -> None:
        super().__init__()
        if heads < 1 or dim < 1 or (hardest is not None and hardest < 1):
            raise ValueError(
                f"heads {heads}, hardest {hardest}, dim {dim}: expected at least 1 of each (or hardest=None)"
            )
        if reg < 0 or reg_dim < 1:
            raise ValueError(f"reg {reg}, reg_dim {reg_dim}: expected 0 or more, and at least 1")
        if not 0 < low <= high:
            raise ValueError(f"temperatures between low {low} and high {high}: expected 0 < low <= high")
        self.hardest, self.reg, self.reg_dim = hardest, reg, reg_dim
        self.low, self.high = low, high
        self.projections = nn.ModuleList(_mlp(dim, dim) for _ in range(heads))
        self.judges = nn.ModuleList(_mlp(dim, 1) for _ in range(heads))

    def tau(self) -> float:
        """1: each pair has its own."""
        return 1.0

    def temperatures(self, head: int, left: Tensor, right: Tensor, place: Tensor) -> Tensor:
        """(N, K) temperatures of (N, D) rows with those of (J, D) at (N, K) places."""
        judged = self.judges[head](left[:, None] * right[place])[..., 0]
        return self.low + (self.high - self.low) * judged.sigmoid()

    def omega(self, tau: Tensor) -> Tensor:
        """Om, of any shape."""
        return self.reg_dim / 2 * tau.log() + 1 / tau

    def terms(self, c: Comparison) -> tuple[Tensor, Tensor]:
        assert c.partner is not None
        judged = [
            self._judged(head, F.normalize(project(c.anchors)), F.normalize(project(c.candidates)), c)
            for head, project in enumerate(self.projections)
        ]
        return torch.stack(judged).sum(dim=0), c.partner >= 0

    def _judged(self, head: int, left: Tensor, right: Tensor, c: Comparison) -> Tensor:
        """(N,) terms of a head, of (N, D) and (J, D) unit rows."""
        assert c.partner is not None
        partner = c.partner.clamp(min=0)[:, None]
        tau = self.temperatures(head, left, right, partner)[:, 0]
        positive = self.reg * self.omega(tau) - (left * right[partner[:, 0]]).sum(dim=1) / tau
        likeness, weight = left @ right.T, c.weight[:, : len(right)]
        place = self._hardest(likeness, weight)
        tau, weight = self.temperatures(head, left, right, place), weight.gather(1, place)
        energy = likeness.gather(1, place) / tau - self.reg * self.omega(tau) + weight
        negative = energy.masked_fill(weight == -torch.inf, NOTHING).logsumexp(dim=1)
        return positive + torch.where((weight > -torch.inf).any(dim=1), negative, 0.0)

    def _hardest(self, likeness: Tensor, weight: Tensor) -> Tensor:
        """(N, K) candidates; what is no negative comes last."""
        if self.hardest is None:
            return torch.arange(likeness.shape[1], device=likeness.device).expand_as(likeness)
        scores = likeness.detach().masked_fill(weight == -torch.inf, -torch.inf)
        return scores.topk(min(self.hardest, scores.shape[1]), dim=1).indices


def _mlp(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, out))
