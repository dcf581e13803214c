"""Who is in a scene: places the annotated objects along the drive.

Common things are drawn at random. Every scene is also given a few of each rare detection class
near the route, so that small splits hold all ten classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from pc3d.sim import movables, vehicles
from pc3d.sim.layout import CROSSING, KERB, LANE, StreetPlan
from pc3d.sim.motion import Motion, Traffic, still, straight
from pc3d.sim.primitives import Primitives
from pc3d.sim.types import Float
from pc3d.sim.vehicles import Model

EGO_SIZE = np.array([4.4, 1.9, 1.6])
Maker = Callable[[np.random.Generator, int], Model]


@dataclass(frozen=True, eq=False)
class Actor:
    """An annotated object: its solids (object frame), size, trajectory and how it rests."""

    category: str
    solids: Primitives
    size: Float
    motion: Motion
    resting: str
    moving: str

    def attribute(self, speed: float) -> str:
        return self.moving if speed > 0.2 else self.resting


_ATTRIBUTES = {
    "vehicle": ("vehicle.parked", "vehicle.moving"),
    "human": ("pedestrian.standing", "pedestrian.moving"),
    "movable_object": ("", ""),
}


class Casting:
    """Places actors one after the other into a plan (street frame), clear of each other."""

    def __init__(self, plan: StreetPlan, rng: np.random.Generator, ego: Motion, end: float) -> None:
        self.plan = plan
        self.rng = rng
        self.end = end
        self.ego = ego
        self.traffic = Traffic(end)
        self.traffic.add(ego, EGO_SIZE * [1.5, 1.1, 1.0])
        self.actors: list[Actor] = []
        turned = abs(ego.at(end)[1]) > 0.5
        reach = ego.at(end)[0][0]
        self.span = (float(ego.at(0.0)[0][0]), float(reach if not turned else plan.cross[1, 0]))

    def place(
        self,
        category: str,
        make: Maker,
        spots: Iterator[tuple[Motion, str]] | list[tuple[Motion, str]],
        margin: float = 0.15,
        sink: float = 0.0,
    ) -> bool:
        """Put one object on the first of the `spots` (motion, resting attribute) that is clear."""
        solids, size = make(self.rng, len(self.actors))
        resting_default, moving = _ATTRIBUTES[category.split(".")[0]]
        for motion, resting in spots:
            if self.traffic.clear(motion, size, margin):
                self.traffic.add(motion, size)
                if resting.startswith("cycle"):
                    moving = resting
                self.actors.append(Actor(category, solids, size, motion, resting or resting_default, moving))
                return True
        return False

    def near(self, back: float = 18.0, ahead: float = 28.0) -> float:
        """An x near the ego car's at a random time of the drive."""
        x = self.ego.at(self.rng.uniform(0.0, self.end))[0][0]
        low, high = min(self.span), max(self.span)
        return float(min(max(x, low), high) + self.rng.uniform(-back, ahead))

    def beside(self, x0: float, x1: float) -> bool:
        """Whether the kerb side from x0 to x1 belongs to one block, clear of its rounded corners."""
        low, high = min(x0, x1) - self.plan.radius, max(x0, x1) + self.plan.radius
        return bool(
            np.all((high < self.plan.cross[:, 0] - self.plan.cross[:, 1]) | (low > self.plan.cross.sum(1)))
        )

    # --- where things can stand or drive: (motion, attribute when at rest) -------------------------
    def strips(self, near: bool, tries: int = 24) -> Iterator[tuple[Motion, str]]:
        """Parked along the kerb of the main street, or of a cross street."""
        plan, rng = self.plan, self.rng
        for _ in range(tries):
            side = rng.choice([-1.0, 1.0])
            if plan.parking and (near or rng.random() < 0.75):
                x = self.near() if near else rng.uniform(self.span[0] - 60, self.span[1] + 70)
                if np.min(np.abs(x - plan.cross[:, 0]) - plan.cross[:, 1]) < plan.radius + 9.0:
                    continue
                y, yaw = side * (plan.half - plan.parking / 2), 0.0 if side < 0 else np.pi
                yield still(x, y + rng.normal(0, 0.06), yaw + rng.normal(0, 0.015)), "vehicle.parked"
                continue
            x, half = plan.cross[1 if near else rng.integers(len(plan.cross))]
            if half > 5.0:
                y = rng.choice([-1.0, 1.0]) * rng.uniform(plan.half + 17.0, plan.half + 75.0)
                yield still(x + side * (half - 1.15), y, side * np.pi / 2), "vehicle.parked"

    def bays(self) -> Iterator[tuple[Motion, str]]:
        """Bays of the car park, in two or three rows."""
        x0, y0, x1, y1 = self.plan.bays[0]
        for _ in range(30):
            x = x0 + 1.6 + 2.7 * self.rng.integers(max(1, int((x1 - x0 - 1.0) / 2.7)))
            y = self.rng.choice([y0 + 2.9, y1 - 2.9])
            yield (
                still(x, y, self.rng.choice([-1.0, 1.0]) * np.pi / 2 + self.rng.normal(0, 0.03)),
                "vehicle.parked",
            )

    def lanes(self, near: bool = False, slow: bool = False, tries: int = 30) -> Iterator[tuple[Motion, str]]:
        """Driving along the main street, either way."""
        plan, rng = self.plan, self.rng
        for _ in range(tries):
            side = rng.choice([-1.0, 1.0])
            y = side * plan.lane_y(int(rng.integers(plan.lanes)))
            pace = float(np.mean([np.linalg.norm(self.ego.at(t)[2]) for t in (0.0, self.end / 2, self.end)]))
            speed = rng.uniform(2.0, 5.0) if slow else rng.uniform(5.0, 10.0)
            if side < 0:
                speed = pace * rng.uniform(0.85, 1.15)
            x = self.near(10.0, 40.0) if near else rng.uniform(self.span[0] - 70, self.span[1] + 90)
            if near and side < 0:
                x = self.span[0] + rng.uniform(-25.0, 38.0)
            yield straight(x, y, 0.0 if side < 0 else np.pi, speed, self.end), "vehicle.stopped"

    def halts(self, tries: int = 16) -> Iterator[tuple[Motion, str]]:
        """Waiting: at the stop line of a cross street, or at the kerb in an outer lane."""
        plan, rng = self.plan, self.rng
        for _ in range(tries):
            side = rng.choice([-1.0, 1.0])
            if plan.lanes > 1 and rng.random() < 0.5:
                y = side * (plan.lane_y(plan.lanes - 1) + 0.3)
                yield still(self.near(), y, 0.0 if side < 0 else np.pi), "vehicle.stopped"
            else:
                x, half = plan.cross[rng.choice(len(plan.cross), p=[0.15, 0.7, 0.15])]
                away = plan.half + plan.radius + 8.5 + rng.choice([0.0, 7.0, 14.0])
                lane_x = x - side * min(LANE / 2, half / 2)
                yield still(lane_x, side * away, -side * np.pi / 2), "vehicle.stopped"

    def close(self, tries: int = 60) -> Iterator[tuple[Motion, str]]:
        """Where a large vehicle is surely seen: at the kerb beside the route, or driving along with it."""
        plan, rng = self.plan, self.rng
        pace = float(np.linalg.norm(self.ego.at(self.end / 2)[2]))
        for n in range(tries):
            side, x = rng.choice([-1.0, 1.0], p=[0.35, 0.65]), self.near(22.0, 32.0)
            yaw = 0.0 if side < 0 else np.pi
            beside = self.beside(x - 7.0, x + 7.0)
            if n % 4 == 3:
                x = self.span[0] + rng.uniform(9.0, 28.0)
                yield straight(x, -plan.lane_y(plan.lanes - 1), 0.0, pace, self.end), "vehicle.stopped"
            elif beside and plan.parking:
                yield still(x, side * (plan.half - 1.3), yaw), "vehicle.parked"
            elif beside and plan.lanes > 1:
                yield still(x, side * (plan.lane_y(plan.lanes - 1) + 0.3), yaw), "vehicle.stopped"
            elif beside:
                yield still(x, side * (plan.half + 1.5), yaw, KERB), "vehicle.parked"

    def verges(self, offset: float = 1.3, tries: int = 24) -> Iterator[tuple[Motion, str]]:
        """Left on the walkway side of the kerb, along the street."""
        for _ in range(tries):
            side = self.rng.choice([-1.0, 1.0])
            x = self.near()
            if not self.beside(x - 7.0, x + 7.0):
                continue
            y = side * (self.plan.half + offset)
            yield (
                still(x, y, self.rng.choice([0.0, np.pi]) + self.rng.normal(0, 0.05), KERB),
                "vehicle.parked",
            )

    def gutter(self, ridden: bool, tries: int = 20) -> Iterator[tuple[Motion, str]]:
        """Cycles: riding at the edge of the outer lane, or standing on the kerb side."""
        plan, rng = self.plan, self.rng
        for _ in range(tries):
            side = rng.choice([-1.0, 1.0])
            if ridden:
                y = side * (plan.median + plan.lanes * LANE - 0.6)
                speed = rng.uniform(3.0, 6.0)
                yield (
                    straight(self.near(12, 25), y, 0.0 if side < 0 else np.pi, speed, self.end),
                    "cycle.with_rider",
                )
            else:
                x, y = self.near(10.0, 18.0), side * (plan.half + rng.uniform(0.5, 0.9))
                if not self.beside(x, x):
                    continue
                yaw = rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.25)
                yield still(x, y, yaw, KERB), "cycle.without_rider"

    def walks(self, stride: float, tries: int = 24) -> Iterator[tuple[Motion, str]]:
        """On foot: along a walkway, over a crossing, or standing about."""
        plan, rng = self.plan, self.rng
        for _ in range(tries):
            side = rng.choice([-1.0, 1.0])
            speed = stride * 1.9
            if stride and rng.random() < 0.3:
                x, half = plan.cross[rng.choice(len(plan.cross), p=[0.1, 0.8, 0.1])]
                away = half + plan.radius + rng.uniform(*CROSSING)
                x += rng.choice([-1.0, 1.0]) * away
                y = rng.uniform(-0.8, 0.8) * plan.half
                yield straight(x, y, side * np.pi / 2, speed, self.end), ""
            else:
                y = side * (plan.half + plan.verge + rng.uniform(0.25, 0.85) * plan.walk)
                yaw = rng.choice([0.0, np.pi]) if stride else rng.uniform(-np.pi, np.pi)
                x = self.near(25.0, 35.0)
                if not self.beside(x, x + np.cos(yaw) * speed * self.end):
                    continue
                if stride:
                    yield straight(x, y, yaw + rng.normal(0, 0.02), speed, self.end, KERB), ""
                else:
                    yield still(x, y, yaw, KERB), ""


def _roadworks(c: Casting) -> None:
    """Barriers, cones, an excavator and workers on a stretch of the road or its verge."""
    plan, rng = c.plan, c.rng
    side = rng.choice([-1.0, 1.0])
    on_road = plan.lanes > 1
    inner = plan.lane_y(plan.lanes - 1) - LANE / 2 + 0.2 if on_road else plan.half + 0.45
    base = 0.0 if on_road else KERB
    depth = LANE + plan.parking - 0.6 if on_road else plan.verge + plan.walk + 1.0
    for _ in range(12):
        x0 = c.near(5.0, 15.0)
        length = rng.uniform(14.0, 24.0)
        gap = np.abs(x0 + length / 2 - plan.cross[:, 0]) - plan.cross[:, 1] - length / 2
        if gap.min() > plan.radius + 6.0:
            break
    style = int(rng.choice([0, 0, 1, 2]))
    for x in np.arange(x0, x0 + length, 2.3 if style == 2 else 2.08):
        spot = still(x, side * (inner + rng.normal(0, 0.05)), np.pi / 2 + rng.normal(0, 0.04), base)
        c.place("movable_object.barrier", lambda r, i: movables.barrier(r, i, style), [(spot, "")], -0.2)
    middle = side * (inner + 0.45 + depth / 2)
    spots = [
        (still(x0 + rng.uniform(4, length - 4), middle, rng.uniform(-0.3, 0.3), base), "vehicle.parked")
        for _ in range(8)
    ]
    c.place("vehicle.construction", vehicles.construction, spots, -0.3)
    for end in (x0 - 2.0, x0 + length + 1.0):
        for n in range(int(rng.integers(3, 6))):
            x = end + (n * 1.5 if end > x0 else -n * 1.5)
            y = side * (inner + 0.3 + n * depth / 5)
            c.place(
                "movable_object.trafficcone",
                movables.traffic_cone,
                [(still(x, y, rng.uniform(0, 6), base), "")],
                0.0,
            )
    for _ in range(int(rng.integers(1, 4))):
        stride = float(rng.choice([0.0, 0.5]))
        spot = still(
            x0 + rng.uniform(0, length), middle + rng.uniform(-0.4, 0.4) * depth, rng.uniform(-3, 3), base
        )
        c.place(
            "human.pedestrian.construction_worker",
            lambda r, i: movables.pedestrian(r, i, 0.0, "human.pedestrian.construction_worker"),
            [(spot, "")] if not stride else list(c.walks(stride, 3)),
        )


def _rare(c: Casting) -> None:
    """The schedule: some of every rare class near the route of each scene."""
    rng = c.rng
    everywhere: list[Callable[[], Iterator[tuple[Motion, str]]]] = [
        lambda: c.halts(),
        lambda: c.strips(near=True),
        lambda: c.lanes(near=True, slow=True),
        lambda: c.verges(),
    ]

    def place(category: str, make: Maker, extra: float, first: int) -> None:
        """One that is surely near, and at times a second anywhere."""
        c.place(category, make, c.close(), -0.1) or c.place(category, make, anywhere(1))
        if rng.random() < extra:
            c.place(category, make, anywhere(first))

    def anywhere(first: int) -> Iterator[tuple[Motion, str]]:
        for n in range(len(everywhere)):
            yield from everywhere[(first + n) % len(everywhere)]()

    if not any(actor.category == "vehicle.construction" for actor in c.actors) or rng.random() < 0.3:
        place("vehicle.construction", vehicles.construction, 0.0, 3)
    place("vehicle.trailer", vehicles.trailer, 0.4, 1)
    bus = "vehicle.bus.bendy" if rng.random() < 0.2 else "vehicle.bus.rigid"
    place(bus, vehicles.MODELS[bus], 0.4, int(rng.choice([0, 2])))
    c.place("vehicle.truck", vehicles.truck, anywhere(2))
    for _ in range(int(rng.integers(1, 4))):
        c.place("vehicle.truck", vehicles.truck, anywhere(int(rng.integers(3))))
    for kind, make in (("vehicle.motorcycle", movables.motorcycle), ("vehicle.bicycle", movables.bicycle)):
        for n in range(int(rng.integers(2, 5))):
            ridden = bool((n + rng.integers(2)) % 2)
            c.place(kind, lambda r, i, m=make, rider=ridden: m(r, i, rider), c.gutter(ridden))  # type: ignore[misc]


def _crowd(c: Casting) -> None:
    rng = c.rng
    for _ in range(int(rng.integers(12, 26))):
        stride = float(rng.choice([0.0, rng.uniform(0.5, 0.75)], p=[0.3, 0.7]))
        child = rng.random() < 0.06
        category = "human.pedestrian.child" if child else "human.pedestrian.adult"
        c.place(category, lambda r, i, s=stride, k=category: movables.pedestrian(r, i, s, k), c.walks(stride))  # type: ignore[misc]
    for _ in range(int(rng.integers(0, 3))):
        spots = [(m, "pedestrian.sitting_lying_down") for m, _ in c.walks(0.0, 4)]
        c.place("human.pedestrian.adult", movables.seated, spots)
    for _ in range(int(rng.integers(3, 7))):
        spots = [(still(m.xy[0, 0], m.xy[0, 1], 0.0, m.base), "") for m, _ in c.verges(0.5, 4)]
        c.place("movable_object.trafficcone", movables.traffic_cone, spots)
    if rng.random() < 0.6:
        x, side = c.near(), rng.choice([-1.0, 1.0])
        for n in range(int(rng.integers(3, 7))):
            spot = still(
                x + 2.08 * n, side * (c.plan.half + c.plan.verge + c.plan.walk + 0.6), np.pi / 2, KERB
            )
            c.place("movable_object.barrier", lambda r, i: movables.barrier(r, i, 2), [(spot, "")], -0.2)


def draw_actors(plan: StreetPlan, rng: np.random.Generator, ego: Motion, end: float) -> list[Actor]:
    """All annotated objects of a scene, street frame, in the order of their instance index.

    Args:
        ego: the drive in the street frame.
        end: time of the last frame (s).
    """
    c = Casting(plan, rng, ego, end)
    _roadworks(c)
    _rare(c)
    for _ in range(int(rng.integers(3, 9))):
        c.place("vehicle.car", vehicles.car, c.lanes())
    for _ in range(int(rng.integers(2, 6))):
        c.place("vehicle.car", vehicles.car, c.halts())
    for _ in range(int(rng.integers(10, 20))):
        c.place("vehicle.car", vehicles.car, c.strips(near=False))
    for _ in range(int(rng.integers(5, 14))):
        c.place("vehicle.car", vehicles.car, c.bays())
    _crowd(c)
    return c.actors
