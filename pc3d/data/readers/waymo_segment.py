"""What a Waymo segment says besides its points: poses, cameras and boxes by time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import fail
from pc3d.data.readers.column_tables import ColumnTable
from pc3d.data.readers.parquet_rows import image_key, places, read_columns
from pc3d.data.readers.tracks import rows_at
from pc3d.data.readers.waymo_files import (
    AGAIN,
    CAMERA,
    CAMERAS,
    TIME,
    component,
    sensors_of,
    times_of,
    transforms,
)
from pc3d.data.records import MAX_PIXELS, Boxes, Camera, Float64
from pc3d.geometry.rigid import make_SE3, transform_points

KINDS = ("unknown", "vehicle", "pedestrian", "sign", "cyclist")
_SENSOR_R_CAM = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""A camera's frame is stated with x forward, y left, z up."""
_IMAGE, _CALIBRATION, _BOX = (
    "[CameraImageComponent]",
    "[CameraCalibrationComponent]",
    "[LiDARBoxComponent]",
)
_BYTES = f"{_IMAGE}.image"


@dataclass(frozen=True, eq=False)
class Images:
    """The cameras of each frame, by microseconds."""

    by_time: dict[int, tuple[Camera, ...]]

    @classmethod
    def read(cls, lidar: Path) -> Images:
        """The images of the segment with the component `lidar`; none where a component of them is missing.

        An image has the pose of the vehicle that is stated with it. That its rows were taken one after the
        other (rolling shutter) is left out.
        """
        path = component(lidar, "camera_image")
        calibration = component(lidar, "camera_calibration")
        if not path.is_file() or not calibration.is_file():
            return cls({})
        cameras = _cameras(calibration)
        pose, time = f"{_IMAGE}.pose.transform", f"{_IMAGE}.pose_timestamp"
        columns = read_columns(path, [TIME, CAMERA, pose], [time])
        frames = times_of(columns, path).tolist()
        taken = _taken(columns.get(time), frames, path)
        poses = transforms(columns[pose], pose, path)
        by_time: dict[int, list[Camera]] = {}
        for n, (number, place) in enumerate(
            zip(sensors_of(columns, CAMERA, CAMERAS, path), places(path), strict=True)
        ):
            if number in cameras:
                key = image_key(*place, _BYTES)
                image = replace(
                    cameras[number], path=path, key=key, timestamp=taken[n], world_SE3_ego=poses[n]
                )
                by_time.setdefault(frames[n], []).append(image)
        return cls({frame: tuple(sorted(found, key=lambda c: c.name)) for frame, found in by_time.items()})


def _taken(seconds: NDArray | None, frames: list[int], path: Path) -> list[int]:
    """Microseconds of the poses of images, those of their frames where they are not stated."""
    if seconds is None:
        return frames
    if seconds.dtype.kind != "f" or not (np.abs(seconds - 1e-6 * np.array(frames)) < 10).all():
        fail("pose_timestamp holds no seconds near the time of its frame", path, AGAIN)
    return [round(1e6 * value) for value in seconds.tolist()]


def _cameras(path: Path) -> dict[int, Camera]:
    """Cameras by number, without a time."""
    parts = [f"{_CALIBRATION}.intrinsic.{name}" for name in ("f_u", "f_v", "c_u", "c_v")]
    lens = [f"{_CALIBRATION}.intrinsic.{name}" for name in ("k1", "k2", "p1", "p2", "k3")]
    extrinsic = f"{_CALIBRATION}.extrinsic.transform"
    size = [f"{_CALIBRATION}.{name}" for name in ("width", "height")]
    columns = read_columns(path, [CAMERA, extrinsic, *parts, *lens, *size])
    table = ColumnTable(path, columns)
    pinholes = np.hstack(
        [
            table.numbers(*parts[:2], low=1e-3, high=MAX_PIXELS, expected="pixels"),
            table.numbers(*parts[2:], low=-MAX_PIXELS, high=MAX_PIXELS, expected="pixels"),
        ]
    )
    coefficients = table.numbers(*lens, low=-1e5, high=1e5, expected="a coefficient")
    widths, heights = (table.whole(name, 1, 99_999) for name in size)
    mounts = transforms(columns[extrinsic], extrinsic, path)
    name_of = {number: name for name, number in CAMERAS.items()}
    cameras = {}
    for n, number in enumerate(sensors_of(columns, CAMERA, CAMERAS, path)):
        fx, fy, cx, cy = pinholes[n]
        cameras[number] = Camera(
            name=name_of[number],
            path=path,
            size=(int(widths[n]), int(heights[n])),
            # Pixel coordinates start at the left edge of the first pixel, as here.
            intrinsics=np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]),
            ego_SE3_cam=mounts[n] @ make_SE3(_SENSOR_R_CAM, np.zeros(3)),
            world_SE3_ego=np.eye(4),
            timestamp=0,
            distortion=tuple(coefficients[n].tolist()),
        )
    return cameras


class LidarBoxes:
    """The component lidar_box of a segment.

    Args:
        top: boxes say how many points of the LiDAR on the roof they hold (else: of all).
    """

    def __init__(self, path: Path, top: bool = False) -> None:
        box = f"{_BOX}.box"
        center, size = ([f"{box}.{part}.{axis}" for axis in "xyz"] for part in ("center", "size"))
        speed = [f"{_BOX}.speed.{axis}" for axis in "xyz"]
        heading, kind = f"{box}.heading", f"{_BOX}.type"
        points = f"{_BOX}.num_{'top_' * top}lidar_points_in_box"
        ids = "key.laser_object_id"
        columns = read_columns(path, [TIME, ids, *center, *size, heading, kind], [*speed, points])
        table = ColumnTable(path, columns)
        self._times = times_of(columns, path)
        self._centers, self._sizes = table.numbers(*center), table.sizes(*size)
        self._yaws = table.numbers(heading, low=-100, high=100, expected="radians")[:, 0]
        self._kinds, self._tracks = table.whole(kind, 0, len(KINDS) - 1), table.texts(ids)
        unknown = np.full((len(self._times), 3), np.nan)
        self._speeds = unknown
        if all(name in columns for name in speed):
            self._speeds = np.stack([_known(columns[name]) for name in speed], axis=1)
        counts = _known(columns[points]) if points in columns else unknown[:, 0]
        self._points = np.where(counts >= 0, np.nan_to_num(counts), -1).astype(np.int64)

    def boxes(self, time: int, world_SE3_ego: Float64, lidar_SE3_ego: Float64) -> Boxes | None:
        """The boxes of a frame, None before the first and after the last of the file, which is cut.

        The LiDAR frame has the axes of the vehicle. Speeds are of the world.
        """
        rows = rows_at(self._times, time)
        if rows is None:
            return None
        return Boxes(
            centers=transform_points(lidar_SE3_ego, self._centers[rows]),
            sizes=self._sizes[rows],
            yaws=self._yaws[rows],
            velocities=(self._speeds[rows] @ world_SE3_ego[:3, :3])[:, :2],
            names=tuple(KINDS[kind] for kind in self._kinds[rows]),
            tracks=tuple(self._tracks[row] for row in rows),
            num_lidar_pts=self._points[rows],
            attributes=("",) * len(rows),
        )


def _known(values: NDArray) -> Float64:
    """Numbers as float64, NaN where one is missing, infinite or absurd."""
    numbers = np.array([np.nan if value is None else value for value in values.tolist()], dtype=np.float64)
    return np.where(np.abs(numbers) < 1e6, numbers, np.nan)
