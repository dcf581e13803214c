"""The static world beside the road: buildings, trees, hedges, poles, signs, benches (street frame)."""

from __future__ import annotations

import numpy as np

from pc3d.sim import primitives as p
from pc3d.sim.categories import MANMADE, STATIC_OTHER, VEGETATION
from pc3d.sim.layout import CORNER_SQUARE, CROSSING, KERB, LAWN, StreetPlan
from pc3d.sim.primitives import Builder, Primitives
from pc3d.sim.types import Float

GREY = (0.5, 0.5, 0.5)


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


def tree(b: Builder, x: float, y: float, size: float = 1.0) -> None:
    """A street tree: trunk, a fork, and two to four ragged crowns."""
    rng = b.rng
    trunk = size * rng.uniform(2.0, 3.0)
    radius = size * rng.uniform(0.10, 0.2)
    bark = np.array([0.36, 0.28, 0.2]) * rng.uniform(0.6, 1.3)
    leaves = _leaf_colour(rng)
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


def _leaf_colour(rng: np.random.Generator) -> Float:
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


def bush(b: Builder, x: float, y: float) -> None:
    r = b.rng.uniform(0.5, 1.0)
    half = (r, r * b.rng.uniform(0.7, 1.2), r * b.rng.uniform(0.6, 0.9))
    b.add(
        p.FOLIAGE,
        (x, y, KERB + 0.6 * half[2]),
        half,
        p.LEAVES,
        _leaf_colour(b.rng),
        _leaf_colour(b.rng) * 0.7,
        (0.22, 0.6, 0.0),
        label=VEGETATION,
    )


def hedge(b: Builder, x0: float, x1: float, y: float) -> None:
    height, colour = b.rng.uniform(0.7, 1.3), _leaf_colour(b.rng)
    for a in np.arange(x0, x1, 4.0):
        c = min(a + 4.0, x1)
        _crown(b, ((a + c) / 2, y, KERB + height / 2), ((c - a) / 2, 0.45, height / 2), colour, 0.6, 1.0)


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
            _leaf_colour(rng),
            _leaf_colour(rng),
            (0.22, 0.6, 0.0),
            label=VEGETATION,
        )


def _inside(rects: Float, x: float, y: float, margin: float) -> bool:
    return any(a - margin < x < c + margin and bb - margin < y < d + margin for a, bb, c, d in rects)


def _frontage(b: Builder, plan: StreetPlan, x0: float, x1: float, side: float, code: int) -> None:
    """Fill one block side with lots along the main street, and a second row behind them."""
    rng = b.rng
    line = plan.half + plan.verge + plan.walk
    x = x0
    park_side = side * plan.bays[0, 1] > 0
    while x < x1 - 6.0:
        width = min(rng.uniform(12.0, 28.0), x1 - x)
        y = line + (rng.uniform(0.3, 2.0) if code != LAWN else rng.uniform(3.0, 9.0))
        if park_side and x + width > plan.bays[0, 0] - 1 and x < plan.bays[0, 2] + 1:
            y = abs(plan.bays[0, 3] if side > 0 else plan.bays[0, 1]) + rng.uniform(2.0, 6.0)
        height = rng.choice(
            [rng.uniform(4.5, 8.0), rng.uniform(8.0, 16.0), rng.uniform(16.0, 40.0)], p=[0.35, 0.4, 0.25]
        )
        kind = rng.random()
        if kind < 0.45:
            building(b, x + 0.5, x + width - rng.uniform(0.5, 4.0), y, rng.uniform(9.0, 16.0), side, height)
        else:
            for _ in range(int(width * rng.uniform(0.6, 1.1))):
                tx, ty = rng.uniform(x + 1, x + width - 1), line + 2.0 + 28.0 * rng.random() ** 1.3
                if _inside(plan.parks, tx, side * ty, 2.0):
                    continue
                if rng.random() < 0.6:
                    tree(b, tx, side * ty, rng.uniform(0.8, 1.7))
                else:
                    bush(b, tx, side * ty)
            if rng.random() < 0.5:
                back = line + rng.uniform(26, 40)
                building(b, x + 0.5, x + width - 0.5, back, 12.0, side, rng.uniform(8.0, 35.0))
        if y > line + 2.5 and kind < 0.45:
            for tx in np.arange(x + 2.0, x + width - 1.0, rng.uniform(4.0, 8.0)):
                (tree if rng.random() < 0.5 else bush)(b, tx, side * (y - rng.uniform(1.2, 2.4)))
        if rng.random() < 0.85:  # what shows above and between the houses
            for _ in range(int(rng.integers(5, 11))):
                tx, ty = x + rng.uniform(0.0, width), line + rng.uniform(24.0, 55.0)
                tree(b, tx, side * ty, rng.uniform(1.2, 2.2))
        if code == LAWN and not (park_side and y > line + 12.0) and rng.random() < 0.7:
            hedge(b, x + 1.0, x + width * rng.uniform(0.4, 0.9), side * (line + rng.uniform(0.7, 1.5)))
        x += width + rng.choice([0.0, rng.uniform(2.0, 8.0)])


def _cross_frontage(b: Builder, plan: StreetPlan, k: int, sign_x: float, side: float) -> None:
    """Houses and trees along a cross street, behind the corner lots."""
    rng = b.rng
    line = plan.cross[k, 1] + plan.verge + plan.walk
    x = plan.cross[k, 0] + sign_x * (line + rng.uniform(1.0, 4.0))
    y = plan.half + plan.verge + plan.walk + 26.0
    while y < 110.0:
        width = rng.uniform(10.0, 22.0)
        depth = rng.uniform(8.0, 12.0)
        if rng.random() < 0.65:
            low, high = sorted((x, x + sign_x * depth))
            building(b, low, high, y, width, side, rng.uniform(5.0, 18.0))
        else:
            tree(b, x + sign_x * 2.0, side * (y + width / 2), rng.uniform(0.9, 1.5))
        y += width + rng.uniform(1.0, 8.0)
    for y in np.arange(plan.half + 16.0, 100.0, rng.uniform(6.0, 10.0)):
        where = plan.cross[k, 0] + sign_x * (plan.cross[k, 1] + max(plan.verge / 2, 0.6))
        (tree if rng.random() < 0.5 else clutter)(b, where, side * y)


def _kerb_side(b: Builder, plan: StreetPlan, x0: float, x1: float, side: float, taken: Float) -> None:
    """Trees, lamps, signs, benches and clutter on verge and walkway of one block side, off `taken`."""

    def blocked(x: float, y: float, reach: float = 1.0) -> bool:
        return bool(np.any(np.hypot(taken[:, 0] - x, taken[:, 1] - y) < taken[:, 2] + reach))

    rng = b.rng
    y = side * (plan.half + max(plan.verge / 2, 0.55))
    wall = side * (plan.half + plan.verge + plan.walk - 0.35)
    step = rng.uniform(5.5, 8.5)
    trees = rng.random() < 0.85
    for n, x in enumerate(np.arange(x0 + CORNER_SQUARE, x1 - CORNER_SQUARE, step)):
        if _inside(plan.parks, x, y, 1.5) or blocked(x, y):
            continue
        if n % 3 == 2:
            lamp(b, x, y, -side)
        elif trees and rng.random() < 0.8:
            tree(b, x, y, rng.uniform(0.75, 1.15))
        for dx in rng.uniform(0.2, 0.8, 3) * step:
            pick = rng.random()
            if (
                _inside(plan.parks, x + dx, y, 2.0)
                or pick > 0.8
                or blocked(x + dx, y)
                or blocked(x + dx, wall)
            ):
                continue
            if pick < 0.25:
                sign(b, x + dx, y)
            elif pick < 0.65:
                clutter(b, x + dx, y if rng.random() < 0.5 else wall)
            else:
                bench(b, x + dx, wall, -side)


def build_scenery(
    plan: StreetPlan, rng: np.random.Generator, window: tuple[float, float], taken: Float
) -> Primitives:
    """Everything static, in the world frame.

    Args:
        window: x range of the street frame to furnish.
        taken: (N, 3) x, y (street frame) and radius of discs to leave free beside the road.
    """
    b = Builder(rng, STATIC_OTHER)
    edges = [(-np.inf, 0.0), *((x, h) for x, h in plan.cross), (np.inf, 0.0)]
    for k in range(len(edges) - 1):
        x0 = max(edges[k][0] + edges[k][1], window[0])
        x1 = min(edges[k + 1][0] - edges[k + 1][1], window[1])
        if x1 - x0 < 10.0:
            continue
        inset = plan.verge + plan.walk
        for column, side in enumerate((-1.0, 1.0)):
            _frontage(b, plan, x0 + inset + 0.5, x1 - inset - 0.5, side, int(plan.lots[k, column]))
            _kerb_side(b, plan, x0, x1, side, taken)
        if plan.median > 0.5:
            for x in np.arange(x0 + 16.0, x1 - 16.0, 9.0):
                (bush if rng.random() < 0.6 else tree)(b, x, 0.0)
    for k, (x, half) in enumerate(plan.cross):
        corner = half + plan.radius + CROSSING[1] + 0.6
        for side in (-1.0, 1.0):
            signal(b, x - side * corner, side * -(plan.half + 0.7), side)
            for sign_x in (-1.0, 1.0):
                _cross_frontage(b, plan, k, sign_x, side)
    solids = b.build()
    origin = np.array([plan.origin[0], plan.origin[1], 0.0])
    turned = solids.moved(np.zeros(3), plan.yaw)
    return turned.moved(origin, 0.0)
