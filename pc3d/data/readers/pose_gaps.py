"""Poses of frames that have none, between those that have one."""

from __future__ import annotations

import numpy as np

from pc3d.data.points.motion import moved_by, twist_between
from pc3d.data.records import Float64
from pc3d.geometry.rigid import compose_SE3, invert_SE3, make_SE3

STANDING = 2.0
"""Metres between two poses [our choice]: what lies between them is known well enough."""


def pose_between(poses: dict[int, Float64], frames: Float64, frame: int) -> Float64 | None:
    """The pose of a frame; where it has none, that between its neighbours at a constant twist.

    Args:
        poses: by frame. frames: (N,) their numbers, ascending.

    Returns:
        None before the first, after the last, and where the neighbours are farther apart than `STANDING`.
    """
    if frame in poses:
        return poses[frame]
    after = int(np.searchsorted(frames, frame))
    if after in (0, len(frames)):
        return None
    first, last = int(frames[after - 1]), int(frames[after])
    first_SE3_last = compose_SE3(invert_SE3(poses[first]), poses[last])
    if np.linalg.norm(first_SE3_last[:3, 3]) > STANDING:
        return None
    return compose_SE3(poses[first], moved(first_SE3_last, (frame - first) / (last - first)))


def moved(a_SE3_b: Float64, share: float) -> Float64:
    """(4, 4) a share of a motion at a constant twist."""
    corners = np.vstack([np.zeros(3), np.eye(3)])
    origin, *axes = moved_by(twist_between(a_SE3_b, 1.0), np.full(4, share), corners)
    return make_SE3(np.stack([axis - origin for axis in axes], axis=1), origin)
