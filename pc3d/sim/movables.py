"""People, cycles, cones and barriers. Object frame as in `pc3d.sim.vehicles`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pc3d.sim import primitives as p
from pc3d.sim.categories import LIDARSEG_INDEX
from pc3d.sim.primitives import Builder
from pc3d.sim.types import Float
from pc3d.sim.vehicles import Model, paint

_DARK = (0.09, 0.09, 0.10)


def _cloth(rng: np.random.Generator) -> Float:
    hue = rng.uniform(0.0, 1.0, 3)
    return np.clip(0.15 + 0.7 * hue * rng.uniform(0.3, 1.0), 0.03, 0.95)


def _skin(rng: np.random.Generator) -> Float:
    return np.array([0.78, 0.58, 0.45]) * rng.uniform(0.4, 1.1)


def _person(
    b: Builder, height: float, stride: float, top: Float, legs: Float, shift: tuple[float, float] = (0, 0)
) -> None:
    """A standing or walking person, facing +x, feet on z = 0 at `shift`."""
    rng = b.rng
    x, y = shift
    skin = _skin(rng)
    swing = np.arctan(stride / height)
    for side in (-1.0, 1.0):
        b.rod(
            (x + side * 0.25 * stride * 0.5, y + side * 0.1, 0.25 * height),
            0.085,
            0.5 * height,
            p.CLOTH,
            legs,
            legs * 0.8,
            top=1.15,
            pitch=side * 0.5 * swing,
        )
        b.rod(
            (x - side * 0.12 * stride, y + side * 0.24, 0.62 * height),
            0.055,
            0.36 * height,
            p.CLOTH,
            top,
            top * 0.8,
            pitch=-side * 0.6 * swing,
        )
        b.add(
            p.ELLIPSOID,
            (x + side * 0.25 * stride + 0.04, y + side * 0.1, 0.045),
            (0.13, 0.055, 0.045),
            p.DARK,
            _DARK,
        )
    b.add(p.ELLIPSOID, (x, y, 0.66 * height), (0.14, 0.22, 0.19 * height), p.CLOTH, top, _cloth(rng))
    b.add(p.ELLIPSOID, (x + 0.01, y, 0.925 * height), (0.10, 0.085, 0.075 * height), p.SKIN, skin)
    b.add(p.ELLIPSOID, (x - 0.02, y, 0.95 * height), (0.105, 0.095, 0.05 * height), p.DARK, _skin(rng) * 0.3)


def pedestrian(
    rng: np.random.Generator, instance: int, stride: float = 0.0, category: str = "human.pedestrian.adult"
) -> Model:
    """Adult, child or construction worker (with vest and helmet)."""
    b = Builder(rng, LIDARSEG_INDEX[category], instance)
    height = rng.uniform(1.1, 1.35) if category.endswith("child") else rng.uniform(1.55, 1.88)
    top = _cloth(rng)
    if category.endswith("worker"):
        top = np.array([0.85, 0.45, 0.05]) if rng.random() < 0.5 else np.array([0.7, 0.8, 0.1])
    _person(b, height, stride, top, _cloth(rng) * 0.6)
    if category.endswith("worker"):
        b.add(p.ELLIPSOID, (0, 0, 0.965 * height), (0.13, 0.12, 0.045 * height), p.PAINT, (0.9, 0.8, 0.1))
    elif rng.random() < 0.4:
        b.box((-0.3, -0.15, 0.5 * height), (-0.13, 0.15, 0.78 * height), p.CLOTH, _cloth(rng), _cloth(rng))
    length = max(0.62, stride * 0.5 + 0.4)
    return b.build(), np.array([length, 0.62, height])


def seated(rng: np.random.Generator, instance: int) -> Model:
    """An adult sitting (on a bench that is part of the scenery), facing +x."""
    b = Builder(rng, LIDARSEG_INDEX["human.pedestrian.adult"], instance)
    top, legs = _cloth(rng), _cloth(rng) * 0.6
    for side in (-0.11, 0.11):
        b.rod((0.12, side, 0.5), 0.08, 0.42, p.CLOTH, legs, axis="x")
        b.rod((0.32, side, 0.24), 0.07, 0.48, p.CLOTH, legs)
        b.rod((0.0, 2.1 * side, 0.75), 0.05, 0.45, p.CLOTH, top)
    b.add(p.ELLIPSOID, (-0.06, 0, 0.78), (0.15, 0.2, 0.32), p.CLOTH, top, _cloth(rng))
    b.add(p.ELLIPSOID, (-0.03, 0, 1.2), (0.1, 0.085, 0.13), p.SKIN, _skin(rng))
    b.add(p.ELLIPSOID, (-0.06, 0, 1.25), (0.1, 0.095, 0.09), p.DARK, _skin(rng) * 0.3)
    return b.build(), np.array([0.85, 0.55, 1.35])


def _ring(b: Builder, x: float, radius: float, width: float) -> None:
    b.rod((x, 0.0, radius), radius, width, p.TYRE, _DARK, (0.6, 0.6, 0.6), axis="y")


def bicycle(rng: np.random.Generator, instance: int, rider: bool = False) -> Model:
    """Bicycle, alone or ridden (the rider belongs to it)."""
    b = Builder(rng, LIDARSEG_INDEX["vehicle.bicycle"], instance)
    colour = paint(rng)
    for x in (-0.52, 0.52):
        _ring(b, x, 0.34, 0.04)
    b.add(p.BOX, (0.05, 0, 0.62), (0.33, 0.025, 0.03), p.PAINT, colour, pitch=0.15)
    b.add(p.BOX, (0.12, 0, 0.45), (0.34, 0.025, 0.03), p.PAINT, colour, pitch=0.75)
    b.add(p.BOX, (-0.25, 0, 0.6), (0.025, 0.025, 0.3), p.PAINT, colour, pitch=0.25)
    b.add(p.BOX, (0.47, 0, 0.7), (0.025, 0.025, 0.34), p.METAL, (0.4, 0.4, 0.4), pitch=0.2)
    b.add(p.BOX, (0.42, 0, 1.02), (0.03, 0.27, 0.03), p.DARK, _DARK)
    b.add(p.BOX, (-0.33, 0, 0.92), (0.13, 0.07, 0.035), p.DARK, _DARK)
    if rider:
        _rider(b, 0.55, 1.72)
    return b.build(), np.array([1.75, 0.6, 1.75 if rider else 1.08])


def _rider(b: Builder, seat: float, height: float) -> None:
    rng = b.rng
    top, legs = _cloth(rng), _cloth(rng) * 0.6
    hip = height - 0.85
    for side in (-0.13, 0.13):
        b.add(p.BOX, (-0.02, side, hip - 0.12), (0.24, 0.07, 0.08), p.CLOTH, legs, pitch=-0.5)
        b.rod((0.14, side, (hip - 0.2) / 2 + 0.15), 0.06, hip - 0.25, p.CLOTH, legs)
        b.add(p.BOX, (0.18, 1.6 * side, hip + 0.28), (0.27, 0.045, 0.05), p.CLOTH, top, pitch=-0.6)
    b.add(p.ELLIPSOID, (-0.12, 0, hip + 0.28), (0.16, 0.21, 0.34), p.CLOTH, top, _cloth(rng))
    b.add(p.ELLIPSOID, (0.02, 0, height - 0.14), (0.1, 0.09, 0.13), p.SKIN, _skin(rng))
    b.add(p.ELLIPSOID, (0.0, 0, height - 0.075), (0.13, 0.11, 0.075), p.PAINT, paint(rng))


def motorcycle(rng: np.random.Generator, instance: int, rider: bool = False) -> Model:
    """Motorcycle or scooter, alone or ridden (the rider belongs to it)."""
    b = Builder(rng, LIDARSEG_INDEX["vehicle.motorcycle"], instance)
    colour = paint(rng)
    for x in (-0.7, 0.7):
        _ring(b, x, 0.31, 0.13)
    b.add(p.BOX, (0.0, 0, 0.45), (0.4, 0.16, 0.2), p.DARK, (0.2, 0.2, 0.2), par=(0.1, 0.1, 0.03))
    b.add(p.ELLIPSOID, (0.14, 0, 0.78), (0.3, 0.16, 0.16), p.PAINT, colour)
    b.add(p.BOX, (-0.45, 0, 0.78), (0.4, 0.13, 0.07), p.DARK, _DARK)
    b.add(p.BOX, (-0.85, 0, 0.72), (0.14, 0.1, 0.08), p.PAINT, colour)
    b.add(p.BOX, (0.6, 0, 0.7), (0.05, 0.1, 0.35), p.METAL, (0.4, 0.4, 0.4), pitch=0.35)
    b.add(p.BOX, (0.48, 0, 1.03), (0.04, 0.36, 0.03), p.DARK, _DARK)
    b.add(p.ELLIPSOID, (0.66, 0, 0.88), (0.1, 0.11, 0.11), p.HEADLIGHT, (0.9, 0.9, 0.85))
    b.add(p.BOX, (-0.98, 0, 0.76), (0.02, 0.08, 0.04), p.TAILLIGHT, (0.7, 0.05, 0.05))
    if rng.random() < 0.4:
        b.add(p.BOX, (-0.78, 0, 1.02), (0.2, 0.2, 0.18), p.CARGO, paint(rng))
    if rider:
        _rider(b, 0.8, 1.68)
    return b.build(), np.array([2.05, 0.78, 1.7 if rider else 1.2])


def traffic_cone(rng: np.random.Generator, instance: int) -> Model:
    """Cone, or a channelling post."""
    b = Builder(rng, LIDARSEG_INDEX["movable_object.trafficcone"], instance)
    orange, white = np.array([0.9, 0.3, 0.06]) * rng.uniform(0.8, 1.0), (0.92, 0.92, 0.9)
    height = rng.uniform(0.72, 1.1)
    base = 0.21 * rng.uniform(0.9, 1.2)
    b.box((-base, -base, 0.0), (base, base, 0.05), p.DARK, orange * 0.5)
    post = rng.random() < 0.25
    b.rod(
        (0, 0, 0.05 + height / 2 - 0.025),
        0.10 if post else 0.17,
        height - 0.05,
        p.CONE,
        orange,
        white,
        top=0.8 if post else 0.22,
    )
    return b.build(), np.array([2 * base, 2 * base, height])


def barrier(rng: np.random.Generator, instance: int, style: int = 0) -> Model:
    """Water-filled (0), concrete (1) or fence (2) barrier element; its length runs along y."""
    b = Builder(rng, LIDARSEG_INDEX["movable_object.barrier"], instance)
    width = 2.0 if style < 2 else 2.3
    w, height = width / 2, (1.0, 0.85, 1.1)[style] * rng.uniform(0.95, 1.05)
    if style < 2:
        red = np.array([0.75, 0.2, 0.12]) if rng.random() < 0.5 else np.array([0.88, 0.87, 0.84])
        colour = red if style == 0 else np.array([0.62, 0.6, 0.57]) * rng.uniform(0.8, 1.1)
        b.box((-0.3, -w, 0.0), (0.3, w, 0.28), p.BARRIER, colour, colour * 0.85, par=(0.06, 0.06, 0.0))
        b.box((-0.24, -w, 0.28), (0.24, w, height), p.BARRIER, colour, colour * 0.85, par=(0.12, 0.12, 0.03))
        b.box((-0.1, -0.5 * w, height - 0.02), (0.1, 0.5 * w, height), p.DARK, colour * 0.6)
        return b.build(), np.array([0.6, width, height])
    for y in (-w + 0.06, w - 0.06):
        b.box((-0.22, y - 0.03, 0.0), (0.22, y + 0.03, 0.06), p.DARK, _DARK)
        b.rod((0, y, height / 2), 0.03, height, p.METAL, (0.6, 0.6, 0.6))
    for z in (0.45, 0.85):
        b.box((-0.03, -w, z - 0.13), (0.03, w, z + 0.13), p.HAZARD, (0.85, 0.12, 0.08), (0.93, 0.93, 0.92))
    return b.build(), np.array([0.45, width, height])


MODELS: dict[str, Callable[[np.random.Generator, int], Model]] = {
    "human.pedestrian.adult": pedestrian,
    "vehicle.bicycle": bicycle,
    "vehicle.motorcycle": motorcycle,
    "movable_object.trafficcone": traffic_cone,
    "movable_object.barrier": barrier,
}
