"""Frames of boxes that any Python gives alike: only `random.Random(seed).random()` is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

KITTI_SIZES = {
    "Car": (3.9, 1.6, 1.56),
    "Van": (5.0, 1.9, 2.2),
    "Pedestrian": (0.8, 0.6, 1.73),
    "Person_sitting": (0.8, 0.6, 1.3),
    "Cyclist": (1.76, 0.6, 1.73),
}
"""Length, width, height in metres."""


@dataclass(frozen=True)
class DrawnBox:
    """A box of a frame, with what KITTI's labels hold of it beside.

    Attributes:
        box: x y z l w h yaw, z up. height: in the image, pixels.
        occlusion, truncation: of true boxes. score: of found ones.
    """

    name: str
    box: tuple[float, ...]
    height: float
    occlusion: int = 0
    truncation: float = 0.0
    score: float = 0.0


def drawn_frames(seed: int, count: int) -> list[tuple[list[DrawnBox], list[DrawnBox]]]:
    """(true, found) boxes of `count` frames of KITTI's classes.

    Objects stand on a coarse grid, so that no two overlap. Of ten objects eight are found, some twice, a
    bit off; vans and sitting persons are found as the class beside them. Some detections are of nothing.
    """
    random = Random(seed)
    return [_frame(random) for _ in range(count)]


def _frame(random: Random) -> tuple[list[DrawnBox], list[DrawnBox]]:
    true, found = [], []
    names = list(KITTI_SIZES)
    for place in range(12):
        if random.random() < 0.35:
            continue
        name = names[int(random.random() * len(names))]
        size = [side * (0.9 + 0.2 * random.random()) for side in KITTI_SIZES[name]]
        x, y = 8.0 + 10.0 * (place % 4), -12.0 + 12.0 * (place // 4)
        box = (x + random.random(), y + random.random(), -1 + 0.3 * random.random(), *size, _turn(random))
        height = 20 + 60 * random.random() ** 2
        occlusion = int(4 * random.random() ** 2)
        true.append(DrawnBox(name, box, height, occlusion, 0.6 * random.random() ** 3))
        for chance in (0.8, 0.2):
            if random.random() < chance:
                found.append(_found(random, true[-1]))
    for _ in range(int(5 * random.random())):
        name = ("Car", "Pedestrian", "Cyclist")[int(3 * random.random())]
        place = 40 * random.random(), 50 * random.random() - 25, -1.0
        box = (*place, *KITTI_SIZES[name], _turn(random))
        found.append(DrawnBox(name, box, 20 + 60 * random.random(), score=0.7 * random.random()))
    return true, found


def _turn(random: Random) -> float:
    return math.pi * (2 * random.random() - 1)


def _found(random: Random, true: DrawnBox) -> DrawnBox:
    shift = 0.15 if true.name in ("Car", "Van") else 0.08
    shifts = (shift, shift, 0.25)  # so that the overlap from above says less than that in space
    pairs = zip(true.box[:3], shifts, strict=True)
    centre = [value + most * (2 * random.random() - 1) for value, most in pairs]
    size = [side * (0.95 + 0.1 * random.random()) for side in true.box[3:6]]
    yaw = true.box[6] + 0.1 * (2 * random.random() - 1)
    name = {"Van": "Car", "Person_sitting": "Pedestrian"}.get(true.name, true.name)
    height = true.height * (0.9 + 0.2 * random.random())
    return DrawnBox(name, (*centre, *size, yaw), height, score=0.2 + 0.8 * random.random())
