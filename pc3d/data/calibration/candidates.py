"""Calibrations that are wrong in a known way, and what would be right then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from pc3d.data.calibration.agreement import turn
from pc3d.data.records import Camera, Float64, Sweep
from pc3d.geometry.rigid import compose_SE3, invert_SE3, matrix_to_quaternion, quaternion_to_matrix

BODY_R_OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
"""From a camera frame of x right, y down, z forward to one of x forward, y left, z up."""
SCALES = (0.5, 2 / 3, 0.75, 1 / 1.2, 0.9, 1.1, 1.2, 4 / 3, 1.5, 2.0)


Mend = Callable[[Sweep, Camera], tuple[Sweep, Camera]]


@dataclass(frozen=True)
class Candidate:
    """A fault that a calibration may have.

    Attributes:
        cause: completes "the images fit if ...".
        mend: a sweep and its camera as they should be then.
    """

    cause: str
    mend: Mend


def _rotated(pose: Float64, rotation: Float64) -> Float64:
    mended = pose.copy()
    mended[:3, :3] = rotation
    return mended


def _reordered(pose: Float64, by: int) -> Float64:
    return _rotated(pose, quaternion_to_matrix(np.roll(matrix_to_quaternion(pose[:3, :3]), by)))


def _camera(change: Callable[[Float64], Float64]) -> Mend:
    """Another ego_SE3_cam."""
    return lambda sweep, camera: (sweep, replace(camera, ego_SE3_cam=change(camera.ego_SE3_cam)))


def _lidar(change: Callable[[Float64], Float64]) -> Mend:
    """Another ego_SE3_lidar."""
    return lambda sweep, camera: (replace(sweep, ego_SE3_lidar=change(sweep.ego_SE3_lidar)), camera)


def _opposite(sweep: Sweep, camera: Camera) -> tuple[Sweep, Camera]:
    cam_SE3_lidar = compose_SE3(invert_SE3(camera.ego_SE3_cam), sweep.ego_SE3_lidar)
    return sweep, replace(camera, ego_SE3_cam=compose_SE3(sweep.ego_SE3_lidar, cam_SE3_lidar))


def _scaled(factor: float) -> Mend:
    scale = np.diag([factor, factor, 1.0])
    return lambda sweep, camera: (sweep, replace(camera, intrinsics=scale @ camera.intrinsics))


def _in_place_of(name: str, lens: bool) -> Mend:
    def mend(sweep: Sweep, camera: Camera) -> tuple[Sweep, Camera]:
        there = {other.name: other for other in sweep.cameras}.get(name, camera)
        mended = replace(camera, ego_SE3_cam=there.ego_SE3_cam)
        if lens and there.size == camera.size:
            mended = replace(mended, intrinsics=there.intrinsics, distortion=there.distortion)
        return sweep, mended

    return mend


def candidates(camera: str, rig: tuple[str, ...]) -> Iterator[Candidate]:
    """The known faults of one camera of a rig."""
    optical = BODY_R_OPTICAL
    yield Candidate("ego_SE3_cam is inverted", _camera(invert_SE3))
    yield Candidate("ego_SE3_lidar is inverted", _lidar(invert_SE3))
    yield Candidate("the transform between camera and LiDAR is inverted", _opposite)
    for name, wrap in (("ego_SE3_cam", _camera), ("ego_SE3_lidar", _lidar)):
        for order, by in (("x y z w is read as w x y z", 1), ("w x y z is read as x y z w", -1)):
            yield Candidate(
                f"the quaternion of {name}: {order}", wrap(lambda pose, by=by: _reordered(pose, by))
            )
    yield Candidate(
        "ego_SE3_cam is that of a frame with x forward and z up",
        _camera(lambda pose: _rotated(pose, pose[:3, :3] @ optical)),
    )
    yield Candidate(
        "the axes of ego_SE3_cam were exchanged twice",
        _camera(lambda pose: _rotated(pose, pose[:3, :3] @ optical.T)),
    )
    for degrees in (90, 180, 270):
        quarter = turn(np.array([0.0, 0, 1]), degrees)
        yield Candidate(
            f"ego_SE3_lidar is turned by {360 - degrees} degrees",
            _lidar(lambda pose, quarter=quarter: _rotated(pose, quarter @ pose[:3, :3])),
        )
    for name in rig:
        if name != camera:
            yield Candidate(f"the images are those of {name}'s place", _in_place_of(name, lens=False))
            yield Candidate(f"the images are those of {name}", _in_place_of(name, lens=True))
    for factor in SCALES:
        yield Candidate(f"the intrinsics are {1 / factor:.2g} times too large", _scaled(factor))
