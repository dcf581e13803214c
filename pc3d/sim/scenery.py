"""The static world beside the road: what stands where (street frame)."""

from __future__ import annotations

import numpy as np

from pc3d.sim.buildings import building
from pc3d.sim.categories import STATIC_OTHER
from pc3d.sim.furniture import bench, clutter, lamp, sign, signal
from pc3d.sim.layout import CORNER_SQUARE, CROSSING, LAWN, StreetPlan
from pc3d.sim.plants import bush, hedge, tree
from pc3d.sim.primitives import Builder, Primitives
from pc3d.sim.types import Float


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
            for _ in range(int(rng.integers(6, 13))):
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
    step = rng.uniform(5.0, 7.5)
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
