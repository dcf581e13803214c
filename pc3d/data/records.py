"""Records of a drive: what the readers make, the index stores and the dataset loads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]


def _check_shape(name: str, array: NDArray, shape: tuple[int | None, ...]) -> None:
    """Raise ValueError unless `array` has `shape` (None stands for any length)."""
    fits = array.ndim == len(shape) and all(
        want is None or want == got for want, got in zip(shape, array.shape, strict=False)
    )
    if not fits:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")


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
        distortion: OpenCV coefficients (k1, k2, p1, p2, k3), empty for rectified images.
        ego_SE3_cam: (4, 4) float64 camera to ego.
        world_SE3_ego: (4, 4) float64 pose of the ego vehicle at the image's own time.
        timestamp: microseconds.
    """

    name: str
    path: Path
    size: tuple[int, int]
    intrinsics: Float64
    ego_SE3_cam: Float64
    world_SE3_ego: Float64
    timestamp: int
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check_shape("intrinsics", self.intrinsics, (3, 3))
        _check_shape("ego_SE3_cam", self.ego_SE3_cam, (4, 4))
        _check_shape("world_SE3_ego", self.world_SE3_ego, (4, 4))


@dataclass(frozen=True, eq=False)
class Sweep:
    """One LiDAR sweep of a drive: the row of the index.

    Attributes:
        token: unique over the dataset.
        scene: name of the drive that it belongs to.
        timestamp: microseconds.
        is_key_frame: key frames carry cameras and annotations.
        path: LiDAR file; `lidar_format` says how to read it (`nuscenes`, `kitti`, ...).
        ego_SE3_lidar, world_SE3_ego: (4, 4) float64.
        split: name of the split, e.g. `train`.
        cameras: the images taken with it, empty for a plain sweep.
        boxes: None where the sweep is not annotated, empty where nothing is there.
        lidarseg_path: file of per-point labels, or None.
        sample_token: token of the dataset's sample (key frame) that it belongs to, "" if none.
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

    def __post_init__(self) -> None:
        _check_shape("ego_SE3_lidar", self.ego_SE3_lidar, (4, 4))
        _check_shape("world_SE3_ego", self.world_SE3_ego, (4, 4))
