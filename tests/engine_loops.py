"""Plain numbers for tests that compare a part with a loop over its equation."""

from __future__ import annotations

import math
from typing import TypeVar

from torch import Tensor

from pc3d.contrast.contrast import Contrast
from pc3d.contrast.policy import Part

Kind = TypeVar("Kind", bound=Part)


def filled(contrast: Contrast, others: Tensor) -> Contrast:
    """After one step of training with these rows of the other side."""
    contrast.look(others, others, {}, {})
    for part in contrast.parts():
        part.commit()
    return contrast


def part_of(contrast: Contrast, kind: type[Kind]) -> Kind:
    return next(part for part in contrast.modules() if isinstance(part, kind))


def dot(x: Tensor, y: Tensor) -> float:
    return sum(a * b for a, b in zip(x.tolist(), y.tolist(), strict=True))


def nearest(x: Tensor, centroids: Tensor) -> int:
    return max(range(len(centroids)), key=lambda k: dot(x, centroids[k]))


def lse(values: list[float]) -> float:
    return math.log(sum(math.exp(value) for value in values))
