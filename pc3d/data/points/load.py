"""One file of points, or all LiDARs of a sweep, as one array."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import fail
from pc3d.data.points.checks import check_columns
from pc3d.data.points.decoders import MOST_BYTES, REMEDY, Raw, decoder, read_bin
from pc3d.data.points.formats import COLUMNS, Column, PointFormat, point_format
from pc3d.data.points.motion import compensated
from pc3d.data.records import Float32, Float64, Lidar, Sweep

BASE = ("x", "y", "z", "intensity")


@np.errstate(invalid="ignore", over="ignore")  # of bytes that are no numbers: `check_columns` tells
def load_points(
    path: str | Path,
    lidar_format: str,
    token: str = "",
    key: str = "",
    timestamp: int = 0,
    lidar_SE3_points: Float64 | None = None,
) -> Float32:
    """Load the points of one file.

    Args:
        path: LiDAR file.
        lidar_format: see `point_format`.
        token: of the sweep, for the error message.
        key: of the points in a file that holds many sweeps.
        timestamp: of the sweep, microseconds; absolute point times are made relative to it.
        lidar_SE3_points: (4, 4) applied in float64 before anything is rounded.

    Returns:
        (P, C) float32 x y z (metres), intensity in 0..1 (0 where the format has none), then what else the
        format has, in the order of `PointFormat.columns`.

    Raises:
        DataError: unknown format; the file is missing or truncated, or a column holds what it cannot.
    """
    layout = point_format(lidar_format)
    where = f"{path} (sweep {token})" if token else str(path)
    if key:
        where = f"{where}, {key}"
    if _plain(layout) and lidar_SE3_points is None:
        points = _valid(read_bin(Path(path), layout, where).astype(np.float32, copy=False), layout, where)
    else:
        points = _packed(layout, Path(path), key, timestamp, lidar_SE3_points, where)
    return _checked(points, layout, where)


def columns_of(layout: PointFormat) -> tuple[str, ...]:
    """Names of the columns that `load_points` gives."""
    return (*BASE, *(name for name in layout.columns if name not in BASE))


def valid_rows(path: str | Path, lidar_format: str, key: str = "") -> NDArray[np.bool_]:
    """(raw points,) which points of a file `load_points` gives; labels are stored for all of them."""
    layout = point_format(lidar_format)
    raw = decoder(layout.decoder)(Path(path), key, layout)
    return _kept(raw, layout, str(path))


def load_sweep(sweep: Sweep, extra: Sequence[str] = ()) -> Float32:
    """All points of a sweep in its LiDAR frame: those of `sweep.path`, then of `sweep.lidars`.

    Where `sweep.motion` is set, each point is moved to where it was at the sweep's time.

    Args:
        extra: further columns of `COLUMNS`. NaN where a LiDAR has no such column; `lidar` counts the files
            where the format does not say.

    Returns:
        (P, 4 + extra) float32 x y z intensity first.

    Raises:
        DataError: a file is missing or broken; no LiDAR has a column; points without times are to be moved.
    """
    return load_lidars(sweep, extra)[0]


def load_lidars(sweep: Sweep, extra: Sequence[str] = ()) -> tuple[Float32, list[int]]:
    """`load_sweep`, and the number of points of each LiDAR, in the order of the points."""
    wanted = (*BASE, *extra)
    clouds = [
        _own(sweep, wanted),
        *(_further(sweep, lidar, wanted, n + 1) for n, lidar in enumerate(sweep.lidars)),
    ]
    points = clouds[0] if len(clouds) == 1 else np.concatenate(clouds)
    for at, name in enumerate(extra, start=len(BASE)):
        if np.isnan(points[:, at]).all():
            fail(f"the points have no column {name!r}", f"{sweep.path} (sweep {sweep.token})", _there(sweep))
    return points, [len(cloud) for cloud in clouds]


def available(sweep: Sweep) -> tuple[str, ...]:
    """The columns that all LiDARs of a sweep have."""
    formats = [sweep.lidar_format, *(lidar.lidar_format for lidar in sweep.lidars)]
    shared = [set(columns_of(point_format(text))) for text in formats]
    found = set.intersection(*shared) | ({"lidar"} if sweep.lidars else set())
    return tuple(name for name in COLUMNS if name in found)


def _there(sweep: Sweep) -> str:
    return f"the points have {', '.join(available(sweep))}"


def _own(sweep: Sweep, wanted: Sequence[str]) -> Float32:
    points = load_points(
        sweep.path, sweep.lidar_format, sweep.token, sweep.key, sweep.timestamp, sweep.lidar_SE3_points
    )
    layout = point_format(sweep.lidar_format)
    if sweep.motion is not None:
        points = _moved(points, layout, sweep, 0.0)
    return _pick(points, layout, wanted, 0)


def _further(sweep: Sweep, lidar: Lidar, wanted: Sequence[str], number: int) -> Float32:
    stamp = sweep.timestamp + round(1e6 * lidar.time_offset)
    points = load_points(
        lidar.path, lidar.lidar_format, sweep.token, lidar.key, stamp, lidar.lidar_SE3_sensor
    )
    layout = point_format(lidar.lidar_format)
    if "time" in layout.columns:
        points[:, columns_of(layout).index("time")] += np.float32(lidar.time_offset)
    if sweep.motion is not None:
        # `lidar_SE3_sensor` has the motion to the sweep's time from the time that its points count from.
        points = _moved(points, layout, sweep, lidar.time_offset)
    return _pick(points, layout, wanted, number)


def _moved(points: Float32, layout: PointFormat, sweep: Sweep, offset: float) -> Float32:
    if "time" not in layout.columns or sweep.motion is None:
        fail(
            "the points are to be compensated for motion, but have no times",
            f"{sweep.path} (sweep {sweep.token})",
            "build the index again without the compensation, or name the column of times",
        )
    seconds = points[:, columns_of(layout).index("time")].astype(np.float64) - offset
    points[:, :3] = compensated(points[:, :3].astype(np.float64), seconds, sweep.motion, sweep.ego_SE3_lidar)
    return points


def _pick(points: Float32, layout: PointFormat, wanted: Sequence[str], number: int) -> Float32:
    names = columns_of(layout)
    if tuple(wanted) == names:
        return points
    picked = np.full((len(points), len(wanted)), np.nan, dtype=np.float32)
    for at, name in enumerate(wanted):
        if name in names:
            picked[:, at] = points[:, names.index(name)]
        elif name == "lidar":
            picked[:, at] = number
    return picked


def _plain(layout: PointFormat) -> bool:
    """The file is the array: float32, all columns wanted, none but the intensity of another scale."""
    return (
        layout.bare
        and len(layout.columns) == len(layout.layout) > 3
        and columns_of(layout) == layout.columns
        and layout.options in ((), (("drop", "invalid"),))
        and all(c.divisor == 1 and not c.absolute for c in layout.layout if c.name != "intensity")
    )


def _valid(points: Float32, layout: PointFormat, where: str) -> Float32:
    """The points of a plain file that are taken."""
    if not layout.options:
        return points
    # Two passes over whole columns; where all are valid, which is the usual case, nothing is copied.
    x, y, z = points[:, 0], points[:, 1], points[:, 2]
    if np.isfinite(x + y + z).all() and (x * x + y * y + z * z).all():
        return points
    kept = np.isfinite(points[:, :3]).all(axis=1) & (points[:, :3] != 0).any(axis=1)
    if not kept.any():
        fail("the file holds no point", where, REMEDY)
    return points[kept]


def _packed(
    layout: PointFormat, path: Path, key: str, timestamp: int, lidar_SE3_points: Float64 | None, where: str
) -> Float32:
    if path.is_file() and path.stat().st_size > MOST_BYTES and not key:
        fail(f"point file has {path.stat().st_size} bytes, more than any sweep", where, REMEDY)
    raw = decoder(layout.decoder)(path, key, layout)
    return _standard(raw, layout, timestamp, lidar_SE3_points, where)


@np.errstate(invalid="ignore", over="ignore")
def points_of_columns(raw: Raw, layout: PointFormat, timestamp: int, where: str) -> Float32:
    """What `load_points` gives of columns that a decoder gave.

    Raises:
        DataError: a column is missing, or holds what it cannot.
    """
    return _checked(_standard(raw, layout, timestamp, None, where), layout, where)


def _checked(points: Float32, layout: PointFormat, where: str) -> Float32:
    check_columns(points, columns_of(layout), layout, where)
    if not layout.option("intensity"):
        points[:, 3] /= layout.intensity
    return points


def _standard(
    raw: Raw, layout: PointFormat, timestamp: int, lidar_SE3_points: Float64 | None, where: str
) -> Float32:
    if not (kept := _kept(raw, layout, where)).all():
        raw = {name: column[kept] for name, column in raw.items()}
    by_name = {column.name: column for column in layout.layout}
    rows = len(next(iter(raw.values()))) if raw else 0
    if not rows:
        fail("the file holds no point", where, REMEDY)
    xyz = np.stack([_values(raw, by_name[name], timestamp, where) for name in "xyz"], axis=1)
    if lidar_SE3_points is not None:
        xyz = xyz @ lidar_SE3_points[:3, :3].T + lidar_SE3_points[:3, 3]
    names = columns_of(layout)
    points = np.zeros((rows, len(names)), dtype=np.float32)
    points[:, :3] = np.clip(xyz, -1e30, 1e30)
    for at, name in enumerate(names[3:], start=3):
        if name == "intensity" and name in by_name:
            values = _source(raw, by_name[name], where).astype(np.float64)
            squashed = layout.option("intensity") == "tanh"
            points[:, at] = np.tanh(values / layout.intensity) if squashed else values
        elif name in by_name:
            points[:, at] = _values(raw, by_name[name], timestamp, where)
    return points


def _source(raw: Raw, column: Column, where: str) -> NDArray:
    if column.source not in raw:
        fail(
            f"the file has no column {column.source!r}",
            where,
            f"it has {', '.join(raw)}: name one of them in the LiDAR format",
        )
    values = raw[column.source]
    if values.dtype.kind not in "biuf":
        fail(f"the column {column.source!r} holds {values.dtype}, not numbers", where, "name another column")
    return values


def _values(raw: Raw, column: Column, timestamp: int, where: str) -> Float64:
    """A column in its standard unit."""
    values = _source(raw, column, where).astype(np.float64)
    if column.divisor != 1.0:
        values = values / column.divisor
    return values - timestamp / 1e6 if column.absolute else values


def _kept(raw: Raw, layout: PointFormat, where: str) -> NDArray[np.bool_]:
    """(raw points,) which rows are points that are taken."""
    first = next(iter(raw.values()))
    kept = np.ones(len(first), dtype=np.bool_)
    if condition := layout.option("where"):
        name, _, value = condition.partition(":")
        kept &= _source(raw, Column(name, name), where) == float(value)
    if layout.option("drop") == "invalid":
        by_name = {column.name: column for column in layout.layout}
        xyz = np.stack([_source(raw, by_name[name], where) for name in "xyz"], axis=1)
        kept &= np.isfinite(xyz).all(axis=1) & (xyz != 0).any(axis=1)
    return kept
