"""Poses of KITTI-360: of the frames in which the car moved, and what lies between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pc3d.data.errors import fail
from pc3d.data.points.motion import moved_by, twist_between
from pc3d.data.readers.text_files import read_rows
from pc3d.data.records import Float64, check_pose
from pc3d.geometry.rigid import compose_SE3, invert_SE3, make_SE3

STANDING = 2.0
"""Metres between two poses [our choice]: frames between them have none because the car hardly moved."""

_REMEDY = "extract the poses (data_poses.zip) again"


def read_poses(path: Path) -> dict[int, Float64]:
    """(4, 4) world_SE3_imu by frame, of lines of a frame number and [R | t] row by row, ascending.

    Raises:
        DataError: the file cannot be read, or a line is no frame and pose, or not after the one before.
    """
    poses: dict[int, Float64] = {}
    last = -1
    for row in read_rows(path, "pose file", 13, _REMEDY):
        frame, pose = int(row[0]), make_SE3(row[1:].reshape(3, 4)[:, :3], row[1:].reshape(3, 4)[:, 3])
        if frame != row[0] or frame <= last:
            fail(f"frame {row[0]:g} follows frame {last}, expected whole numbers that ascend", path, _REMEDY)
        try:
            check_pose(f"the pose of frame {frame}", pose)
        except ValueError as error:
            fail(str(error), path, _REMEDY)
        poses[frame], last = pose, frame
    if not poses:
        fail("the pose file is empty", path, _REMEDY)
    return poses


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
