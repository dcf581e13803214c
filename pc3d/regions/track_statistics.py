"""What tracks are worth: where boxes are annotated, how they agree with instances and velocities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pc3d.data.records import Boxes
from pc3d.geometry.boxes import points_in_boxes
from pc3d.regions.statistics import Counts, overlaps, share

_MARGIN = 0.15  # metres that the sides of boxes are moved out by: returns scatter about them
_FEET = 0.3  # metres of a box above its bottom that are left out: the ground is no part of a track
_MIN_POINTS = 5  # of a box in each frame
_MOVING = 0.5  # m/s


@dataclass(frozen=True)
class TrackCounts(Counts):
    """Sums over key frames and their nexts; the last of a scene has none.

    Attributes:
        pairs: their number. points, tracked: of both sweeps, and of those with a segment.
        segments, joint: segments, and those with points of both sweeps.
        moving: points of segments that move.
        annotated, pure: tracked points where boxes are known; those of the instance (or none) that most of
            their segment's are of.
        movers, movers_joint: points of moving vehicles that both frames see; those whose segment has points
            of the same vehicle in the other frame.
        known, said, right: points with a known velocity that move; points that are said to and whose
            velocity is known; both.
    """

    pairs: int = 0
    points: int = 0
    tracked: int = 0
    segments: int = 0
    joint: int = 0
    moving: int = 0
    annotated: int = 0
    pure: int = 0
    movers: int = 0
    movers_joint: int = 0
    known: int = 0
    said: int = 0
    right: int = 0

    def summary(self) -> dict[str, float | None]:
        return {
            "pairs of key frames": self.pairs,
            "segments per pair": share(self.segments, self.pairs),
            "share of segments in both sweeps": share(self.joint, self.segments),
            "share of points with a segment": share(self.tracked, self.points),
            "share of points that move": share(self.moving, self.points),
            "purity against instances": share(self.pure, self.annotated),
            "moving vehicles in one track": share(self.movers_joint, self.movers),
            "precision of moving": share(self.right, self.said),
            "recall of moving": share(self.right, self.known),
        }


@dataclass(frozen=True, eq=False)
class _Truth:
    """Of each point: the number of its instance (0 for none), and whether it moves (-1 unknown)."""

    instance: NDArray[np.int64]
    moving: NDArray[np.int64]


def count_tracks(
    arrays: Mapping[str, NDArray],
    points: tuple[NDArray, NDArray] | None = None,
    boxes: tuple[Boxes, Boxes] | None = None,
) -> TrackCounts:
    """Counts of one key frame and its next.

    Args:
        arrays: as `tracks` gives them.
        points: both sweeps, needed where boxes are given.
        boxes: their annotations, None where there are none.
    """
    track = np.concatenate([arrays["track_now"], arrays["track_next"]])
    moving = np.concatenate([arrays["moving_now"], arrays["moving_next"]]) > 0
    segments = [np.unique(arrays[name][arrays[name] >= 0]) for name in ("track_now", "track_next")]
    counts = TrackCounts(
        pairs=1,
        points=len(track),
        tracked=int((track >= 0).sum()),
        segments=len(np.union1d(*segments)),
        joint=len(np.intersect1d(*segments)),
        moving=int(moving.sum()),
    )
    if boxes is None or points is None:
        return counts
    numbers = {name: number for number, name in enumerate(sorted({*boxes[0].tracks, *boxes[1].tracks}), 1)}
    truth = [_truth(*side, numbers) for side in zip(points, boxes, strict=True)]
    instance = np.concatenate([side.instance for side in truth])
    truly = np.concatenate([side.moving for side in truth])
    kept = track >= 0
    table = overlaps(track[kept], instance[kept], (int(track.max(initial=-1)) + 1, len(numbers) + 1))
    movers, movers_joint = _movers(arrays, truth, boxes[0], numbers)
    return counts + TrackCounts(
        annotated=counts.tracked,
        pure=int(table.max(axis=1).sum()),
        movers=movers,
        movers_joint=movers_joint,
        known=int((truly == 1).sum()),
        said=int((moving & (truly >= 0)).sum()),
        right=int((moving & (truly == 1)).sum()),
    )


def _truth(points: NDArray, boxes: Boxes, numbers: Mapping[str, int]) -> _Truth:
    height = np.maximum(boxes.sizes[:, 2] - _FEET, 0.0)
    centers = boxes.centers + np.stack([0 * height, 0 * height, (boxes.sizes[:, 2] - height) / 2], axis=1)
    sizes = np.column_stack([boxes.sizes[:, :2] + 2 * _MARGIN, height])
    inside = points_in_boxes(points, centers, sizes, boxes.yaws)
    # Row 0 stands for no box; a point in two boxes belongs to the first.
    box = np.concatenate([~inside.any(axis=0, keepdims=True), inside]).argmax(axis=0)
    speed = np.hypot(*boxes.velocities.T)
    moves = np.where(np.isnan(speed), -1, speed > _MOVING)
    instance = np.array([0, *(numbers[name] for name in boxes.tracks)], dtype=np.int64)
    return _Truth(instance[box], np.concatenate([[0], moves])[box])


def _movers(
    arrays: Mapping[str, NDArray], truth: Sequence[_Truth], boxes: Boxes, numbers: Mapping[str, int]
) -> tuple[int, int]:
    """Points of the moving vehicles that both frames see, and those in a segment of both."""
    total = joint = 0
    fast = np.hypot(*boxes.velocities.T) > _MOVING
    for name, category, moves in zip(boxes.tracks, boxes.names, fast, strict=True):
        if not moves or not category.startswith("vehicle."):
            continue
        a, b = (
            arrays[key][side.instance == numbers[name]]
            for key, side in zip(("track_now", "track_next"), truth, strict=True)
        )
        if min(len(a), len(b)) >= _MIN_POINTS:
            shared = np.intersect1d(a[a >= 0], b[b >= 0])
            total += len(a) + len(b)
            joint += int(np.isin(a, shared).sum() + np.isin(b, shared).sum())
    return total, joint
