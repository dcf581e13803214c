"""The small components of a Waymo segment, which belong together by segment, time and sensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import fail
from pc3d.data.readers.parquet_rows import open_file, places, read_columns
from pc3d.data.records import Float64, check_pose

LASERS = {"TOP": 1, "FRONT": 2, "SIDE_LEFT": 3, "SIDE_RIGHT": 4, "REAR": 5}
CAMERAS = {"FRONT": 1, "FRONT_LEFT": 2, "FRONT_RIGHT": 3, "SIDE_LEFT": 4, "SIDE_RIGHT": 5}
TOP = LASERS["TOP"]

TIME, LASER, CAMERA = "key.frame_timestamp_micros", "key.laser_name", "key.camera_name"
AGAIN = "copy the component again from the data set"


def component(path: Path, tag: str) -> Path:
    """The file of another component of the same segment."""
    return path.parents[1] / tag / path.name


def times_of(columns: Mapping[str, NDArray], path: Path) -> NDArray[np.int64]:
    """(N,) microseconds of the frames of rows."""
    times = columns[TIME]
    if times.dtype.kind not in "iu" or ((times < 0) | (times > 1 << 60)).any():
        fail(f"column {TIME!r} holds no microseconds", path, AGAIN)
    return times.astype(np.int64)


def sensors_of(columns: Mapping[str, NDArray], name: str, known: Mapping[str, int], path: Path) -> list[int]:
    """Numbers of the sensors of rows; some files have their names instead."""
    numbers = []
    for value in columns[name].tolist():
        number = known.get(value, 0) if isinstance(value, str) else value
        if number not in known.values():
            fail(f"column {name!r} is {str(value)[:40]!r}, expected one of {known}", path, AGAIN)
        numbers.append(int(number))
    return numbers


def transforms(values: NDArray, name: str, path: Path) -> Float64:
    """(N, 4, 4) of rows of 16 numbers, row after row of the matrix."""
    if values.ndim != 2 or values.shape[1] != 16 * (len(values) > 0) or values.dtype.kind != "f":
        fail(f"column {name!r} holds {values.dtype} of shape {values.shape}, expected (N, 16)", path, AGAIN)
    poses = values.reshape(-1, 4, 4).astype(np.float64)
    for n, pose in enumerate(poses):
        try:
            check_pose(name, pose)
        except ValueError as error:
            fail(str(error), f"{path}, row {n}", AGAIN)
    return poses


Rows = dict[tuple[int, int], tuple[int, int]]


def sensor_rows(path: Path, name: str = LASER, known: Mapping[str, int] | None = None) -> Rows:
    """(row group, row in it) by (microseconds, sensor) of a component with a row for each.

    Raises:
        DataError: the file is missing or damaged; two rows are of one time and sensor.
    """
    status = path.stat() if path.is_file() else None
    stamp = (status.st_mtime_ns, status.st_size) if status else None
    return _rows(path, name, tuple((known or LASERS).items()), stamp)


@lru_cache(maxsize=64)
def _rows(path: Path, name: str, known: tuple[tuple[str, int], ...], stamp: object) -> Rows:
    columns = read_columns(path, [TIME, name])
    rows: Rows = {}
    keys = zip(times_of(columns, path).tolist(), sensors_of(columns, name, dict(known), path), strict=True)
    for key, place in zip(keys, places(path), strict=True):
        if rows.setdefault(key, place) != place:
            fail(f"two rows are of time {key[0]} and sensor {key[1]}", path, AGAIN)
    return rows


def poses_of(path: Path) -> dict[int, Float64]:
    """world_SE3_vehicle by microseconds, of the component vehicle_pose."""
    name = "[VehiclePoseComponent].world_from_vehicle.transform"
    columns = read_columns(path, [TIME, name])
    return dict(zip(times_of(columns, path).tolist(), transforms(columns[name], name, path), strict=True))


def has_columns(path: Path, names: Sequence[str]) -> bool:
    """Whether a file has all of some columns."""
    there = open_file(path).schema_arrow.names
    return all(name in there for name in names)
