"""Poses of a KITTI raw drive from its OXTS unit (GPS and inertial navigation)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pc3d.data.errors import fail
from pc3d.data.readers.text_files import read_lines
from pc3d.data.records import Float64
from pc3d.geometry.rigid import make_SE3, yaw_matrix

EARTH_RADIUS = 6378137.0

_REMEDY = "extract the drive again"
_LIMITS = {"latitude": 90, "longitude": 180.1, "altitude": 1e5, "roll": 6.3, "pitch": 6.3, "yaw": 6.3}


def read_oxts(drive: Path, stems: list[str]) -> list[Float64]:
    """(4, 4) float64 world_SE3_imu of each frame of a drive.

    The position is the Mercator projection of latitude and longitude at the scale of the first frame's
    latitude, and the altitude; the rotation Rz(yaw) Ry(pitch) Rx(roll) (Geiger et al., IJRR 2013).

    Args:
        drive: folder with `oxts/data/`.
        stems: names of the frames, e.g. `0000000000`.

    Raises:
        DataError: no OXTS data; a file is missing or broken.
    """
    if not (drive / "oxts" / "data").is_dir():
        fail(
            "the drive has no oxts/data",
            drive,
            "extract its OXTS archive too, or estimate the poses with --poses kiss-icp",
        )
    rows = np.array([_read(drive / "oxts" / "data" / f"{stem}.txt") for stem in stems])
    scale = float(np.cos(np.deg2rad(rows[0, 0])))
    return [_pose(row, scale) for row in rows]


def _read(path: Path) -> list[float]:
    """Latitude, longitude (degrees), altitude (m), roll, pitch, yaw (rad)."""
    words = " ".join(read_lines(path, "OXTS file", _REMEDY)).split()[:6]
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        fail(f"OXTS file is broken: {error}", path, _REMEDY)
    if len(values) < 6:
        fail(f"OXTS file has {len(values)} of its first 6 numbers", path, _REMEDY)
    for value, (name, limit) in zip(values, _LIMITS.items(), strict=True):
        if not abs(value) < limit:
            fail(f"OXTS file has the {name} {value}, expected less than {limit:g}", path, _REMEDY)
    return values


def _pose(row: Float64, scale: float) -> Float64:
    latitude, longitude, altitude, roll, pitch, yaw = row
    east = scale * EARTH_RADIUS * np.deg2rad(longitude)
    north = scale * EARTH_RADIUS * np.log(np.tan(np.deg2rad(90.0 + latitude) / 2))
    return make_SE3(yaw_matrix(yaw) @ _pitch(pitch) @ _roll(roll), [east, north, altitude])


def _pitch(angle: float) -> Float64:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def _roll(angle: float) -> Float64:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
