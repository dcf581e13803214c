"""Terms against the gap between two modalities (Fahim et al., "It's not a modality gap", 2024)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from pc3d.contrast.comparison import Facts
from pc3d.contrast.nce import _float, zero_with_graph
from pc3d.contrast.policy import Regularizer
from pc3d.ops.sampling import even_places

MAX_ROWS = 2048
"""Of more rows, so many evenly spaced ones are looked at."""


class Spread(Regularizer):
    """Common to the regularizers: the even choice of rows.

    All are means over pairs, where the authors' notes have a sum over N (our choice; a constant apart).
    """

    unit_rows = True
    fewest: ClassVar[int] = 2
    neutral: ClassVar[Mapping[str, Any] | None] = MappingProxyType({"weight": 0.0})

    def forward(self, anchors: Tensor, others: Tensor, facts: Facts) -> Tensor:
        if len(anchors) < self.fewest:
            return zero_with_graph(anchors, others)
        a, b = _float(anchors), _float(others)
        if len(a) > MAX_ROWS:
            even = even_places(len(a), MAX_ROWS, a.device)
            a, b = a[even], b[even]
        return self.term(a, b)

    def term(self, a: Tensor, b: Tensor) -> Tensor:
        """The term of (N, D) rows, unweighted."""
        raise NotImplementedError


class Uniformity(Spread):
    """Mean of both sides: log mean_{j<k} e^(-2 |x_j - x_k|^2), spread within (Wang & Isola, ICML 2020).

    Args:
        weight: of the term, 1 in the notes; one source keeps CLIP stable with about 1e-3.
    """

    def term(self, a: Tensor, b: Tensor) -> Tensor:
        return (_spread(a, a) + _spread(b, b)) / 2


class CrossUniformity(Spread):
    """log mean_{j != k} e^(-2 |a_j - b_k|^2): spread across the sides.

    Args:
        weight: see `Uniformity`.
    """

    def term(self, a: Tensor, b: Tensor) -> Tensor:
        return _spread(a, b)


class Alignment(Spread):
    """mean |a_i - b_i|^2: absolute closeness of pairs.

    Args:
        weight: see `Uniformity`.
    """

    fewest: ClassVar[int] = 1

    def term(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).square().sum(dim=1).mean()


def _spread(a: Tensor, b: Tensor) -> Tensor:
    """log of the mean over pairs of different places."""
    squares = a.square().sum(1)[:, None] + b.square().sum(1)[None, :] - 2 * a @ b.T
    own = torch.eye(len(a), dtype=torch.bool, device=a.device)
    together = (-2 * squares).masked_fill(own, -torch.inf).flatten().logsumexp(dim=0)
    return together - math.log(len(a) * (len(a) - 1))
