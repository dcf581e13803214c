"""Small inputs for the parts of a contrast."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pc3d.contrast.build import build_contrast
from pc3d.contrast.contrast import Contrast

ANGLES = {"A": (0, 80, 200), "B": (25, 60, 230), "C": (10, 100, 190)}
TAU = 0.5


def at(*degrees: float) -> Tensor:
    """(N, 2) float64 unit rows at angles."""
    angles = torch.tensor(degrees, dtype=torch.float64) * math.pi / 180
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def e0(name: str) -> Tensor:
    """The small input of which all values are known."""
    return at(*ANGLES[name])


def contrast_of(
    dim: int = 2, temperature: float = TAU, facts: tuple[str, ...] = (), **settings: Any
) -> Contrast:
    """A contrast in float64."""
    return build_contrast(settings, temperature, dim, facts).double()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unit(rows: int, width: int, seed: int) -> Tensor:
    features = torch.randn(rows, width, generator=generator(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(features, dim=1)
