"""The tables of one Argoverse 2 log: poses, mounts, cameras and annotations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import fail
from pc3d.data.point_files.feather import decode
from pc3d.data.readers.column_tables import ColumnTable
from pc3d.data.readers.nearest import nearest
from pc3d.data.readers.parts import Parts
from pc3d.data.readers.pose_track import PoseTrack
from pc3d.data.readers.tracks import rows_at, velocities_of_tracks
from pc3d.data.records import MAX_PIXELS, Boxes, Camera, Float64
from pc3d.geometry.camera import shift_pixel_centres
from pc3d.geometry.rigid import invert_SE3, make_SE3, transform_points, yaw_of

LIDARS = ("up_lidar", "down_lidar")
_POSES, _MOUNTS = "city_SE3_egovehicle.feather", "calibration/egovehicle_SE3_sensor.feather"
NEEDED = (_POSES, _MOUNTS)
"""Files that a log cannot do without."""

AXLE_SE3_EGO = make_SE3(np.eye(3), np.array([0.0, 0.0, -0.33]))
"""The stated ego frame has its origin at the rear axle, 0.32 m above the ground of the map in the median of a
real log; that of pc3d is on the road."""

_QUATERNION, _TRANSLATION = ("qw", "qx", "qy", "qz"), ("tx_m", "ty_m", "tz_m")
_ALL_TIMES = (1, 1 << 62)
_LONGEST_NS = 200_000_000
MOST_APART_NS = 26_000_000
"""Half a period of the cameras (20 Hz), and a little."""


@dataclass(frozen=True, eq=False)
class Log:
    """What the tables of a log say.

    Attributes:
        poses: city_SE3_axle by nanoseconds.
        axle_SE3_lidar: (4, 4) the axes of the vehicle in the middle between both LiDARs.
        cameras: those that have images, without a time.
        images: ascending times (ns) of the images of each camera.
        annotations: None where the log has none.
        left_out: cameras that have images, but no calibration.
    """

    poses: PoseTrack
    axle_SE3_lidar: Float64
    cameras: tuple[Camera, ...]
    images: dict[str, NDArray[np.int64]]
    annotations: Annotations | None
    left_out: tuple[str, ...]

    @classmethod
    def read(cls, folder: Path, cameras: Parts, annotations: Parts) -> Log:
        """Read the tables of the log in `folder`.

        Args:
            cameras, annotations: that count tables of these which are damaged; the log has none then.

        Raises:
            DataError: another one is missing or damaged.
        """
        poses = _table(folder / _POSES)
        times = poses.whole("timestamp_ns", *_ALL_TIMES)
        if not len(times):
            fail("there is no pose", poses.path, "copy the file again from the data set")
        track = PoseTrack(
            times, poses.rotations(*_QUATERNION), poses.numbers(*_TRANSLATION), longest=_LONGEST_NS
        )
        mounts = _mounts(folder / _MOUNTS)
        rig = cameras.read(folder.name, partial(_cameras, folder, mounts)) or ((), {}, ())
        path = folder / "annotations.feather"
        read = partial(Annotations.read, path, track)
        boxes = annotations.read(folder.name, read) if path.is_file() else None
        return cls(track, _between_lidars(mounts, folder), rig[0], rig[1], boxes, rig[2])

    @property
    def ego_SE3_lidar(self) -> Float64:
        """(4, 4) the LiDAR frame above the road."""
        return invert_SE3(AXLE_SE3_EGO) @ self.axle_SE3_lidar

    @property
    def lidar_SE3_axle(self) -> Float64:
        """(4, 4) from the coordinates of points and boxes in the files to the LiDAR frame."""
        return invert_SE3(self.axle_SE3_lidar)

    def ego_pose(self, time: int) -> Float64 | None:
        """(4, 4) city_SE3_ego at a time (ns), None where none is stated near it."""
        pose = self.poses.at(time)
        return None if pose is None else pose @ AXLE_SE3_EGO

    def images_at(self, time: int) -> list[tuple[Camera, int]]:
        """The cameras that took an image near a time (ns), and when."""
        found = []
        for camera in self.cameras:
            times = self.images[camera.name]
            at = nearest(times, time, MOST_APART_NS)
            if at is not None:
                found.append((camera, int(times[at])))
        return found


class Annotations:
    """The boxes of a log, in the frame of the rear axle at the time of their sweep."""

    def __init__(self, table: ColumnTable, poses: PoseTrack) -> None:
        self._times = table.whole("timestamp_ns", *_ALL_TIMES)
        self._centers = table.numbers(*_TRANSLATION)
        self._yaws = yaw_of(table.rotations(*_QUATERNION))
        self._sizes = table.sizes("length_m", "width_m", "height_m")
        self._names, self._tracks = table.texts("category"), table.texts("track_uuid")
        self._points = table.whole("num_interior_pts", -1, 1 << 40)
        self._velocities = self._over_ground(poses)

    @classmethod
    def read(cls, path: Path, poses: PoseTrack) -> Annotations:
        """Read a table of annotations; `poses` are city_SE3_axle."""
        return cls(_table(path), poses)

    def _over_ground(self, poses: PoseTrack) -> Float64:
        """(A, 2) m/s over ground, along the axes of the vehicle at each sweep."""
        city_SE3_axle = {time: poses.at(time) for time in np.unique(self._times).tolist()}
        in_city = np.full((len(self._times), 3), np.nan)
        rotations = np.full((len(self._times), 3, 3), np.nan)
        for n, time in enumerate(self._times.tolist()):
            if (pose := city_SE3_axle[time]) is not None:
                in_city[n] = pose[:3, :3] @ self._centers[n] + pose[:3, 3]
                rotations[n] = pose[:3, :3]
        velocity = velocities_of_tracks(self._tracks, in_city, 1e-9 * self._times)
        return np.einsum("aji,aj->ai", rotations, velocity)[:, :2]

    def boxes(self, time: int, lidar_SE3_axle: Float64) -> Boxes | None:
        """The boxes at a time (ns); the axes of the LiDAR frame are those of the vehicle. None before the
        first and after the last: such a table is cut, and says nothing of an empty street."""
        rows = rows_at(self._times, time)
        if rows is None:
            return None
        return Boxes(
            centers=transform_points(lidar_SE3_axle, self._centers[rows]),
            sizes=self._sizes[rows],
            yaws=self._yaws[rows],
            velocities=self._velocities[rows],
            names=tuple(self._names[row] for row in rows),
            tracks=tuple(self._tracks[row] for row in rows),
            num_lidar_pts=self._points[rows],
            attributes=("",) * len(rows),
        )


def _table(path: Path) -> ColumnTable:
    return ColumnTable(path, decode(path))


def _mounts(path: Path) -> dict[str, Float64]:
    """axle_SE3_sensor by name."""
    table = _table(path)
    poses = zip(table.rotations(*_QUATERNION), table.numbers(*_TRANSLATION), strict=True)
    return {
        name: make_SE3(rotation, translation)
        for name, (rotation, translation) in zip(table.texts("sensor_name"), poses, strict=True)
    }


def _between_lidars(mounts: dict[str, Float64], folder: Path) -> Float64:
    there = [mounts[name][:3, 3] for name in LIDARS if name in mounts]
    if not there:
        fail(f"there is no mount of {' or '.join(LIDARS)}", folder / _MOUNTS, "copy the table again")
    return make_SE3(np.eye(3), np.mean(there, axis=0))


def _cameras(
    folder: Path, mounts: dict[str, Float64]
) -> tuple[tuple[Camera, ...], dict[str, NDArray[np.int64]], tuple[str, ...]]:
    """Cameras and times of their images, by name, and the names of those that have no calibration."""
    folders = [path for path in sorted((folder / "sensors" / "cameras").glob("*")) if path.is_dir()]
    images = {path.name: image_times(path) for path in folders}
    images = {name: times for name, times in images.items() if len(times)}
    path = folder / "calibration" / "intrinsics.feather"
    if not images or not path.is_file():
        return (), {}, tuple(images)
    table = _table(path)
    focal = table.numbers("fx_px", "fy_px", low=1e-3, high=MAX_PIXELS, expected="pixels")
    centre = table.numbers("cx_px", "cy_px", low=-MAX_PIXELS, high=MAX_PIXELS, expected="pixels")
    sizes = zip(table.whole("width_px", 1, 99_999), table.whole("height_px", 1, 99_999), strict=True)
    cameras = []
    for name, (fx, fy), (cx, cy), size in zip(table.texts("sensor_name"), focal, centre, sizes, strict=True):
        if name in images and name in mounts:
            K = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
            where = folder / "sensors" / "cameras" / name
            width, height = map(int, size)
            cameras.append(
                Camera(
                    name,
                    where,
                    (width, height),
                    shift_pixel_centres(K),
                    invert_SE3(AXLE_SE3_EGO) @ mounts[name],
                    np.eye(4),
                    0,
                )
            )
    known = {camera.name for camera in cameras}
    return tuple(sorted(cameras, key=lambda camera: camera.name)), images, tuple(images.keys() - known)


def image_times(folder: Path) -> NDArray[np.int64]:
    """Ascending nanoseconds of the images of a camera, from the names of their files."""
    stems = [path.stem for path in folder.glob("*.jpg")]
    return np.array(sorted(int(stem) for stem in stems if is_time(stem)), dtype=np.int64)


def is_time(stem: str) -> bool:
    """Whether the name of a file, without its ending, is a time in nanoseconds."""
    return stem.isascii() and stem.isdigit() and 15 <= len(stem) <= 19 and int(stem) < _ALL_TIMES[1]
