"""What the KITTI data sets share: where the sensors stand, rectified cameras."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pc3d.data.readers.kitti_calibration import Projection
from pc3d.data.records import Camera, Float64
from pc3d.geometry.camera import shift_pixel_centres
from pc3d.geometry.rigid import invert_SE3, make_SE3

EGO_SE3_LIDAR = make_SE3(np.eye(3), np.array([0.0, 0.0, 1.73]))
"""The ego frame stands under the Velodyne on the road, with its axes (Geiger et al., IJRR 2013)."""

FRAMES = {"lidar": "x forward, y left, z up", "ego": "as lidar, on the road 1.73 m below"}
LICENSE = "CC-BY-NC-SA-3.0"


def rectified_camera(
    name: str, path: Path, size: tuple[int, int], projection: Projection, rect_SE3_velo: Float64
) -> Camera:
    """A rectified camera of the rig, without a time and a pose of its own.

    Args:
        projection: of its entry P.
        rect_SE3_velo: (4, 4) LiDAR to rectified camera 0.
    """
    return Camera(
        name=name,
        path=path,
        size=size,
        intrinsics=shift_pixel_centres(projection.K),
        ego_SE3_cam=EGO_SE3_LIDAR @ invert_SE3(projection.cam_SE3_rect @ rect_SE3_velo),
        world_SE3_ego=np.eye(4),
        timestamp=0,
    )
