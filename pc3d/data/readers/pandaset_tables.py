"""The files of one PandaSet sequence: poses, times, cameras and cuboids."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import DataError, fail
from pc3d.data.point_files.pandas_pickle import read_frame
from pc3d.data.readers.column_tables import ColumnTable
from pc3d.data.readers.parts import Parts
from pc3d.data.readers.pose_track import PoseTrack
from pc3d.data.readers.tracks import velocities_of_tracks
from pc3d.data.records import MAX_PIXELS, Boxes, Float64, check_intrinsics
from pc3d.geometry.rigid import make_SE3, quaternion_to_matrix, transform_points

AGAIN = "copy the file again from the data set"
_POSITION, _HEADING = ("x", "y", "z"), ("w", "x", "y", "z")
_EARLIEST, _LATEST = 1e8, 1e11  # seconds: the years 1973 and 5138
_LONGEST_US = 300_000
PICKLES = (".pkl.gz", ".pkl")


@dataclass(frozen=True, eq=False)
class Stamped:
    """The frames of a sensor.

    Attributes:
        poses: (N, 4, 4) world_SE3_sensor by number of the frame.
        times: (N,) int64 microseconds.
    """

    poses: Float64
    times: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.times)

    def track(self) -> PoseTrack:
        """The poses by microseconds."""
        return PoseTrack(self.times, self.poses[:, :3, :3], self.poses[:, :3, 3], longest=_LONGEST_US)


def read_stamped(folder: Path) -> Stamped:
    """`poses.json` and `timestamps.json` of a sensor.

    Raises:
        DataError: one is missing or damaged, or they are of different lengths.
    """
    where = folder / "timestamps.json"
    seconds = read_json(where)
    if not isinstance(seconds, list) or not all(_is_time(value) for value in seconds) or not seconds:
        fail("the times are no list of seconds since 1970", where, AGAIN)
    where = folder / "poses.json"
    rows = read_json(where)
    if not isinstance(rows, list) or len(rows) != len(seconds):
        count = len(rows) if isinstance(rows, list) else "no list of"
        fail(f"there are {count} poses, but {len(seconds)} times", where, AGAIN)
    poses = np.stack([_pose(row, f"{where}, row {n}") for n, row in enumerate(rows)])
    return Stamped(poses, np.array([round(1e6 * value) for value in seconds], dtype=np.int64))


def read_pinhole(path: Path) -> Float64:
    """(3, 3) intrinsics of `intrinsics.json`, with pixel centres as there.

    Raises:
        DataError: the file is missing or damaged.
    """
    values = read_json(path)
    fx, fy, cx, cy = (_number(values, name, MAX_PIXELS, path) for name in ("fx", "fy", "cx", "cy"))
    K = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    try:
        check_intrinsics(K)
    except ValueError as error:
        fail(str(error), path, AGAIN)
    return K


def read_json(path: Path) -> Any:
    """The content of a small JSON file.

    Raises:
        DataError: it is missing, or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        what = " ".join(str(error).split())
        raise DataError(f"file cannot be read: {what}\n  where: {path}\n  remedy: {AGAIN}") from error


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and _EARLIEST < value < _LATEST


def _number(values: Any, name: str, most: float, where: object) -> float:
    value: Any = values.get(name) if isinstance(values, dict) else None
    if type(value) not in (int, float) or not abs(value) < most:
        fail(f"{name!r} is {str(value)[:60]}, expected a number below {most:g}", where, AGAIN)
    return float(value)


def _pose(row: Any, where: str) -> Float64:
    parts = [row.get(name) if isinstance(row, dict) else None for name in ("position", "heading")]
    position = [_number(parts[0], name, 1e8, where) for name in _POSITION]
    heading = np.array([_number(parts[1], name, 2.0, where) for name in _HEADING])
    if abs(float(heading @ heading) - 1) > 0.01:
        fail(f"the heading {heading.tolist()} is no unit quaternion", where, AGAIN)
    return make_SE3(quaternion_to_matrix(heading), position)


def numbered(folder: Path, endings: tuple[str, ...]) -> dict[int, Path]:
    """Files by the number in their name, ascending; of two with one number the first ending counts."""
    found: dict[int, Path] = {}
    for ending in endings:
        for path in folder.glob(f"*{ending}"):
            stem = path.name.removesuffix(ending)
            if stem.isascii() and stem.isdigit() and len(stem) < 7:
                found.setdefault(int(stem), path)
    return dict(sorted(found.items()))


@dataclass(frozen=True, eq=False)
class _Table:
    """The N boxes of a frame."""

    centers: Float64
    sizes: Float64
    yaws: Float64
    names: list[str]
    uuids: list[str]


def _read_cuboids(path: Path, number: int, frames: int, sensor: int) -> _Table:
    if number >= frames:
        fail(f"there are cuboids of frame {number}, but {frames} times", path, AGAIN)
    table = ColumnTable(path, read_frame(path))
    rows = np.isin(table.whole("cuboids.sensor_id", -1, 1), (-1, sensor))
    return _Table(
        centers=table.numbers(*(f"position.{axis}" for axis in "xyz"))[rows],
        # A box of PandaSet looks along its y axis.
        sizes=table.sizes(*(f"dimensions.{axis}" for axis in "yxz"))[rows],
        yaws=table.numbers("yaw", low=-100, high=100, expected="radians")[rows, 0] + np.pi / 2,
        names=[name for name, taken in zip(table.texts("label"), rows, strict=True) if taken],
        uuids=[name for name, taken in zip(table.texts("uuid"), rows, strict=True) if taken],
    )


class Cuboids:
    """The boxes of a sequence, in the world.

    Args:
        files: tables by number of the frame. times: (N,) microseconds of the frames.
        sensor: of objects with a box for each LiDAR the one of this LiDAR is taken.
        parts: that count files which cannot be read; their frames have no boxes.
    """

    def __init__(self, files: dict[int, Path], times: NDArray[np.int64], sensor: int, parts: Parts) -> None:
        self._frames: dict[int, tuple[slice, list[str], list[str]]] = {}
        tables: list[_Table] = []
        seconds: list[float] = []
        for number, path in files.items():
            where = f"{path.parents[2].name}/{path.name}"
            table = parts.read(where, partial(_read_cuboids, path, number, len(times), sensor))
            if table is not None:
                at = slice(len(seconds), len(seconds) + len(table.names))
                self._frames[number] = at, table.names, table.uuids
                seconds += [1e-6 * float(times[number])] * len(table.names)
                tables.append(table)
        self._centers = np.concatenate([np.zeros((0, 3)), *(table.centers for table in tables)])
        self._sizes = np.concatenate([np.zeros((0, 3)), *(table.sizes for table in tables)])
        self._yaws = np.concatenate([np.zeros(0), *(table.yaws for table in tables)])
        tracks = [uuid for table in tables for uuid in table.uuids]
        self._velocities = velocities_of_tracks(tracks, self._centers, np.array(seconds))

    def boxes(self, number: int, lidar_SE3_world: Float64) -> Boxes | None:
        """The boxes of a frame in its LiDAR frame, None where it has no table."""
        if number not in self._frames:
            return None
        rows, names, uuids = self._frames[number]
        rotation = lidar_SE3_world[:3, :3]
        along = np.stack([np.cos(self._yaws[rows]), np.sin(self._yaws[rows]), np.zeros(len(names))], axis=1)
        along = along @ rotation.T
        return Boxes(
            centers=transform_points(lidar_SE3_world, self._centers[rows]),
            sizes=self._sizes[rows],
            yaws=np.arctan2(along[:, 1], along[:, 0]),
            velocities=(self._velocities[rows] @ rotation.T)[:, :2],
            names=tuple(names),
            tracks=tuple(uuids),
            num_lidar_pts=np.full(len(names), -1, dtype=np.int64),
            attributes=("",) * len(names),
        )
