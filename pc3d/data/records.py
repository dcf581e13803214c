"""Records of a drive: what the readers make, the index stores and the dataset loads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.geometry.lens import Lens, check_lens, lens_of

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]

MAX_DISTANCE = 1e8
"""Metres: no place on earth is farther from the origin of its map, UTM included."""
MAX_PIXELS = 1e6
"""No focal length and no principal point is longer."""
MAX_DISTORTION = 1e6
MAX_SPEED = 1e3
"""Metres or radians a second."""
MAX_TIME_OFFSET = 10.0
ROTATION_TOLERANCE = 1e-3
"""Largest sum of what the columns of a rotation lack of length 1 and of right angles."""


def _check_shape(name: str, array: NDArray, shape: tuple[int | None, ...]) -> None:
    """Raise ValueError unless `array` has `shape` (None stands for any length)."""
    fits = array.ndim == len(shape) and all(
        want is None or want == got for want, got in zip(shape, array.shape, strict=False)
    )
    if not fits:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")


def _check_whole(name: str, value: object, least: int | None = None) -> None:
    """Raise ValueError unless `value` is a whole number (no bool), at least `least`."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or (least is not None and value < least):  # type: ignore[operator]
        expected = "a whole number" if least is None else f"a whole number, at least {least}"
        raise ValueError(f"{name} is {value!r}, expected {expected}")


def check_pose(name: str, pose: Float64) -> None:
    """Raise ValueError unless `pose` is a rigid transform; in plain numbers, which numpy is slow at."""
    _check_shape(name, pose, (4, 4))
    a, b, c, x, d, e, f, y, g, h, i, z, *last = pose.reshape(-1).tolist()
    if not abs(x) + abs(y) + abs(z) < MAX_DISTANCE:
        raise ValueError(f"{name} has the translation {[x, y, z]}, expected metres below {MAX_DISTANCE:g}")
    lengths = abs(a * a + d * d + g * g - 1) + abs(b * b + e * e + h * h - 1) + abs(c * c + f * f + i * i - 1)
    products = abs(a * b + d * e + g * h) + abs(a * c + d * f + g * i) + abs(b * c + e * f + h * i)
    if not lengths + products <= ROTATION_TOLERANCE:
        raise ValueError(f"{name} holds no rotation: {[[a, b, c], [d, e, f], [g, h, i]]}")
    if a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g) < 0:
        raise ValueError(f"{name} mirrors (determinant -1): {[[a, b, c], [d, e, f], [g, h, i]]}")
    if last != [0.0, 0.0, 0.0, 1.0]:
        raise ValueError(f"{name} has the last row {last}, expected 0 0 0 1")


def check_intrinsics(K: Float64) -> None:
    """Raise ValueError unless `K` (3, 3) is that of a pinhole camera."""
    _check_shape("intrinsics", K, (3, 3))
    fx, skew, cx, low, fy, cy, *last = K.reshape(-1).tolist()
    if not (0 < fx < MAX_PIXELS and 0 < fy < MAX_PIXELS and abs(skew) + abs(cx) + abs(cy) < MAX_PIXELS):
        raise ValueError(f"intrinsics are {K.tolist()}, expected pixels with focal lengths above 0")
    if low != 0 or last != [0.0, 0.0, 1.0]:
        raise ValueError(f"intrinsics are {K.tolist()}, expected zeros below the diagonal and 1 at its end")


@dataclass(frozen=True, eq=False)
class Boxes:
    """N oriented boxes in the LiDAR frame of their sweep, in metres and radians.

    Attributes:
        centers: (N, 3) float64 box centres.
        sizes: (N, 3) float64 length (along the heading), width, height.
        yaws: (N,) float64, counter-clockwise about +z, 0 along +x.
        velocities: (N, 2) float64 m/s in the same frame, NaN where unknown.
        names: N category names of the dataset, e.g. `vehicle.car`.
        tracks: N instance tokens.
        num_lidar_pts: (N,) int64 points inside as stated by the dataset, -1 where unknown.
        attributes: N attribute names, "" where there is none.
    """

    centers: Float64
    sizes: Float64
    yaws: Float64
    velocities: Float64
    names: tuple[str, ...]
    tracks: tuple[str, ...]
    num_lidar_pts: NDArray[np.int64]
    attributes: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.names)
        _check_shape("centers", self.centers, (n, 3))
        _check_shape("sizes", self.sizes, (n, 3))
        _check_shape("yaws", self.yaws, (n,))
        _check_shape("velocities", self.velocities, (n, 2))
        _check_shape("num_lidar_pts", self.num_lidar_pts, (n,))
        if len(self.tracks) != n or len(self.attributes) != n:
            raise ValueError("names, tracks and attributes must have the same length")
        for what, fits in (
            ("centre", np.abs(self.centers) < MAX_DISTANCE),
            ("size", (self.sizes > 0) & (self.sizes < MAX_DISTANCE)),
            ("yaw", np.isfinite(self.yaws)),
            ("velocity", ~np.isinf(self.velocities)),
            ("number of points", self.num_lidar_pts >= -1),
        ):
            if not fits.all():
                raise ValueError(f"the {what} is out of range in {self._shown(np.argwhere(~fits)[0, 0])}")

    def _shown(self, n: int) -> str:
        return (
            f"box {n} ({self.names[n]}, track {self.tracks[n]!r}): centre {self.centers[n]}, size "
            f"{self.sizes[n]}, yaw {self.yaws[n]}, velocity {self.velocities[n]}, "
            f"{self.num_lidar_pts[n]} points"
        )

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False)
class Camera:
    """One image of a sweep and where it was taken.

    Attributes:
        name: channel, e.g. `CAM_FRONT`.
        path: image file.
        size: (width, height) in pixels.
        intrinsics: (3, 3) float64; maps camera coordinates (x right, y down, z forward) to
            continuous pixel coordinates in which pixel centres are at integer + 0.5.
        distortion: coefficients of `model`, empty for rectified images.
        ego_SE3_cam: (4, 4) float64 camera to ego.
        world_SE3_ego: (4, 4) float64 pose of the ego vehicle at the image's own time.
        timestamp: microseconds.
        model: of the lens: `brown` (OpenCV's k1 k2 p1 p2 k3), `rational` (OpenCV's eight), `fisheye`
            (Kannala-Brandt k1 to k4, as OpenCV's fisheye), `mei` (xi k1 k2 p1 p2).
        key: of the image in a `path` that holds many (a bag, a Parquet file), "" for an image file.
    """

    name: str
    path: Path
    size: tuple[int, int]
    intrinsics: Float64
    ego_SE3_cam: Float64
    world_SE3_ego: Float64
    timestamp: int
    distortion: tuple[float, ...] = ()
    model: str = "brown"
    key: str = ""

    def __post_init__(self) -> None:
        check_intrinsics(self.intrinsics)
        check_pose("ego_SE3_cam", self.ego_SE3_cam)
        check_pose("world_SE3_ego", self.world_SE3_ego)
        _check_whole("timestamp", self.timestamp)
        for name, pixels in zip(("width", "height"), self.size, strict=True):
            _check_whole(name, pixels, least=1)
        if not sum(map(abs, self.distortion)) < MAX_DISTORTION:
            raise ValueError(f"distortion is {self.distortion}, expected small numbers")
        check_lens(self.model, self.distortion)

    @property
    def lens(self) -> Lens:
        """What bends its rays: `model` with `distortion`."""
        return lens_of(self.model, tuple(self.distortion))


@dataclass(frozen=True, eq=False)
class Lidar:
    """A further LiDAR of a sweep, whose points are joined to the sweep's.

    Attributes:
        name: of the sensor.
        path, lidar_format, key: its points, as those of a `Sweep`.
        lidar_SE3_sensor: (4, 4) float64 from the coordinates of its file to the LiDAR frame of the sweep, the
            motion between both times included.
        time_offset: seconds from the sweep's time to its own, which its point times count from.
    """

    name: str
    path: Path
    lidar_format: str
    lidar_SE3_sensor: Float64
    key: str = ""
    time_offset: float = 0.0

    def __post_init__(self) -> None:
        check_pose("lidar_SE3_sensor", self.lidar_SE3_sensor)
        if not abs(self.time_offset) < MAX_TIME_OFFSET:
            raise ValueError(f"time_offset is {self.time_offset}, expected seconds below {MAX_TIME_OFFSET:g}")


@dataclass(frozen=True, eq=False)
class Sweep:
    """One LiDAR sweep of a drive: the row of the index.

    Attributes:
        token: unique over the dataset.
        scene: name of the drive that it belongs to.
        timestamp: microseconds.
        is_key_frame: key frames carry cameras and annotations.
        path: LiDAR file; `lidar_format` says how to read it, see `pc3d.data.points`.
        ego_SE3_lidar, world_SE3_ego: (4, 4) float64.
        split: name of the split, e.g. `train`.
        cameras: the images taken with it, empty for a plain sweep.
        boxes: None where the sweep is not annotated, empty where nothing is there.
        lidarseg_path: file of per-point labels, or None.
        sample_token: token of the dataset's sample (key frame) that it belongs to, "" if none.
        key: of the points in a `path` that holds many sweeps (a bag, a Parquet file), else "".
        lidar_SE3_points: (4, 4) float64 from the coordinates of the file to the LiDAR frame, None where they
            are the same (PandaSet's files are in the world, ONCE's have other axes).
        lidars: further LiDARs; their points follow those of `path`.
        motion: (6,) float64 velocity of the ego vehicle (m/s, then rad/s about its axes) in the ego frame at
            `timestamp`, where the points are to be moved to where they were at that time by their own times;
            None where they are already, or are to stay as they are.
        lidarseg_format: how the labels are stored, see `pc3d.data.labels`.
        lidarseg_key: of the labels in a `lidarseg_path` that holds many.
    """

    token: str
    scene: str
    timestamp: int
    is_key_frame: bool
    path: Path
    lidar_format: str
    ego_SE3_lidar: Float64
    world_SE3_ego: Float64
    split: str
    cameras: tuple[Camera, ...] = field(default=())
    boxes: Boxes | None = None
    lidarseg_path: Path | None = None
    sample_token: str = ""
    key: str = ""
    lidar_SE3_points: Float64 | None = None
    lidars: tuple[Lidar, ...] = field(default=())
    motion: Float64 | None = None
    lidarseg_format: str = "uint8"
    lidarseg_key: str = ""

    def __post_init__(self) -> None:
        check_pose("ego_SE3_lidar", self.ego_SE3_lidar)
        check_pose("world_SE3_ego", self.world_SE3_ego)
        _check_whole("timestamp", self.timestamp)
        if self.lidar_SE3_points is not None:
            check_pose("lidar_SE3_points", self.lidar_SE3_points)
        if self.motion is not None:
            _check_shape("motion", self.motion, (6,))
            if not (np.abs(self.motion) < MAX_SPEED).all():
                raise ValueError(f"motion is {self.motion}, expected m/s and rad/s below {MAX_SPEED:g}")
