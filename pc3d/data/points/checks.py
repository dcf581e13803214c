"""What columns of points cannot hold: bytes that are read as other numbers than they are show here."""

from __future__ import annotations

import numpy as np

from pc3d.data.errors import fail
from pc3d.data.points.decoders import REMEDY
from pc3d.data.points.formats import PointFormat
from pc3d.data.records import Float32, Float64

FARTHEST = 2_000.0
"""Metres in x, y, z: LiDARs of vehicles reach some 500 m. Map coordinates (1e5 and more), centimetres and
millimetres, and bytes that are read as other numbers than they are, lie beyond."""
RINGS = 256
MOST_SECONDS = 10.0
_WHOLE = ("ring", "return", "lidar")
_BOUNDS = {
    **dict.fromkeys("xyz", (-FARTHEST, FARTHEST)),
    "ring": (0.0, RINGS - 1.0),
    "time": (-MOST_SECONDS, MOST_SECONDS),
    "elongation": (0.0, 1e6),
    "return": (0.0, 255.0),
    "lidar": (0.0, 255.0),
}


def check_columns(points: Float32, names: tuple[str, ...], layout: PointFormat, where: str) -> None:
    """Refuse points whose columns hold what they cannot.

    Args:
        points: (P, C) of the columns `names`, intensity as in the file.

    Raises:
        DataError: says which column, its range and what is expected.
    """
    # Not-a-number and infinity come through here, and columns are read 100 times as fast as rows of five.
    columns = np.ascontiguousarray(points.T)
    low, high = columns.min(axis=1), columns.max(axis=1)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        _not_finite(points, where)
    found = _implausible(columns, names, low.astype(np.float64), high.astype(np.float64), layout)
    if found:
        fail(
            f"{found}: these are no points of the format {layout.text!r}",
            where,
            _expected(layout),
        )


def _expected(layout: PointFormat) -> str:
    kind = f"{layout.option('dtype') or 'float32'} " if layout.bare else f"{layout.decoder} with "
    return (
        f"it has {kind}{' '.join(layout.columns)}, intensity 0 to {layout.intensity:g}: the file is "
        "damaged, or of another format (columns, scale, float64, big endian)"
    )


def _not_finite(points: Float32, where: str) -> None:
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    fail(f"{len(bad)} of {len(points)} points are not finite (first: point {bad[0]})", where, REMEDY)


def _implausible(
    columns: Float32, names: tuple[str, ...], low: Float64, high: Float64, layout: PointFormat
) -> str:
    """What a column holds that it cannot, with its range; empty if nothing."""
    full = 1.0 if layout.option("intensity") else layout.intensity
    bounds = {**_BOUNDS, "intensity": (0.0, full)}
    for at, (name, least, most) in enumerate(zip(names, low, high, strict=True)):
        lower, upper = bounds[name]
        if least < lower or most > upper:
            unit = _unit(least, most) if name in "xyz" else ""
            return f"{name} is {least:.6g} to {most:.6g}{unit}, expected {lower:g} to {upper:g}"
        if name in _WHOLE and _fractions(columns[at]):
            return f"{name} is {least:.6g} to {most:.6g}, but not in whole numbers"
        if name == "intensity" and full > 1 and 0 < most <= 1 and _fractions(columns[at]):
            return f"intensity is {least:.3g} to {most:.3g} in fractions, expected 0 to {full:g}"
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
