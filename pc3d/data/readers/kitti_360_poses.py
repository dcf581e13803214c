"""Poses of KITTI-360: of the frames in which the car moved."""

from __future__ import annotations

from pathlib import Path

from pc3d.data.errors import fail
from pc3d.data.readers.text_files import read_rows
from pc3d.data.records import Float64, check_pose
from pc3d.geometry.rigid import make_SE3

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
