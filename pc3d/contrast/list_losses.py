"""Losses of more than two views at once: one term for an instance in place of a mean over pairs of views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.contrast.comparison import NOTHING
from pc3d.contrast.nce import _float, zero_with_graph
from pc3d.contrast.policy import Part

COSTS = ("euclidean", "rbf")


class ListLoss(Part):
    """A loss of V views, each (N, D), row i of all of them the same instance.

    Class attributes:
        fewest: rows that it takes; of fewer it is 0.
    """

    fewest: ClassVar[int] = 2

    @classmethod
    def tempered(cls, config: Mapping[str, Any]) -> bool:
        """Whether it has a temperature with these arguments."""
        return True

    def views(self, features: Sequence[Tensor]) -> Tensor:
        """The loss.

        Args:
            features: V tensors (N, D). Computed in float32, or float64 where they are.

        Returns:
            Scalar, 0 with a graph where there is nothing to compare.

        Raises:
            ValueError: fewer than two views, or of different shapes.
        """
        if len(features) < 2 or len({f.shape for f in features}) > 1 or features[0].ndim != 2:
            shapes = ", ".join(str(tuple(f.shape)) for f in features)
            raise ValueError(f"{type(self).__name__} takes at least two views of one (N, D), got {shapes}")
        if len(features[0]) < self.fewest:
            return zero_with_graph(*features)
        with torch.autocast(features[0].device.type, enabled=False):
            return self.value(torch.stack([_float(f) for f in features]))

    def value(self, u: Tensor) -> Tensor:
        """The loss of (V, N, D)."""
        raise NotImplementedError


class _Tempered(ListLoss):
    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def _alignment(self, u: Tensor, ordered: bool) -> Tensor:
        """(N,) log of the sum over pairs of views, each in one or in both orders."""
        pairs = list(combinations(range(len(u)), 2))
        logits = torch.stack([(u[a] * u[b]).sum(dim=1) for a, b in pairs]) / self.temperature
        return (torch.cat([logits, logits]) if ordered else logits).logsumexp(dim=0)


class MVInfoNCE(_Tempered):
    """mean_i [ log sum_l sum_{(j,m) != (i,l)} e^(u_il.u_jm / tau) - log sum_{l != m} e^(u_il.u_im / tau) ].

    u_il is view l of instance i (Koromilas et al., 2025; the form of the authors' code, from which their text
    differs).

    Args:
        temperature: tau, 0.1 and 0.5 in the authors' scripts.
    """

    fewest: ClassVar[int] = 1

    def value(self, u: Tensor) -> Tensor:
        views, count, _ = u.shape
        rows = u.flatten(0, 1)
        logits = (rows @ rows.T / self.temperature).fill_diagonal_(NOTHING)
        energy = logits.logsumexp(dim=1).view(views, count).logsumexp(dim=0)
        return (energy - self._alignment(u, ordered=True)).mean()


class MVDHEL(_Tempered):
    """mean_i [ sum_l log sum_{j != i} e^(u_il.u_jl / tau) - log sum_{l < m} e^(u_il.u_im / tau) ].

    Negatives come from the own view only, so that alignment and spread do not fight (Koromilas et al., 2025;
    the form of the authors' code).

    Args:
        temperature: tau, 0.1 and 0.5 in the authors' scripts.
    """

    def value(self, u: Tensor) -> Tensor:
        own = torch.eye(u.shape[1], dtype=torch.bool, device=u.device)
        logits = (u @ u.transpose(1, 2) / self.temperature).masked_fill(own, NOTHING)
        return (logits.logsumexp(dim=2).sum(dim=0) - self._alignment(u, ordered=False)).mean()


class CACR(ListLoss):
    """Far positives are drawn harder, near negatives pushed harder, each within its own group.

    Attraction = alpha mean_x mean_i sum_{y != x} softmax_y( tau_pos d ) d
    Repulsion = -beta mean_{x < y} mean_i sum_{j != i} softmax_j( -tau_neg d_ij ) d_ij,  d = |x_i - y_j|^2

    (Zheng et al., TMLR 2023; the authors' small-scale code). With `rbf`, their form for ImageNet: the first
    view is the key, each other one a query with the share w_v of 2 T InfoNCE(query, key; T), where
    w_v = softmax_v( |query - key|^2 / T ) of an instance carries no gradient.

    Args:
        alpha, beta: 1 and 1 in the authors' code, of `euclidean`.
        tau_pos, tau_neg: 1, and 0.9 or 2 there, of `euclidean`.
        cost: `euclidean` or `rbf`.
        temperature: T of `rbf`, 1 in the authors' code; None for `euclidean`, which has none.
        detach: the weights carry no gradient (our choice; in the authors' code those of `euclidean` do).
    """

    unit_rows = True
    fewest: ClassVar[int] = 1

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 1.0,
        tau_pos: float = 1.0,
        tau_neg: float = 0.9,
        cost: str = "euclidean",
        temperature: float | None = None,
        detach: bool = True,
    ) -> None:
        super().__init__()
        if cost not in COSTS:
            raise ValueError(f"unknown cost {cost!r} of CACR; known: {', '.join(COSTS)}")
        numbers = {"alpha": alpha, "beta": beta, "tau_pos": tau_pos, "tau_neg": tau_neg}
        for name, number in numbers.items():
            if number < 0:
                raise ValueError(f"{name} of CACR is {number}, expected 0 or more")
        if cost == "euclidean" and temperature is not None:
            raise ValueError(f"CACR's cost euclidean has no temperature, got {temperature}: leave it out")
        if cost == "rbf" and (alpha, beta, tau_pos, tau_neg) != (1.0, 1.0, 1.0, 0.9):
            given = ", ".join(f"{name} {number}" for name, number in numbers.items())
            raise ValueError(f"CACR's cost rbf reads `temperature` alone, got {given}")
        if temperature is not None and temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.alpha, self.beta, self.tau_pos, self.tau_neg = alpha, beta, tau_pos, tau_neg
        self.cost, self.detach = cost, detach
        self.temperature = 1.0 if temperature is None else temperature

    @classmethod
    def tempered(cls, config: Mapping[str, Any]) -> bool:
        return config.get("cost") == "rbf"

    def value(self, u: Tensor) -> Tensor:
        return self._kernel(u) if self.cost == "rbf" else self._euclidean(u)

    def _euclidean(self, u: Tensor) -> Tensor:
        views, count, _ = u.shape
        apart = {(a, b): _squares(u[a], u[b]) for a, b in combinations(range(views), 2)}
        attraction = []
        for x in range(views):
            d = torch.stack([apart[min(x, y), max(x, y)].diagonal() for y in range(views) if y != x], dim=1)
            attraction.append((self._weights(self.tau_pos * d) * d).sum(dim=1).mean())
        loss = self.alpha * torch.stack(attraction).mean()
        if count < 2:
            return loss
        own = torch.eye(count, dtype=torch.bool, device=u.device)
        repulsion = []
        for d in apart.values():  # anchors are the rows of the earlier view
            weights = self._weights((-self.tau_neg * d).masked_fill(own, NOTHING))
            repulsion.append((weights * d).sum(dim=1).mean())
        return loss - self.beta * torch.stack(repulsion).mean()

    def _kernel(self, u: Tensor) -> Tensor:
        key, queries = u[0], u[1:]
        t = self.temperature
        d = torch.stack([(q - key).square().sum(dim=1) for q in queries])
        weights = (d.detach() / t).softmax(dim=0)
        target = torch.arange(len(key), device=key.device)
        terms = [F.cross_entropy(q @ key.T / t, target, reduction="none") for q in queries]
        return 2 * t * (weights * torch.stack(terms)).mean(dim=1).sum()

    def _weights(self, scores: Tensor) -> Tensor:
        return (scores.detach() if self.detach else scores).softmax(dim=1)


def _squares(a: Tensor, b: Tensor) -> Tensor:
    """(N, N) squared distances of unit rows."""
    return 2 - 2 * a @ b.T
