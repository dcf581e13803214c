"""Point files of the supported formats, all giving x y z intensity (0..1)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pc3d.data.errors import DataError, fail
from pc3d.data.records import Float32, Float64

_REMEDY = (
    "copy the file again from the data set; to go on without it, remove its sweep and build the index again"
)
FARTHEST = 2_000.0
"""Metres in x, y, z: LiDARs of vehicles reach some 500 m. Map coordinates (1e5 and more), centimetres and
millimetres, and bytes that are read as other numbers than they are, lie beyond."""
MOST_BYTES = 1 << 30
"""A sweep of the densest LiDAR has some 20 MB."""
RINGS = 256


@dataclass(frozen=True)
class PointFormat:
    """Headerless little-endian float32 points: x y z (m), intensity, and perhaps the ring.

    Attributes:
        intensity: what stands for full intensity: the range is 0 to this.
        ring: a fifth column, the number of the laser, 0 to 255.
    """

    intensity: float
    ring: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        return ("x", "y", "z", "intensity", *(["ring"] if self.ring else []))


FORMATS: dict[str, PointFormat] = {"nuscenes": PointFormat(255.0, ring=True), "kitti": PointFormat(1.0)}


def load_points(path: str | Path, lidar_format: str, token: str = "") -> Float32:
    """Load one sweep.

    Args:
        path: LiDAR file.
        lidar_format: key of `FORMATS`.
        token: of the sweep, for the error message.

    Returns:
        (P, C) float32 x y z (metres, LiDAR frame), intensity in 0..1, then what the format has.

    Raises:
        DataError: unknown format; the file is missing or truncated, or a column holds what it cannot.
    """
    if lidar_format not in FORMATS:
        fail(f"unknown LiDAR format {lidar_format!r}", path, f"use one of {sorted(FORMATS)}, or add one")
    layout = FORMATS[lidar_format]
    where = f"{path} (sweep {token})" if token else str(path)
    points = _read(Path(path), len(layout.columns), where)
    # Not-a-number and infinity come through here, and columns are read 100 times as fast as rows of five.
    columns = np.ascontiguousarray(points.T)
    low, high = columns.min(axis=1), columns.max(axis=1)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        _not_finite(points, where)
    found = _implausible(columns, low.astype(np.float64), high.astype(np.float64), layout)
    if found:
        fail(
            f"{found}: these are no points of the format {lidar_format!r}",
            where,
            f"it has float32 {' '.join(layout.columns)}, intensity 0 to {layout.intensity:g}: the file is "
            "damaged, or of another format (columns, scale, float64, big endian)",
        )
    points[:, 3] /= layout.intensity
    return points


def _read(path: Path, columns: int, where: str) -> Float32:
    """(P, columns) of the file, P > 0."""
    try:
        size = path.stat().st_size
        if not size or size % (4 * columns) or size > MOST_BYTES:
            fail(
                f"point file has {size} bytes, which is not a whole number of {4 * columns}-byte points of "
                "one sweep",
                where,
                _REMEDY,
            )
        return np.fromfile(path, dtype="<f4").reshape(-1, columns).astype(np.float32, copy=False)
    except FileNotFoundError:
        fail(
            "point file is missing",
            where,
            "check the data set root (`root=` moves it) or copy the file again",
        )
    except OSError as error:
        raise DataError(
            f"point file cannot be read: {error}\n  where: {where}\n  remedy: {_REMEDY}"
        ) from error


def _not_finite(points: Float32, where: str) -> None:
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    fail(f"{len(bad)} of {len(points)} points are not finite (first: point {bad[0]})", where, _REMEDY)


def _implausible(columns: Float32, low: Float64, high: Float64, layout: PointFormat) -> str:
    """What a column holds that it cannot, with its range; empty if nothing."""
    bounds = [(-FARTHEST, FARTHEST)] * 3 + [(0.0, layout.intensity), (0.0, RINGS - 1.0)]
    for name, least, most, (lower, upper) in zip(layout.columns, low, high, bounds, strict=False):
        if least < lower or most > upper:
            unit = _unit(least, most) if name in "xyz" else ""
            return f"{name} is {least:.6g} to {most:.6g}{unit}, expected {lower:g} to {upper:g}"
    if layout.ring and _fractions(columns[4]):
        return f"ring is {low[4]:.6g} to {high[4]:.6g}, but not in whole numbers"
    if layout.intensity > 1 and 0 < high[3] <= 1 and _fractions(columns[3]):
        return f"intensity is {low[3]:.3g} to {high[3]:.3g} in fractions, expected 0 to {layout.intensity:g}"
    if columns.shape[1] > 1 and (high[:3] - low[:3]).max() < 1e-3:
        place = ", ".join(f"{round(float(value), 3) + 0.0:g}" for value in low[:3])
        return f"all {columns.shape[1]} points lie at {place}"
    return ""


def _unit(least: float, most: float) -> str:
    """The unit in which points around the sensor reach as far as LiDARs do, 20 to 500 m."""
    reach = min(-least, most)
    for name, ticks in (("millimetres", 1e3), ("centimetres", 1e2)):
        if 20 * ticks < reach < 500 * ticks:
            return f", which looks like {name}"
    return ""


def _fractions(column: Float32) -> bool:
    return bool((column != np.rint(column)).any())
