"""Trees, bushes and hedges (street frame)."""

from __future__ import annotations

import numpy as np

from pc3d.sim import primitives as p
from pc3d.sim.categories import VEGETATION
from pc3d.sim.layout import KERB
from pc3d.sim.primitives import Builder
from pc3d.sim.types import Float


def leaf_colour(rng: np.random.Generator) -> Float:
    greens = np.array(
        [[0.22, 0.34, 0.10], [0.32, 0.40, 0.14], [0.13, 0.26, 0.10], [0.45, 0.38, 0.12], [0.48, 0.24, 0.12]]
    )
    return greens[rng.choice(5, p=[0.35, 0.25, 0.2, 0.12, 0.08])] * rng.uniform(0.9, 1.5)


def _crown(
    b: Builder,
    centre: tuple[float, float, float],
    half: tuple[float, float, float],
    colour: Float,
    density: float,
    boxy: float = 0.0,
) -> None:
    cell = 0.34 if not boxy else 0.24
    b.add(
        p.FOLIAGE,
        centre,
        half,
        p.LEAVES,
        colour,
        colour * b.rng.uniform(0.5, 0.8),
        (cell, density, boxy),
        label=VEGETATION,
    )


def tree(b: Builder, x: float, y: float, size: float = 1.0) -> None:
    """A street tree: trunk, a fork, and two to four ragged crowns."""
    rng = b.rng
    trunk = size * rng.uniform(2.0, 3.0)
    radius = size * rng.uniform(0.10, 0.2)
    bark = np.array([0.36, 0.28, 0.2]) * rng.uniform(0.6, 1.3)
    leaves = leaf_colour(rng)
    crown = size * rng.uniform(1.7, 2.6)
    stem = trunk + 0.7 * crown
    b.rod((x, y, KERB + stem / 2), radius, stem, p.BARK, bark, top=0.6, label=VEGETATION)
    for n in range(int(rng.integers(2, 5))):
        angle, out = rng.uniform(0, 2 * np.pi), crown * (0.0 if n == 0 else rng.uniform(0.3, 0.6))
        r = crown * (1.0 if n == 0 else rng.uniform(0.55, 0.8))
        cx, cy = x + out * np.cos(angle), y + out * np.sin(angle)
        z = KERB + trunk + r * 0.75 + (0.0 if n == 0 else rng.uniform(-0.2, 0.9) * crown)
        _crown(b, (cx, cy, z), (r, r, r * rng.uniform(0.75, 1.05)), leaves, rng.uniform(0.11, 0.22))
        if n:
            b.add(
                p.BOX,
                ((x + cx) / 2, (y + cy) / 2, KERB + trunk + 0.2 * r),
                (out / 2 + 0.2, 0.05, 0.05),
                p.BARK,
                bark,
                yaw=angle,
                pitch=0.6,
                label=VEGETATION,
            )


def bush(b: Builder, x: float, y: float) -> None:
    r = b.rng.uniform(0.5, 1.0)
    half = (r, r * b.rng.uniform(0.7, 1.2), r * b.rng.uniform(0.6, 0.9))
    b.add(
        p.FOLIAGE,
        (x, y, KERB + 0.6 * half[2]),
        half,
        p.LEAVES,
        leaf_colour(b.rng),
        leaf_colour(b.rng) * 0.7,
        (0.22, 0.6, 0.0),
        label=VEGETATION,
    )


def hedge(b: Builder, x0: float, x1: float, y: float) -> None:
    height, colour = b.rng.uniform(0.7, 1.3), leaf_colour(b.rng)
    for a in np.arange(x0, x1, 4.0):
        c = min(a + 4.0, x1)
        _crown(b, ((a + c) / 2, y, KERB + height / 2), ((c - a) / 2, 0.45, height / 2), colour, 0.6, 1.0)
