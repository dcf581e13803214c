"""Calibrations that are turned, or wrong in a known way, and what would be right then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from pc3d.data.calibration.agreement import BODY_R_OPTICAL, View, turn
from pc3d.data.records import Camera, Float64, Sweep
from pc3d.geometry.rigid import compose_SE3, invert_SE3, matrix_to_quaternion, quaternion_to_matrix

Mend = Callable[[Sweep, Camera], tuple[Sweep, Camera]]
Change = Callable[[Float64], Float64]

_PITCHES = tuple(np.arange(-4.0, 4.5, 0.5).tolist())
_ROLLS = (-7.5, -5.0, -2.5, 2.5, 5.0, 7.5)
_SCALES = (0.5, 2 / 3, 0.75, 1 / 1.2, 0.9, 1.1, 1.2, 4 / 3, 1.5, 2.0)
_FOCAL_LENGTHS = (0.8, 1 / 1.1, 1.1, 1.25)
_FLIPS = {
    "its images are turned by 180 degrees": (-1, -1),
    "its images are mirrored left to right": (1, -1),
    "its images are upside down, mirrored top to bottom": (-1, 1),
}
"""Steps along the lines and columns of the pictures."""
_REFLECTIONS = {
    "x of the LiDAR's points has the wrong sign": np.diag([-1.0, 1, 1]),
    "y of the LiDAR's points has the wrong sign": np.diag([1.0, -1, 1]),
    "z of the LiDAR's points has the wrong sign": np.diag([1.0, 1, -1]),
    "x and y of the LiDAR's points are exchanged": np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]]),
    "x and y of the LiDAR's points are exchanged, with wrong signs": np.array(
        [[0.0, -1, 0], [-1, 0, 0], [0, 0, 1]]
    ),
}
_UNITS = {"in feet": 0.3048, "10 times too large": 0.1, "in centimetres": 0.01, "in millimetres": 0.001}


@dataclass(frozen=True, eq=False)
class Candidate:
    """A fault that a calibration may have.

    Attributes:
        kind: the same for all cameras that the fault would show in.
        cause: as a sentence.
        mend: a sweep and its camera as they should be then.
        within: degrees about that which are searched too.
        yaw, pitch: degrees to the left and upwards that `mend` turns a camera by.
        flip: steps along the lines and columns of the picture as it should be.
        points: (3, 3) factor of the points as they should be.
    """

    kind: str
    cause: str
    mend: Mend
    within: float = 1.0
    yaw: float = 0.0
    pitch: float = 0.0
    flip: tuple[int, int] = (1, 1)
    points: Float64 | None = None

    def view(self, view: View) -> View:
        """A view as it should be then."""
        sweep, camera = self.mend(view.sweep, view.camera)
        image, scan = view.image[:: self.flip[0], :: self.flip[1]], view.scan
        if self.points is not None:
            scan = replace(scan, edges=scan.edges @ self.points.T)
        return View(sweep, camera, scan, np.ascontiguousarray(image))


def _as_it_is(sweep: Sweep, camera: Camera) -> tuple[Sweep, Camera]:
    return sweep, camera


GIVEN = Candidate("given", "it fits as it is", _as_it_is)


def _with(pose: Float64, rotation: Float64) -> Float64:
    """A pose with another rotation."""
    mended = pose.copy()
    mended[:3, :3] = rotation
    return mended


def _camera(change: Change) -> Mend:
    """Another ego_SE3_cam."""
    return lambda sweep, camera: (sweep, replace(camera, ego_SE3_cam=change(camera.ego_SE3_cam)))


def _lidar(change: Change) -> Mend:
    """Another ego_SE3_lidar."""
    return lambda sweep, camera: (replace(sweep, ego_SE3_lidar=change(sweep.ego_SE3_lidar)), camera)


def _reordered(by: int) -> Change:
    return lambda pose: _with(pose, quaternion_to_matrix(np.roll(matrix_to_quaternion(pose[:3, :3]), by)))


def _axes(rotation: Float64) -> Change:
    return lambda pose: _with(pose, pose[:3, :3] @ rotation)


def _opposite(sweep: Sweep, camera: Camera) -> tuple[Sweep, Camera]:
    cam_SE3_lidar = compose_SE3(invert_SE3(camera.ego_SE3_cam), sweep.ego_SE3_lidar)
    return sweep, replace(camera, ego_SE3_cam=compose_SE3(sweep.ego_SE3_lidar, cam_SE3_lidar))


def _lens(change: Change) -> Mend:
    """Other intrinsics."""
    return lambda sweep, camera: (sweep, replace(camera, intrinsics=change(camera.intrinsics)))


def _zoomed(factor: float) -> Change:
    return lambda K: K @ np.diag([factor, factor, 1.0])


def _resized(factor: float) -> Change:
    return lambda K: np.diag([factor, factor, 1.0]) @ K


def _centre_exchanged(K: Float64) -> Float64:
    exchanged = K.copy()
    exchanged[:2, 2] = K[1::-1, 2]
    return exchanged


def _in_place_of(name: str, lens: bool) -> Mend:
    def mend(sweep: Sweep, camera: Camera) -> tuple[Sweep, Camera]:
        there = {other.name: other for other in sweep.cameras}.get(name, camera)
        mended = replace(camera, ego_SE3_cam=there.ego_SE3_cam)
        if lens and there.size == camera.size:
            mended = replace(
                mended, intrinsics=there.intrinsics, distortion=there.distortion, model=there.model
            )
        return sweep, mended

    return mend


def _extrinsics() -> Iterator[tuple[str, Mend]]:
    yield "ego_SE3_cam is inverted", _camera(invert_SE3)
    yield "ego_SE3_lidar is inverted", _lidar(invert_SE3)
    yield "the transform between camera and LiDAR is inverted", _opposite
    for name, wrap in (("ego_SE3_cam", _camera), ("ego_SE3_lidar", _lidar)):
        yield f"the quaternion of {name} is x y z w where w x y z is read", wrap(_reordered(1))
        yield f"the quaternion of {name} is w x y z where x y z w is read", wrap(_reordered(-1))
    yield "ego_SE3_cam is of a camera frame with x forward and z up", _camera(_axes(BODY_R_OPTICAL))
    yield "the axes of ego_SE3_cam were exchanged twice", _camera(_axes(BODY_R_OPTICAL.T))
    for degrees in (90, 180, 270):
        quarter = _axes(turn(np.array([0.0, 0, 1]), -degrees))
        yield f"ego_SE3_lidar has axes turned by {degrees} degrees", _lidar(quarter)


def turns() -> Iterator[Candidate]:
    """Of the camera in its place: a little in any direction."""
    for pitch in _PITCHES:
        tilt = _axes(turn(np.array([1.0, 0, 0]), pitch))
        yield Candidate("turned", "it is turned", _camera(tilt), within=15, pitch=pitch)
    for roll in _ROLLS:
        side = "left" if roll < 0 else "right"
        cause = f"it fits better rolled by {abs(roll):g} degrees to the {side}"
        yield Candidate(cause, cause, _camera(_axes(turn(np.array([0, 0, 1.0]), roll))))


def mirrored() -> Iterator[Candidate]:
    """Of pictures and points; upright edges partly meet all the same, where they are upside down."""
    for cause, flip in _FLIPS.items():
        yield Candidate(cause, cause, _as_it_is, flip=flip)
    for cause, matrix in _REFLECTIONS.items():
        yield Candidate(cause, cause, _as_it_is, points=matrix)
    for unit, factor in _UNITS.items():
        cause = f"the LiDAR's points are {unit}"
        yield Candidate(cause, cause, _as_it_is, points=factor * np.eye(3))


def candidates(camera: str, rig: tuple[str, ...]) -> Iterator[Candidate]:
    """What else may be wrong with one camera of a rig."""
    for yaw in range(40, 360, 40):
        about = turn(np.array([0.0, 0, 1]), yaw)
        left = _camera(lambda pose, about=about: _with(pose, about @ pose[:3, :3]))  # type: ignore[misc]
        yield Candidate("turned", "it is turned", left, within=20, yaw=yaw)
    for cause, mend in _extrinsics():
        yield Candidate(cause, cause, mend)
    for name in rig:
        if name != camera:
            yield Candidate("swapped", f"it has the place of {name}", _in_place_of(name, lens=False))
            yield Candidate("swapped", f"its images are those of {name}", _in_place_of(name, lens=True))
    for factor in _SCALES:
        cause = f"the intrinsics are {1 / factor:.2g} times what the images need"
        yield Candidate(cause, cause, _lens(_resized(factor)))
    for factor in _FOCAL_LENGTHS:
        cause = f"the focal length is {1 / factor:.2g} times what the images need"
        yield Candidate(cause, cause, _lens(_zoomed(factor)))
    yield Candidate("centre", "cx and cy of the intrinsics are exchanged", _lens(_centre_exchanged))
