"""Poses of KITTI drives: from files of camera 0, or estimated from the scans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from pc3d.data.errors import fail
from pc3d.data.odometry import OdometryConfig, lidar_odometry
from pc3d.data.points import load_points
from pc3d.data.readers.kitti_rig import EGO_SE3_LIDAR
from pc3d.data.readers.text_files import read_rows
from pc3d.data.records import Float64, check_pose
from pc3d.geometry.rigid import compose_SE3, invert_SE3

# Points up to 0.4 m above the road are thinned: the scans hold no point times and the rings dominate.
ODOMETRY = OdometryConfig(ground_below=0.4 - float(EGO_SE3_LIDAR[2, 3]))


def estimated_poses(scans: Iterable[tuple[Path, str]]) -> Iterator[Float64]:
    """(4, 4) world_SE3_ego of each scan (path, token) by KISS-ICP; the world is the first ego frame."""
    clouds = ((load_points(path, "kitti", token), None) for path, token in scans)
    lidar_SE3_ego = invert_SE3(EGO_SE3_LIDAR)
    for pose in lidar_odometry(clouds, ODOMETRY):
        yield EGO_SE3_LIDAR @ pose @ lidar_SE3_ego


def camera_poses(path: Path, numbers: Sequence[int], cam0_SE3_velo: Float64) -> list[Float64]:
    """(4, 4) world_SE3_ego of some scans from a file of poses of rectified camera 0.

    Line n, from 0, is the pose of scan n: [R | t] row by row, into the camera 0 of the first scan. The world
    that is given is the ego frame at that scan, so z is up.

    Args:
        path: file with 12 numbers a line.
        numbers: of the scans.
        cam0_SE3_velo: (4, 4) LiDAR to rectified camera 0.

    Raises:
        DataError: the file cannot be read, a line is no pose, a scan has none.
    """
    remedy = "take the poses of this sequence, a line for each scan"
    rows = read_rows(path, "pose file", 12, remedy)
    if max(numbers) >= len(rows):
        fail(
            f"{len(rows)} poses, but there is a scan {max(numbers)} (line n, from 0, is scan n)", path, remedy
        )
    ego_SE3_cam0 = EGO_SE3_LIDAR @ invert_SE3(cam0_SE3_velo)
    poses = []
    for number in numbers:
        pose = np.vstack([rows[number].reshape(3, 4), [0.0, 0.0, 0.0, 1.0]])
        try:
            check_pose(f"the pose of scan {number}", pose)
        except ValueError as error:
            fail(str(error), path, remedy)
        poses.append(compose_SE3(compose_SE3(ego_SE3_cam0, pose), invert_SE3(ego_SE3_cam0)))
    return poses
