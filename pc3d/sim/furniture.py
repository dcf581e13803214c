"""Lamps, signs, traffic lights, benches and other things on the walkway (street frame)."""

from __future__ import annotations

import numpy as np

from pc3d.sim import primitives as p
from pc3d.sim.categories import VEGETATION
from pc3d.sim.layout import KERB
from pc3d.sim.plants import leaf_colour
from pc3d.sim.primitives import Builder

GREY = (0.5, 0.5, 0.5)


def lamp(b: Builder, x: float, y: float, inward: float) -> None:
    """Street lamp whose arm reaches over the road (`inward`: sign of the direction in y)."""
    height = b.rng.uniform(6.5, 9.0)
    colour = np.array(GREY) * b.rng.uniform(0.5, 1.3)
    b.rod((x, y, height / 2), 0.09, height, p.METAL, colour, top=0.6)
    b.rod((x, y, 0.4), 0.14, 0.8, p.METAL, colour)
    b.rod((x, y + inward * 0.9, height), 0.05, 1.8, p.METAL, colour, axis="y")
    b.add(p.BOX, (x, y + inward * 1.8, height), (0.12, 0.35, 0.06), p.HEADLIGHT, (0.85, 0.85, 0.8))


def sign(b: Builder, x: float, y: float) -> None:
    """Sign on a pole, facing along the street."""
    rng = b.rng
    height = rng.uniform(2.2, 3.0)
    face = [(0.75, 0.08, 0.08), (0.1, 0.25, 0.6), (0.9, 0.9, 0.88), (0.9, 0.72, 0.1), (0.1, 0.4, 0.22)][
        rng.integers(5)
    ]
    b.rod((x, y, height / 2), 0.035, height, p.METAL, np.array(GREY) * rng.uniform(0.7, 1.3))
    wide, tall = rng.uniform(0.25, 0.45), rng.uniform(0.25, 0.45)
    b.add(
        p.BOX,
        (x - 0.05, y, height - 0.1),
        (0.015, wide, tall),
        p.SIGN,
        face,
        (0.95, 0.95, 0.93),
        yaw=rng.normal(0, 0.1),
    )


def signal(b: Builder, x: float, y: float, inward: float) -> None:
    """Traffic light."""
    dark = (0.12, 0.13, 0.12)
    b.rod((x, y, 2.6), 0.07, 5.2, p.METAL, (0.35, 0.36, 0.35))
    b.rod((x, y + inward * 1.3, 5.1), 0.05, 2.6, p.METAL, (0.35, 0.36, 0.35), axis="y")
    for yy, z in ((y, 3.2), (y + inward * 2.5, 4.9)):
        b.add(p.BOX, (x - 0.12, yy, z), (0.1, 0.16, 0.45), p.DARK, dark)
        lit = b.rng.integers(3)
        for n, colour in enumerate(((0.9, 0.1, 0.08), (0.9, 0.7, 0.1), (0.1, 0.8, 0.45))):
            bright = 1.0 if n == lit else 0.25
            b.add(
                p.ELLIPSOID,
                (x - 0.22, yy, z + 0.28 - 0.28 * n),
                (0.04, 0.1, 0.1),
                p.HEADLIGHT if n == lit else p.DARK,
                np.array(colour) * bright,
            )


def bench(b: Builder, x: float, y: float, facing: float) -> None:
    wood = np.array([0.45, 0.32, 0.2]) * b.rng.uniform(0.7, 1.2)
    b.add(p.BOX, (x, y, KERB + 0.42), (0.9, 0.22, 0.03), p.HAZARD, wood, wood * 0.7)
    b.add(p.BOX, (x, y - facing * 0.22, KERB + 0.7), (0.9, 0.03, 0.16), p.HAZARD, wood, wood * 0.7)
    for dx in (-0.75, 0.75):
        b.add(p.BOX, (x + dx, y, KERB + 0.2), (0.04, 0.2, 0.2), p.METAL, (0.25, 0.25, 0.25))


def clutter(b: Builder, x: float, y: float) -> None:
    """Bin, hydrant, cabinet, bollard or planter."""
    rng = b.rng
    colour = np.clip(rng.uniform(0.1, 0.8, 3), 0, 1)
    kind = rng.integers(5)
    if kind == 0:
        b.rod((x, y, KERB + 0.5), 0.28, 1.0, p.PLASTER, colour, top=1.1)
    elif kind == 1:
        b.rod((x, y, KERB + 0.35), 0.14, 0.7, p.PAINT, (0.75, 0.12, 0.08), top=0.8)
        b.rod((x, y, KERB + 0.45), 0.07, 0.44, p.PAINT, (0.75, 0.12, 0.08), axis="y")
    elif kind == 2:
        b.add(p.BOX, (x, y, KERB + 0.65), (0.45, 0.25, 0.65), p.CARGO, colour * 0.7, yaw=rng.normal(0, 0.1))
    elif kind == 3:
        for n in range(5):
            b.rod((x + 1.5 * n, y, KERB + 0.45), 0.09, 0.9, p.METAL, (0.6, 0.6, 0.55))
    else:
        b.add(p.BOX, (x, y, KERB + 0.25), (0.8, 0.4, 0.25), p.PLASTER, colour)
        b.add(
            p.FOLIAGE,
            (x, y, KERB + 0.75),
            (0.8, 0.45, 0.4),
            p.LEAVES,
            leaf_colour(rng),
            leaf_colour(rng),
            (0.22, 0.6, 0.0),
            label=VEGETATION,
        )
