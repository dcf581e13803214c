"""Vehicles out of solids. Object frame: x forward, y left, z up, origin under the box centre."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pc3d.sim import primitives as p
from pc3d.sim.categories import LIDARSEG_INDEX
from pc3d.sim.primitives import Builder, Primitives
from pc3d.sim.types import Float

Model = tuple[Primitives, Float]
"""Solids of an object and its size (length, width, height)."""

_CAR_COLOURS = np.array(
    [
        [0.86, 0.86, 0.85],
        [0.62, 0.63, 0.64],
        [0.30, 0.31, 0.33],
        [0.08, 0.08, 0.09],
        [0.55, 0.07, 0.07],
        [0.08, 0.16, 0.42],
        [0.10, 0.30, 0.20],
        [0.62, 0.52, 0.38],
        [0.80, 0.62, 0.10],
        [0.35, 0.20, 0.13],
        [0.30, 0.45, 0.60],
        [0.78, 0.34, 0.08],
    ]
)


def paint(rng: np.random.Generator) -> Float:
    """A car colour, (3,) 0..1."""
    weights = np.array([5, 4, 3, 4, 2, 2, 1, 1, 1, 1, 1, 1], dtype=np.float64)
    base = _CAR_COLOURS[rng.choice(len(_CAR_COLOURS), p=weights / weights.sum())]
    return np.clip(base + rng.normal(0.0, 0.03, 3), 0.02, 0.95)


def _wheels(b: Builder, xs: list[float], track: float, radius: float, width: float) -> None:
    for x in xs:
        for side in (-1.0, 1.0):
            y = side * (track / 2 - width / 2)
            b.rod((x, y, radius), radius, width, p.TYRE, (0.05, 0.05, 0.055), (0.55, 0.55, 0.57), axis="y")


def _lights(b: Builder, length: float, width: float, z: float, inset: float = 0.02) -> None:
    for side in (-1.0, 1.0):
        y = side * (width / 2 - 0.2)
        b.add(p.BOX, (length / 2 - inset, y, z), (inset, 0.15, 0.07), p.HEADLIGHT, (0.95, 0.95, 0.9))
        b.add(p.BOX, (-length / 2 + inset, y, z + 0.1), (inset, 0.13, 0.09), p.TAILLIGHT, (0.65, 0.03, 0.03))


def car(rng: np.random.Generator, instance: int) -> Model:
    """Sedan, hatchback, estate, van or pickup."""
    b = Builder(rng, LIDARSEG_INDEX["vehicle.car"], instance)
    kind = rng.choice(["sedan", "hatch", "suv", "van", "pickup"], p=[0.36, 0.2, 0.26, 0.1, 0.08])
    length, width, height = {
        "sedan": (4.65, 1.84, 1.47),
        "hatch": (4.1, 1.78, 1.52),
        "suv": (4.7, 1.92, 1.74),
        "van": (4.95, 1.96, 1.98),
        "pickup": (5.3, 1.98, 1.84),
    }[kind] * rng.normal(1.0, 0.03, 3)
    colour = paint(rng)
    h = length / 2
    w = width / 2
    sill, belt = 0.2 * height / 1.5, 0.60 * height
    b.box((-h + 0.06, -w, sill), (h - 0.06, w, belt), p.PAINT, colour, par=(0.10, 0.08, 0.07))
    b.box((-h, -w + 0.06, sill + 0.04), (-h + 0.25, w - 0.06, sill + 0.32), p.PAINT, colour * 0.9)
    b.box((h - 0.25, -w + 0.06, sill + 0.04), (h, w - 0.06, sill + 0.32), p.PAINT, colour * 0.9)
    b.box(
        (h - 0.02, -0.4 * width, sill + 0.32),
        (h - 0.05, 0.4 * width, sill + 0.45),
        p.DARK,
        (0.06, 0.06, 0.07),
    )
    front, rear = {
        "sedan": (0.46 * h, -0.72 * h),
        "hatch": (0.46 * h, -0.93 * h),
        "suv": (0.44 * h, -0.95 * h),
        "van": (0.70 * h, -0.97 * h),
        "pickup": (0.42 * h, -0.22 * h),
    }[kind]
    lean = (0.75, {"sedan": 0.7, "hatch": 0.45, "suv": 0.3, "van": 0.15, "pickup": 0.12}[kind], 0.17)
    b.box((rear, -w + 0.07, belt), (front, w - 0.07, height - 0.05), p.CABIN, colour, par=lean)
    b.box(
        (rear + lean[1], -w + 0.24, height - 0.05),
        (front - lean[0], w - 0.24, height),
        p.PAINT,
        colour,
        par=(0.1, 0.1, 0.05),
    )
    if kind == "pickup":
        for side in (-1.0, 1.0):
            b.add(p.BOX, (-0.6 * h, side * (w - 0.09), belt + 0.1), (0.38 * h, 0.06, 0.12), p.PAINT, colour)
    radius = 0.31 * rng.uniform(1.0, 1.12)
    _wheels(b, [0.62 * h, -0.60 * h], width - 0.02, radius, 0.22)
    _lights(b, length - 0.04, width, 0.47 * height)
    for side in (-1.0, 1.0):
        b.add(p.BOX, (front - 0.45, side * (w - 0.07), belt + 0.08), (0.06, 0.07, 0.06), p.PAINT, colour)
    b.add(p.BOX, (-h + 0.01, 0.0, sill + 0.3), (0.01, 0.26, 0.06), p.SIGN, (0.9, 0.9, 0.86), (0.1, 0.1, 0.2))
    return b.build(), np.array([length, width, height])


def _cab(b: Builder, front: float, length: float, width: float, height: float, colour: Float) -> None:
    w = width / 2
    b.box((front - length, -w, 0.45), (front, w, 0.48 * height), p.PAINT, colour)
    b.box((front - length, -w, 0.48 * height), (front, w, height), p.CABIN, colour, par=(0.25, 0.02, 0.05))
    b.box((front - 0.05, -w + 0.05, 0.4), (front, w - 0.05, 0.75), p.DARK, (0.1, 0.1, 0.11))
    for side in (-1.0, 1.0):
        b.add(
            p.BOX, (front - 0.03, side * (w - 0.3), 0.85), (0.035, 0.16, 0.1), p.HEADLIGHT, (0.95, 0.95, 0.9)
        )
        b.add(
            p.BOX,
            (front - 0.12, side * (w - 0.03), 0.62 * height),
            (0.05, 0.03, 0.2),
            p.DARK,
            (0.1, 0.1, 0.1),
        )


def truck(rng: np.random.Generator, instance: int) -> Model:
    """Box truck, flatbed or tipper."""
    b = Builder(rng, LIDARSEG_INDEX["vehicle.truck"], instance)
    kind = rng.choice(["box", "flat", "tipper"], p=[0.6, 0.2, 0.2])
    length, width, height = rng.uniform((6.2, 2.3, 2.7), (8.8, 2.55, 3.5))
    h, w = length / 2, width / 2
    cab = rng.uniform(1.7, 2.1)
    cab_height = min(height, rng.uniform(2.4, 2.8))
    _cab(b, h, cab, width - 0.1, cab_height, paint(rng))
    b.box((-h + 0.1, -0.45, 0.5), (h - 0.2, 0.45, 0.85), p.DARK, (0.12, 0.12, 0.12))
    load = paint(rng)
    if kind == "box":
        b.box((-h, -w, 0.9), (h - cab - 0.15, w, height), p.CARGO, load, paint(rng))
        b.box(
            (-h + 0.02, -w + 0.1, 0.55),
            (-h + 0.08, w - 0.1, 0.72),
            p.HAZARD,
            (0.8, 0.1, 0.08),
            (0.85, 0.8, 0.2),
        )
    else:
        side = 1.35 if kind == "flat" else rng.uniform(1.9, 2.2)
        b.box((-h, -w, 0.9), (h - cab - 0.15, w, 1.05), p.CARGO, load)
        for s in (-1.0, 1.0):
            b.add(
                p.BOX,
                (-cab / 2 - 0.08, s * (w - 0.04), (0.9 + side) / 2),
                (h - cab / 2 - 0.1, 0.04, (side - 0.9) / 2),
                p.CARGO,
                load,
            )
        b.box((-h, -w, 0.9), (-h + 0.08, w, side), p.CARGO, load)
        b.box((h - cab - 0.25, -w, 0.9), (h - cab - 0.15, w, height), p.METAL, (0.4, 0.4, 0.4))
        b.add(
            p.ELLIPSOID,
            (-0.15 * length, 0, 1.2),
            (0.28 * length, 0.42 * width, 0.55),
            p.BARK,
            (0.45, 0.36, 0.26),
        )
    _wheels(b, [h - 1.1, -h + 1.5, -h + 2.5], width - 0.05, 0.46, 0.3)
    _lights(b, length, width, 0.75)
    return b.build(), np.array([length, width, height])


def bus(rng: np.random.Generator, instance: int, bendy: bool = False) -> Model:
    """City bus, or articulated bus (straight)."""
    b = Builder(rng, LIDARSEG_INDEX["vehicle.bus.bendy" if bendy else "vehicle.bus.rigid"], instance)
    length = rng.uniform(16.5, 18.0) if bendy else rng.uniform(10.5, 12.5)
    width, height = rng.uniform(2.5, 2.6), rng.uniform(3.0, 3.5)
    h, w = length / 2, width / 2
    colour, stripe = paint(rng), paint(rng)
    parts = [(-h, 0.05 * h), (0.05 * h + 1.0, h)] if bendy else [(-h, h)]
    for low, high in parts:
        b.box((low, -w, 0.32), (high, w, 1.15), p.PAINT, colour, stripe)
        b.box((low, -w, 1.15), (high, w, 2.45), p.BUS_SIDE, colour, stripe)
        b.box((low, -w, 2.45), (high, w, height - 0.25), p.PAINT, colour, stripe, par=(0.05, 0.05, 0.08))
        b.box(
            (low + 0.8, -0.7, height - 0.25),
            (high - 0.8, 0.7, height),
            p.CARGO,
            colour * 0.9,
            par=(0.3, 0.3, 0.1),
        )
    if bendy:
        b.box((0.05 * h, -w + 0.1, 0.4), (0.05 * h + 1.0, w - 0.1, height - 0.35), p.CARGO, (0.1, 0.1, 0.1))
    b.box(
        (h - 0.02, -w + 0.2, 2.5),
        (h + 0.0, w - 0.2, height - 0.35),
        p.SIGN,
        (0.06, 0.06, 0.06),
        (0.95, 0.6, 0.1),
    )
    _wheels(b, [h - 2.5, -h + 2.8] + ([0.05 * h - 1.5] if bendy else []), width - 0.02, 0.48, 0.3)
    _lights(b, length, width, 0.65)
    return b.build(), np.array([length, width, height])


def trailer(rng: np.random.Generator, instance: int) -> Model:
    """Semi-trailer or a small construction trailer, standing on its own wheels."""
    b = Builder(rng, LIDARSEG_INDEX["vehicle.trailer"], instance)
    big = rng.random() < 0.6
    length, width, height = (
        rng.uniform((9.5, 2.45, 3.5), (12.5, 2.6, 3.9))
        if big
        else rng.uniform((4.2, 1.9, 2.2), (6.0, 2.2, 2.7))
    )
    h, w = length / 2, width / 2
    floor, radius = (1.15, 0.5) if big else (0.65, 0.34)
    colour = paint(rng)
    b.box((-h, -w, floor), (h, w, height), p.CARGO, colour, paint(rng))
    b.box((-h + 0.1, -0.5, floor - 0.3), (h - 0.4, 0.5, floor), p.DARK, (0.12, 0.12, 0.12))
    for side in (-1.0, 1.0):
        b.add(
            p.BOX,
            (0.55 * h, side * 0.6, floor / 2 - 0.1),
            (0.08, 0.08, floor / 2 - 0.1),
            p.METAL,
            (0.3, 0.3, 0.3),
        )
        b.add(
            p.BOX, (-0.1 * h, side * (w - 0.06), floor - 0.2), (0.5 * h, 0.03, 0.16), p.METAL, (0.5, 0.5, 0.5)
        )
    b.box((-h, -w + 0.1, 0.55), (-h + 0.07, w - 0.1, 0.7), p.HAZARD, (0.8, 0.1, 0.08), (0.9, 0.9, 0.9))
    _wheels(
        b,
        [-0.45 * h, -0.45 * h - 2.3 * radius] + ([-0.45 * h - 4.6 * radius] if big else []),
        width,
        radius,
        0.28,
    )
    _lights(b, length, width, floor - 0.2)
    return b.build(), np.array([length, width, height])


def construction(rng: np.random.Generator, instance: int) -> Model:
    """Excavator or wheel loader."""
    b = Builder(rng, LIDARSEG_INDEX["vehicle.construction"], instance)
    colour = np.array([[0.85, 0.6, 0.05], [0.8, 0.4, 0.05], [0.75, 0.72, 0.68], [0.2, 0.42, 0.25]])[
        rng.choice(4, p=[0.5, 0.2, 0.2, 0.1])
    ]
    dark = (0.15, 0.14, 0.13)
    if rng.random() < 0.6:
        size = np.array([6.8, 2.7, 3.1]) * rng.uniform(0.9, 1.1)
        h, w, top = size / (2, 2, 1)
        for s in (-1.0, 1.0):
            b.add(
                p.BOX,
                (-0.35 * h, s * (w - 0.3), 0.42),
                (0.6 * h, 0.3, 0.42),
                p.HAZARD,
                dark,
                (0.25, 0.24, 0.22),
                par=(0.3, 0.3, 0.0),
            )
        b.box((-0.95 * h, -w + 0.1, 0.95), (0.15 * h, w - 0.1, 1.75), p.PAINT, colour, dark)
        b.box((-0.98 * h, -w + 0.15, 1.0), (-0.7 * h, w - 0.15, 1.95), p.HAZARD, colour, dark)
        b.box((-0.3 * h, 0.1, 1.75), (0.2 * h, w - 0.15, 0.95 * top), p.CABIN, colour, par=(0.25, 0.05, 0.05))
        b.add(p.BOX, (0.30 * h, -0.3, 0.67 * top), (0.33 * h, 0.16, 0.2), p.PAINT, colour, dark, pitch=0.62)
        b.add(
            p.BOX, (0.69 * h, -0.3, 0.52 * top), (0.13, 0.13, 0.32 * top), p.PAINT, colour, dark, pitch=-0.35
        )
        b.add(p.BOX, (0.82 * h, -0.3, 0.42), (0.17 * h, 0.5, 0.36), p.METAL, dark, par=(0.0, 0.3, 0.0))
    else:
        size = np.array([6.4, 2.4, 3.0]) * rng.uniform(0.9, 1.1)
        h, w, top = size / (2, 2, 1)
        b.box((-h, -w + 0.25, 0.7), (-0.1 * h, w - 0.25, 1.7), p.PAINT, colour, dark, par=(0.0, 0.2, 0.1))
        b.box((-0.95 * h, -w + 0.3, 1.7), (-0.5 * h, w - 0.3, 1.85), p.HAZARD, colour, dark)
        b.box((-0.35 * h, -w + 0.35, 1.5), (0.1 * h, w - 0.35, top), p.CABIN, colour, par=(0.15, 0.1, 0.1))
        b.box((-0.1 * h, -0.4, 0.7), (0.5 * h, 0.4, 1.4), p.PAINT, colour, dark)
        for s in (-1.0, 1.0):
            b.add(p.BOX, (0.5 * h, 0.5 * s, 1.0), (0.34 * h, 0.1, 0.13), p.PAINT, colour, dark, pitch=-0.35)
        b.box((0.72 * h, -w, 0.1), (h, w, 0.95), p.METAL, dark, par=(-0.15, 0.25, 0.0))
        _wheels(b, [0.42 * h, -0.52 * h], 2 * w, 0.68, 0.5)
    b.rod((-0.6 * h, 0.3, 2.05), 0.07, 0.5, p.DARK, dark)
    return b.build(), size


def ego_car(rng: np.random.Generator) -> Primitives:
    """What the ego vehicle's own sensors see of it: roof with rack, bonnet, sides (ego frame)."""
    b = Builder(rng, LIDARSEG_INDEX["vehicle.ego"])
    colour = np.array([0.88, 0.88, 0.87])
    b.box((-0.72, -0.82, 0.35), (3.1, 0.82, 0.92), p.PAINT, colour, par=(0.35, 0.05, 0.05))
    b.box((-0.68, -0.76, 0.92), (2.45, 0.76, 1.38), p.CABIN, colour, par=(0.9, 0.35, 0.2))
    b.box((-0.2, -0.6, 1.36), (1.5, 0.6, 1.475), p.PAINT, colour, par=(0.15, 0.02, 0.04))
    for y in (-0.44, 0.44):
        b.rod((0.7, y, 1.50), 0.025, 1.1, p.METAL, (0.1, 0.1, 0.1), axis="x")
    for x in (0.3, 1.2):
        b.rod((x, 0.0, 1.51), 0.03, 0.95, p.METAL, (0.12, 0.12, 0.12), axis="y")
    b.rod((0.9437, 0.0, 1.60), 0.14, 0.2, p.METAL, (0.2, 0.2, 0.2))
    _wheels(b, [0.0, 2.6], 1.66, 0.31, 0.2)
    return b.build()


MODELS: dict[str, Callable[[np.random.Generator, int], Model]] = {
    "vehicle.car": car,
    "vehicle.truck": truck,
    "vehicle.bus.rigid": bus,
    "vehicle.bus.bendy": lambda rng, instance: bus(rng, instance, bendy=True),
    "vehicle.trailer": trailer,
    "vehicle.construction": construction,
}
