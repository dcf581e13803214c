"""The sensors of the nuScenes car: where they sit, and how the cameras project."""

from __future__ import annotations

import numpy as np

from pc3d.geometry.rigid import make_SE3, quaternion_to_matrix
from pc3d.sim.types import SensorRig

FULL_SIZE = (1600, 900)
"""Image size (width, height) that the intrinsics below belong to."""

# Translation (m) and rotation quaternion (w, x, y, z) of ego_SE3_sensor of scene-0061.
_LIDAR_TOP = ((0.943713, 0.0, 1.84023), (0.7077955, -0.0064922, 0.0106462, -0.7063073))
# Then fx (= fy), cx, cy in pixels.
_CAMERAS = {
    "CAM_FRONT": (
        (1.7007912, 0.0159456, 1.5109576),
        (-0.4998015, 0.5030316, -0.4997798, 0.4973708),
        (1266.4172, 816.26702, 491.50707),
    ),
    "CAM_FRONT_RIGHT": (
        (1.5508478, -0.4934048, 1.4957480),
        (0.2060348, -0.2026941, 0.6824508, -0.6713610),
        (1260.8474, 807.96825, 495.33443),
    ),
    "CAM_BACK_RIGHT": (
        (1.0148781, -0.4805682, 1.5623954),
        (-0.1228098, 0.1324009, 0.7004305, -0.6904960),
        (1259.5137, 807.25291, 501.19580),
    ),
    "CAM_BACK": (
        (0.0283260, 0.0034514, 1.5791035),
        (0.5037873, -0.4974025, -0.4941850, 0.5045496),
        (809.22099, 829.21960, 481.77842),
    ),
    "CAM_BACK_LEFT": (
        (1.0356913, 0.4847950, 1.5909702),
        (-0.6924186, 0.7031619, 0.1164834, -0.1120332),
        (1256.7415, 792.11257, 492.77575),
    ),
    "CAM_FRONT_LEFT": (
        (1.5238780, 0.4946313, 1.5093282),
        (0.6757265, -0.6736266, 0.2121401, -0.2112283),
        (1272.5979, 826.61549, 479.75165),
    ),
}
CAMERAS: tuple[str, ...] = tuple(_CAMERAS)


def nuscenes_rig(image_size: tuple[int, int] = FULL_SIZE) -> SensorRig:
    """The nuScenes car's LIDAR_TOP and six cameras at `image_size` (width, height).

    Intrinsics are scaled per axis, so that every camera keeps its field of view.

    Raises:
        ValueError: if `image_size` is not positive.
    """
    width, height = image_size
    if width <= 0 or height <= 0:
        raise ValueError(f"image_size must be positive, got {image_size}")
    sx, sy = width / FULL_SIZE[0], height / FULL_SIZE[1]
    cameras = {}
    for name, (translation, quaternion, (focal, cx, cy)) in _CAMERAS.items():
        intrinsics = np.array([[focal * sx, 0.0, cx * sx], [0.0, focal * sy, cy * sy], [0.0, 0.0, 1.0]])
        cameras[name] = (make_SE3(quaternion_to_matrix(quaternion), translation), intrinsics)
    translation, quaternion = _LIDAR_TOP
    return SensorRig(make_SE3(quaternion_to_matrix(quaternion), translation), cameras, (width, height))


NUSCENES_RIG = nuscenes_rig
