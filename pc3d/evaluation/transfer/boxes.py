"""Truth for points that needs no point labels: what lies in a box, and what lies near one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pc3d.data.classes import ClassSet
from pc3d.data.errors import fail
from pc3d.data.points import load_sweep
from pc3d.data.records import Boxes, Sweep
from pc3d.geometry.boxes import points_in_boxes
from pc3d.regions.ground import GroundParams, ground_mask, in_range, sensor_height

KINDS = ("no object", "vehicle", "pedestrian", "other")
"""Label k of a point is kind k. What is "other" differs: barriers here, bicycles there."""
MOVERS = (1, 2)
"""Kinds that mean the same in every data set."""
_KIND_OF = {
    **dict.fromkeys(("car", "truck", "construction_vehicle", "bus", "trailer"), 1),
    "pedestrian": 2,
    **dict.fromkeys(("barrier", "motorcycle", "bicycle", "traffic_cone"), 3),
}
"""Kind of each common detection class."""


@dataclass(frozen=True)
class BoxTask:
    """Which points are asked.

    Attributes:
        margin: points outside of every box, but up to so many metres from one, are left out: boxes are drawn
            loosely.
        reach: points up to so many metres around a box of a kind are "no object".
        per_box: points drawn of each box at most, so that one near car is not all of the data.
        ground: keep the points of the ground; without them height alone says less.

    Raises:
        ValueError: the reach is not beyond the margin, or a number is negative.
    """

    margin: float = 0.5
    reach: float = 4.0
    per_box: int = 20
    ground: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.margin < self.reach:
            raise ValueError(
                f"margin is {self.margin} and reach {self.reach}, expected 0 <= margin < reach, in metres"
            )
        if self.per_box < 1:
            raise ValueError(f"per_box is {self.per_box}, expected at least 1")


@dataclass(frozen=True, eq=False)
class BoxPoints:
    """The points of a sweep that can be drawn.

    Attributes:
        labels: (P,) int64 kind of each point, -1 where it is not asked.
        box: (P,) int64 the box that a point of a kind lies in, -1 for others.
    """

    labels: NDArray[np.int64]
    box: NDArray[np.int64]

    def draw(self, per_box: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Ascending rows: up to `per_box` of each box, and as many of "no object" (all, if it has fewer)."""
        inside = [np.flatnonzero(self.box == box) for box in np.unique(self.box[self.box >= 0])]
        chosen = [rng.permutation(rows)[:per_box] for rows in inside]
        count = sum(map(len, chosen))
        outside = rng.permutation(np.flatnonzero(self.labels == 0))[:count]
        return np.sort(np.concatenate([*chosen, outside]))


def kinds_of(names: tuple[str, ...], classes: ClassSet) -> NDArray[np.int64]:
    """(N,) kind of each box by its category and a class set of the common classes, -1 for others.

    Raises:
        ValueError: the set has other detection classes.
    """
    if unknown := sorted(set(classes.detection) - set(_KIND_OF)):
        raise ValueError(f"{classes.name!r} has the class {unknown[0]!r}, expected the common classes")
    kind = np.array([_KIND_OF[name] for name in classes.detection], dtype=np.int64)
    label = classes.box_labels(names)
    return np.where(label < 0, -1, kind[label])


def label_points(
    points: NDArray, boxes: Boxes, kinds: NDArray[np.int64], task: BoxTask, ground: NDArray[np.bool_]
) -> BoxPoints:
    """Kinds of the points of a sweep.

    A point in a box has the kind of the box; of two boxes, that of the smaller one. It is not asked in a box
    without a kind, outside but within `margin` of any box, beyond `reach` of those with a kind, or on the
    ground.

    Args:
        points: (P, >= 3) in the frame of the boxes. kinds: (N,) of `kinds_of`.
        ground: (P,) which points are ground; ignored with `task.ground`.
    """
    labels = np.full(len(points), -1, dtype=np.int64)
    box = np.full(len(points), -1, dtype=np.int64)
    labels[_within(points, boxes, kinds >= 0, task.reach)] = 0
    labels[_within(points, boxes, np.ones(len(boxes), dtype=np.bool_), task.margin)] = -1
    inside = points_in_boxes(points, boxes.centers, boxes.sizes, boxes.yaws)
    for n in np.argsort(-boxes.sizes.prod(axis=1), kind="stable"):
        labels[inside[n]] = kinds[n]
        box[inside[n]] = n if kinds[n] >= 0 else -1
    if not task.ground:
        labels[ground], box[ground] = -1, -1
    return BoxPoints(labels, box)


def _within(points: NDArray, boxes: Boxes, which: NDArray[np.bool_], metres: float) -> NDArray[np.bool_]:
    """(P,) points in a box of `which` that is larger by `metres` on every side."""
    sizes = boxes.sizes[which] + 2 * metres
    return points_in_boxes(points, boxes.centers[which], sizes, boxes.yaws[which]).any(axis=0)


def box_points(sweep: Sweep, classes: ClassSet, task: BoxTask) -> BoxPoints:
    """Kinds of the points of an annotated sweep, in the order of `load_sweep`.

    Raises:
        DataError: the sweep has no boxes, or its points cannot be read.
    """
    if sweep.boxes is None:
        fail("the sweep has no boxes", f"sweep {sweep.token}", "name annotated key frames")
    points = load_sweep(sweep)
    params = GroundParams()
    # Beyond the range of the planes nobody knows what is ground.
    ground = ground_mask(points, sensor_height(sweep, params), params) | ~in_range(points, params)
    return label_points(points, sweep.boxes, kinds_of(sweep.boxes.names, classes), task, ground)
