"""Poses of a scene: a table with names (CSV), TUM's eight numbers a line, or KITTI's twelve."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from pc3d.data.errors import fail
from pc3d.data.readers.folder.angles import UNITS as ANGLES
from pc3d.data.readers.folder.angles import in_radians
from pc3d.data.readers.folder.description import SECONDS, PosesEntry
from pc3d.data.readers.folder.stamps import unit_by_digits
from pc3d.data.readers.folder.transforms import euler_matrix
from pc3d.data.readers.pose_track import PoseTrack
from pc3d.data.readers.text_files import read_lines, read_rows
from pc3d.data.records import Float64
from pc3d.geometry.rigid import quaternion_to_matrix

LONGEST = 1_000_000
"""Microseconds between two poses over which none is interpolated."""
LATEST = 10**16
"""Microseconds since 1970 in the year 2286: no drive is later."""
POSE_FILES = ("poses.csv", "poses.txt", "poses.tum")
"""What the file of poses is called where no calibration names it."""
_UPRIGHT = 0.5
"""Least z of the vehicle's z axis in a world with z up: a slope of 60 degrees."""
_ANGLES = ("roll", "pitch", "yaw")
_TIMES = ("time", "stamp", "timestamp", "t")
_NAMES = {
    "time": (*_TIMES, *(f"{name}_{unit}" for name in _TIMES for unit in SECONDS)),
    "x": ("x", "tx", "px", "position.x", "x_m", "tx_m"),
    "y": ("y", "ty", "py", "position.y", "y_m", "ty_m"),
    "z": ("z", "tz", "pz", "position.z", "z_m", "tz_m"),
    "qx": ("qx", "orientation.x", "rotation.x"),
    "qy": ("qy", "orientation.y", "rotation.y"),
    "qz": ("qz", "orientation.z", "rotation.z"),
    "qw": ("qw", "orientation.w", "rotation.w"),
    **{name: (name, *(f"{name}_{unit}" for unit in ANGLES)) for name in _ANGLES},
}
_REMEDY = "write a CSV with the names time, x, y, z, qx, qy, qz, qw; or TUM's or KITTI's lines"


def read_poses(path: Path, entry: PosesEntry, scans: Sequence[int], stamp_unit: str | None) -> PoseTrack:
    """The poses of a file, world_SE3_(the frame that they are of), by microseconds.

    Args:
        scans: times of the scans, microseconds, ascending: KITTI's lines have none of their own.
        stamp_unit: of the file names, which the poses have too where nothing else is said and they then fall
            into the time of the scans.

    Raises:
        DataError: the file is missing or broken; names or numbers are missing; quaternions of no length 1.
    """
    lines = read_lines(path, "poses", "add the file, or take `poses` out of the calibration")
    rows = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not rows:
        fail("there is no pose", path, _REMEDY)
    kind = entry.format or _kind(rows[0])
    if kind == "kitti":
        return _kitti(path, scans)
    times, columns, named = _tum(path, lines) if kind == "tum" else _csv(path, rows, entry.angles)
    unit = entry.unit or named or _unit(times, stamp_unit, scans, path)
    stamps = _microseconds(times, unit, path)
    return PoseTrack(stamps, _rotations(columns, path), _column(columns, ("x", "y", "z")), LONGEST)


def _kind(row: str) -> str:
    words = row.replace(",", " ").split()
    if any(c.isalpha() and c not in "eE" for c in row):
        return "csv"
    if "," in row:
        return "csv"
    return "kitti" if len(words) in (12, 16) else "tum"


def _kitti(path: Path, scans: Sequence[int]) -> PoseTrack:
    poses = read_rows(path, "poses", 12, _REMEDY).reshape(-1, 3, 4)
    if len(poses) != len(scans):
        fail(
            f"there are {len(poses)} poses for {len(scans)} scans",
            path,
            "give a line for each scan, or stamps",
        )
    times = np.array(scans, dtype=np.int64)
    return PoseTrack(times, _proper(poses[:, :, :3], path), poses[:, :, 3], LONGEST)


Table = tuple[list[Fraction], dict[str, Float64], "str | None"]
"""Times, columns by name, and the unit of times that a name says."""


def _tum(path: Path, lines: Sequence[str]) -> Table:
    rows = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return *_parsed(path, rows, ["time", "x", "y", "z", "qx", "qy", "qz", "qw"]), None


def _csv(path: Path, rows: Sequence[str], angles: str | None) -> Table:
    separator = next((mark for mark in ",;\t" if mark in rows[0]), None)
    names = [name.strip().strip('"').lower() for name in rows[0].split(separator)]
    known = {alias: standard for standard, aliases in _NAMES.items() for alias in aliases}
    order = [known.get(name, f"_{n}") for n, name in enumerate(names)]
    for name in _NAMES:
        if order.count(name) > 1:
            twins = ", ".join(given for given, meant in zip(names, order, strict=True) if meant == name)
            fail(f"columns of one meaning: {twins}", path, "leave one, or rename the other")
    has = set(order)
    if "heading" in names and not has & {"qw", "yaw"}:
        fail(
            "a heading may turn clockwise from north",
            path,
            "write yaw, counter-clockwise from the world's x axis (90 degrees less a compass heading)",
        )
    turned = {"qx", "qy", "qz", "qw"} <= has or "yaw" in has
    if not {"time", "x", "y", "z"} <= has or not turned:
        fail(f"the first line names {', '.join(names)}", path, _REMEDY)
    unit = names[order.index("time")].rpartition("_")[2]
    times, columns = _parsed(path, [row.split(separator) for row in rows[1:]], order)
    if "qw" not in has:
        said = [ANGLES.get(given.rpartition("_")[2], "") for given in names if known.get(given) in _ANGLES]
        columns |= dict(zip(_ANGLES, in_radians(columns, said, angles, path).T, strict=True))
    return times, columns, unit if unit in SECONDS else None


def _parsed(path: Path, rows: Sequence[Sequence[str]], names: Sequence[str]) -> tuple[list[Fraction], dict]:
    times, table = [], np.empty((len(rows), len(names)))
    if not rows:
        fail("there is no pose", path, _REMEDY)
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            fail(f"pose {number} has {len(row)} entries, expected {len(names)}", path, _REMEDY)
        try:
            times.append(Fraction(row[names.index("time")].strip()))
            wanted = [
                float(word) if not name.startswith("_") else 0.0
                for word, name in zip(row, names, strict=True)
            ]
        except ValueError as error:
            fail(f"pose {number} is broken: {error}", path, _REMEDY)
        table[number - 1] = wanted
    if not np.isfinite(table).all():
        bad = int(np.flatnonzero(~np.isfinite(table).all(axis=1))[0]) + 1
        fail(f"pose {bad} holds a number that is not finite", path, _REMEDY)
    return times, {name: table[:, n] for n, name in enumerate(names)}


def _unit(times: Sequence[Fraction], stamp_unit: str | None, scans: Sequence[int], path: Path) -> str:
    """The unit of file names, or that of the digits: in which poses are from the time of the scans."""
    units = [u for u in (stamp_unit, unit_by_digits([abs(time) for time in times])) if u is not None]
    first, last = min(times), max(times)
    for unit in units:
        ticks = Fraction(SECONDS[unit]) / 1_000_000
        if scans and first <= scans[-1] * ticks and last >= scans[0] * ticks:
            return unit
    if not units:
        fail(
            f"the unit of the times of poses is not known ({float(times[0]):.10g}, ...)",
            path,
            "say it in the calibration: poses: {file: ..., unit: s}",
        )
    return units[0]


def _microseconds(times: Sequence[Fraction], unit: str, path: Path) -> np.ndarray:
    stamps = [round(time * 1_000_000 / Fraction(SECONDS[unit])) for time in times]
    if max(map(abs, stamps)) > LATEST:
        fail(
            f"poses have times to {float(max(times)):.10g}, in {unit} after the year 2286",
            path,
            "say their unit in the calibration: poses: {file: ..., unit: us}",
        )
    return np.array(stamps, dtype=np.int64)


def is_level(track: PoseTrack, world_SE3_file: Float64, ego_SE3_posed: Float64) -> bool:
    """Whether the ego vehicle stands upright along a track, z of the world up.

    Args:
        track: world_SE3_posed in the file's world. world_SE3_file: (4, 4) that turns that one.
        ego_SE3_posed: (4, 4) mount of what the poses are of.
    """
    up = world_SE3_file[2, :3] @ track.rotations @ ego_SE3_posed[2, :3]
    return bool(np.median(up) > _UPRIGHT)


def _column(columns: dict[str, Float64], names: Sequence[str]) -> Float64:
    return np.stack([columns[name] for name in names], axis=1)


def _rotations(columns: dict[str, Float64], path: Path) -> Float64:
    if "qw" not in columns:
        angles = _column(columns, _ANGLES)
        return np.stack([euler_matrix(row) for row in angles])
    quaternions = _column(columns, ("qw", "qx", "qy", "qz"))
    lengths = np.linalg.norm(quaternions, axis=1)
    bad = np.flatnonzero(np.abs(lengths - 1) > 1e-2)
    if len(bad):
        fail(
            f"the quaternion of pose {bad[0] + 1} has the length {lengths[bad[0]]:.4g}, not 1", path, _REMEDY
        )
    return np.stack([quaternion_to_matrix(row) for row in quaternions])


def _proper(rotations: Float64, path: Path) -> Float64:
    off = np.abs(np.swapaxes(rotations, 1, 2) @ rotations - np.eye(3)).max(axis=(1, 2))
    if (bad := np.flatnonzero(off > 1e-2)).size or (np.linalg.det(rotations) < 0).any():
        fail(f"line {int(bad[0]) + 1 if bad.size else 1} holds no rotation", path, _REMEDY)
    U, _, Vt = np.linalg.svd(rotations)
    return U @ Vt
