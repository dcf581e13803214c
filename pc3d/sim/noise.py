"""Noise for textures: hashed lattices, no state."""

from __future__ import annotations

import numpy as np

from pc3d.sim.shapes import hash3
from pc3d.storage.compiled import njit


@njit(cache=True, error_model="numpy")
def speck(i: int, j: int, k: int, seed: int) -> float:
    """A number in 0..1 for a lattice point."""
    return hash3(i, j, k, seed) / 4294967296.0


@njit(cache=True, error_model="numpy")
def grain(x: float, y: float, seed: int) -> float:
    """Smooth value noise in 2D, 0..1, one bump a unit."""
    i, j = int(np.floor(x)), int(np.floor(y))
    u, v = x - i, y - j
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    a, b = speck(i, j, 0, seed), speck(i + 1, j, 0, seed)
    c, d = speck(i, j + 1, 0, seed), speck(i + 1, j + 1, 0, seed)
    return (a + (b - a) * u) * (1 - v) + (c + (d - c) * u) * v


@njit(cache=True, error_model="numpy")
def band(offset: float, half_width: float, pixel: float) -> float:
    """Coverage 0..1 of a pixel `pixel` wide at distance `offset` from the middle of a stripe."""
    return max(0.0, min(1.0, (half_width - abs(offset)) / pixel + 0.5))


@njit(cache=True, error_model="numpy")
def fade(feature: float, pixel: float) -> float:
    """How much of a detail of size `feature` a pixel of size `pixel` still shows, 0..1."""
    return max(0.0, min(1.0, 1.6 * feature / pixel - 0.6))
