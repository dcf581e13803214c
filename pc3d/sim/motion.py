"""How things move: sampled trajectories, the ego route, and the check that nothing collides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pc3d.sim.layout import LANE, StreetPlan
from pc3d.sim.types import Float

STEP = 0.05
"""Sampling of trajectories in seconds; poses between samples are interpolated."""


@dataclass(frozen=True, eq=False)
class Motion:
    """A trajectory on the ground, in the street frame or in the world.

    Attributes:
        start: time of the first sample (s); samples are `STEP` apart. One sample stands still.
        xy: (T, 2) m. yaw: (T,) rad, unwrapped. speed: (T,) m/s along the heading.
        base: height of the ground under it (m).
    """

    xy: Float
    yaw: Float
    speed: Float
    base: float = 0.0
    start: float = -1.0

    def at(self, time: float) -> tuple[Float, float, Float]:
        """Position (3,), yaw and velocity (2,) at `time` seconds."""
        last = len(self.yaw) - 1
        place = float(np.clip((time - self.start) / STEP, 0, last))
        i = min(int(place), max(last - 1, 0))
        j, f = min(i + 1, last), place - i
        x, y = (1 - f) * self.xy[i] + f * self.xy[j]
        yaw = float((1 - f) * self.yaw[i] + f * self.yaw[j])
        speed = (1 - f) * self.speed[i] + f * self.speed[j]
        return np.array([x, y, self.base]), yaw, speed * np.array([np.cos(yaw), np.sin(yaw)])

    def in_world(self, plan: StreetPlan) -> Motion:
        """From the street frame to the world."""
        return Motion(plan.to_world(self.xy), self.yaw + plan.yaw, self.speed, self.base, self.start)


def still(x: float, y: float, yaw: float, base: float = 0.0) -> Motion:
    """Something that does not move."""
    return Motion(np.array([[x, y]]), np.array([yaw]), np.zeros(1), base)


def straight(x: float, y: float, yaw: float, speed: float, end: float, base: float = 0.0) -> Motion:
    """Constant velocity from (x, y) at time 0, sampled from -1 s to `end`."""
    t = np.arange(-1.0, end + STEP, STEP)
    xy = np.array([x, y]) + speed * t[:, None] * np.array([np.cos(yaw), np.sin(yaw)])
    return Motion(xy, np.full(len(t), yaw), np.full(len(t), speed), base)


def _turn(plan: StreetPlan, y: float, direction: float) -> Float:
    """Lane at `y` along +x, then round the corner of the second cross street (+1 left, -1 right)."""
    x_cross, half = plan.cross[1]
    lane_x = x_cross + direction * min(LANE / 2, half / 2)  # keeping right on the cross street
    radius = max(5.5, (plan.half + plan.radius if direction > 0 else plan.radius) * 0.9)
    begin = lane_x - radius
    angle = np.linspace(0, np.pi / 2, 40)
    arc = np.stack([begin + radius * np.sin(angle), y + direction * radius * (1 - np.cos(angle))], axis=1)
    away = arc[-1] + np.array([[0.0, direction * d] for d in np.arange(1.0, 130.0, 1.0)])
    return np.concatenate([np.array([[x, y] for x in np.arange(-40.0, begin, 1.0)]), arc, away])


def along(path: Float, start: float, times: Float, speed: Float, base: float = 0.0) -> Motion:
    """Motion along a polyline (K, 2), beginning at arc length `start` at times[0]."""
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    s = start + np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]) * np.diff(times))])
    heading = np.unwrap(np.arctan2(*np.gradient(path, lengths, axis=0).T[::-1]))
    xy = np.stack([np.interp(s, lengths, path[:, axis]) for axis in range(2)], axis=1)
    return Motion(xy, np.interp(s, lengths, heading), speed, base, float(times[0]))


def ego_motion(plan: StreetPlan, rng: np.random.Generator, end: float) -> Motion:
    """The ego drive in the street frame: straight, a turn, or a stop at the first crossing."""
    times = np.arange(-1.0, end + 0.5, STEP)
    cruise = rng.uniform(5.0, 9.0)
    speed = cruise + 0.8 * np.sin(times * rng.uniform(0.2, 0.5) + rng.uniform(0, 6.28))
    y = -plan.lane_y(0)
    manoeuvre = rng.choice(["straight", "left", "right", "stop"], p=[0.5, 0.18, 0.17, 0.15])
    if manoeuvre in ("left", "right"):
        path = _turn(plan, y, 1.0 if manoeuvre == "left" else -1.0)
        speed = np.minimum(speed, rng.uniform(4.2, 5.5))
        start = max(40.0, 40.0 + plan.cross[1, 0] - rng.uniform(20.0, 45.0))
    else:
        path = np.array([[x, y] for x in np.arange(-40.0, 260.0, 1.0)])
        start = 40.0
        if manoeuvre == "stop":
            halt = rng.uniform(0.45, 0.8) * end
            speed = speed * np.clip((halt - times) / 3.5, 0.0, 1.0)
    return along(path, start - speed[0], times, speed)


class Traffic:
    """What is already placed, as discs over time, to keep new things clear of it."""

    def __init__(self, end: float) -> None:
        self.times = np.arange(0.0, end + 0.25, 0.5)
        self._discs: list[Float] = []
        self._radii: list[float] = []

    def _cover(self, motion: Motion, size: Float) -> tuple[Float, float]:
        length, width = max(size[0], size[1]), min(size[0], size[1])
        n = max(1, int(np.ceil(length / width)))
        offset = np.zeros(1) if n == 1 else np.linspace(-(length - width) / 2, (length - width) / 2, n)
        sideways = size[1] > size[0]
        states = [motion.at(t) for t in self.times]
        xy = np.array([state[0][:2] for state in states])
        yaw = np.array([state[1] for state in states]) + (np.pi / 2 if sideways else 0.0)
        heading = np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
        return xy[:, None] + offset[None, :, None] * heading[:, None], 0.58 * width

    def clear(self, motion: Motion, size: Float, margin: float = 0.1) -> bool:
        """Whether an object of `size` keeps its distance from all others at all times."""
        discs, radius = self._cover(motion, size)
        for other, other_radius in zip(self._discs, self._radii, strict=True):
            if np.abs(other[0, 0] - discs[0, 0]).max() > 250.0:
                continue
            gap = np.linalg.norm(discs[:, :, None] - other[:, None, :], axis=-1)
            if gap.min() < radius + other_radius + margin:
                return False
        return True

    def add(self, motion: Motion, size: Float) -> None:
        discs, radius = self._cover(motion, size)
        self._discs.append(discs)
        self._radii.append(radius)
