"""Houses: blocks with storeys, arcades, pilasters, balconies and roofs (street frame)."""

from __future__ import annotations

import numpy as np

from pc3d.sim import primitives as p
from pc3d.sim.categories import MANMADE
from pc3d.sim.layout import KERB
from pc3d.sim.primitives import Builder
from pc3d.sim.types import Float


def _wall_colour(rng: np.random.Generator) -> Float:
    base = np.array(
        [
            [0.62, 0.60, 0.56],
            [0.55, 0.30, 0.22],
            [0.72, 0.64, 0.50],
            [0.40, 0.42, 0.45],
            [0.80, 0.79, 0.76],
            [0.46, 0.36, 0.28],
            [0.35, 0.45, 0.42],
            [0.66, 0.46, 0.34],
        ]
    )
    return np.clip(
        base[rng.integers(len(base))] * rng.uniform(0.8, 1.12) + rng.normal(0, 0.02, 3), 0.05, 0.95
    )


def building(b: Builder, x0: float, x1: float, y: float, depth: float, side: float, height: float) -> None:
    """A house front from x0 to x1 whose facade stands on |y| = `y`, with what sticks out of it."""
    rng = b.rng
    wall = p.BRICK if rng.random() < 0.4 else p.WINDOWS
    colour, trim = _wall_colour(rng), _wall_colour(rng)
    storey = rng.uniform(3.0, 3.8)
    base = KERB + storey * rng.uniform(1.0, 1.3)

    def block(
        xa: float, xb: float, ya: float, yb: float, za: float, zb: float, material: int, c: Float, c2: Float
    ) -> None:
        b.box(
            (xa, min(side * ya, side * yb), za),
            (xb, max(side * ya, side * yb), zb),
            material,
            c,
            c2,
            label=MANMADE,
        )

    arcade = rng.uniform(2.0, 4.0) if rng.random() < 0.6 else 0.0
    ground_floor = p.SHOPFRONT if rng.random() < 0.5 else wall
    block(x0, x1, y + arcade, y + depth, 0.0, base, ground_floor, trim, colour)
    block(x0, x1, y, y + depth, base, height, wall, colour, trim)
    block(x0, x1, y - 0.25, y, base - 0.25, base + 0.1, p.PLASTER, trim, trim)
    block(x0 - 0.15, x1 + 0.15, y - 0.3, y + depth, height, height + 0.35, p.PLASTER, trim, trim)
    bay = rng.uniform(2.6, 4.6)
    columns = np.arange(x0 + 0.4, x1, bay)
    for x in columns:  # pilasters, or the columns of an arcade
        wide = 0.35 if arcade else 0.22
        block(
            x - wide,
            x + wide,
            y - 0.18,
            y + (0.5 if arcade else 0.05),
            0.0,
            base if arcade else height,
            p.PLASTER,
            trim,
            trim,
        )
    if not arcade:
        for x in columns[:-1]:
            if rng.random() < 0.35:
                block(
                    x + 0.8,
                    x + bay - 0.8,
                    y - 1.0,
                    y,
                    base - 0.7,
                    base - 0.55,
                    p.CLOTH,
                    _wall_colour(rng),
                    trim,
                )
    if rng.random() < 0.5:
        for x in columns[:-1]:
            for z in np.arange(base + storey, min(height - 1.5, 22.0), storey):
                if rng.random() < 0.5:
                    block(x + 0.6, x + bay - 0.6, y - 1.1, y, z - 0.2, z, p.PLASTER, trim, trim)
                    block(x + 0.6, x + bay - 0.6, y - 1.1, y - 1.03, z, z + 1.0, p.METAL, trim, trim)
    for _ in range(int(rng.integers(0, 4))):
        x = x0 + rng.uniform(0.1, 0.7) * (x1 - x0)
        block(
            x,
            x + rng.uniform(1, 3),
            y + 2,
            y + 4,
            height,
            height + rng.uniform(1, 2.5),
            p.PLASTER,
            trim,
            trim,
        )
