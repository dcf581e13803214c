"""Boxes of KITTI object: `label_2` in rectified camera 0, out in the LiDAR frame."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from pc3d.data.errors import fail
from pc3d.data.readers.text_files import read_lines
from pc3d.data.records import Boxes, Float64
from pc3d.geometry.rigid import invert_SE3, transform_points

DONT_CARE = "DontCare"
"""A region of the image without a box in space."""
_WORDS = 15  # type truncated occluded alpha, x1 y1 x2 y2, h w l, x y z, ry
_REMEDY = "extract the labels again; results, which have a score at the end of a line, are no labels"


def read_boxes(path: Path, rect_SE3_velo: Float64, token: str) -> Boxes:
    """The boxes of a label file, those of `DontCare` left out.

    A line states height, width, length, the centre of the bottom face and the angle about the axis that
    points down, all in rectified camera 0. Centre and heading are carried over as points and directions are,
    so that the small tilt between both frames costs nothing but the tilt of the box itself.

    Args:
        path: of `label_2`.
        rect_SE3_velo: (4, 4) LiDAR to rectified camera 0.
        token: of the frame, for the tracks: each box is its own.

    Raises:
        DataError: the file cannot be read, or a line is no label.
    """
    rows = []
    for number, line in enumerate(read_lines(path, "label file", _REMEDY), start=1):
        if (words := line.split()) and words[0] != DONT_CARE:
            rows.append((words[0], _numbers(words, f"{path}, line {number}")))
    values = np.array([row for _, row in rows], dtype=np.float64).reshape(-1, _WORDS - 1)
    height, width, length = values[:, 7:10].T
    location, angle = values[:, 10:13], values[:, 13]
    velo_SE3_rect = invert_SE3(rect_SE3_velo)
    middle = location - np.stack([0 * height, height / 2, 0 * height], axis=1)
    ahead = np.stack([np.cos(angle), 0 * angle, -np.sin(angle)], axis=1)
    along = transform_points(velo_SE3_rect, ahead) - velo_SE3_rect[:3, 3]
    count = len(rows)
    return Boxes(
        centers=transform_points(velo_SE3_rect, middle),
        sizes=np.stack([length, width, height], axis=1),
        yaws=np.arctan2(along[:, 1], along[:, 0]),
        velocities=np.full((count, 2), np.nan),
        names=tuple(name for name, _ in rows),
        tracks=tuple(f"{token}/{number}" for number in range(count)),
        num_lidar_pts=np.full(count, -1, dtype=np.int64),
        attributes=("",) * count,
    )


def _numbers(words: list[str], where: str) -> list[float]:
    """The 14 numbers of a label."""
    if len(words) != _WORDS:
        fail(f"a label has {len(words)} words, expected {_WORDS}", where, _REMEDY)
    try:
        values = [float(word) for word in words[1:]]
    except ValueError as error:
        fail(f"a label is broken: {error}", where, _REMEDY)
    if not all(map(math.isfinite, values)):
        fail("a label holds a number that is not finite", where, _REMEDY)
    if not all(0 < size < 1000 for size in values[7:10]):
        fail(f"{words[0]} has the height, width and length {values[7:10]} m", where, _REMEDY)
    if not all(abs(place) < 1000 for place in values[10:13]):
        fail(f"{words[0]} lies at {values[10:13]} m from the camera", where, _REMEDY)
    return values
