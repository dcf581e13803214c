"""Point files of the supported formats, one loader each, all giving x y z intensity (0..1)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pc3d.data.errors import DataError, fail
from pc3d.data.records import Float32

_REMEDY = (
    "copy the file again from the data set; to go on without it, remove its sweep and build the index again"
)


def _load_bin(path: Path, columns: int) -> Float32:
    """(P, columns) float32 of a headerless little-endian file."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        fail(
            "point file is missing", path, "check the data set root (`root=` moves it) or copy the file again"
        )
    except OSError as error:
        raise DataError(
            f"point file cannot be read: {error}\n  where: {path}\n  remedy: {_REMEDY}"
        ) from error
    width = 4 * columns
    if not raw or len(raw) % width:
        fail(
            f"point file has {len(raw)} bytes, which is not a whole number of {width}-byte points",
            path,
            _REMEDY,
        )
    return np.frombuffer(raw, dtype="<f4").reshape(-1, columns).astype(np.float32)


def _load_nuscenes(path: Path) -> Float32:
    """x y z intensity ring; intensity is stored as 0..255."""
    points = _load_bin(path, 5)
    points[:, 3] /= 255.0
    return points


def _load_kitti(path: Path) -> Float32:
    """x y z intensity, the intensity in 0..1 already."""
    return _load_bin(path, 4)


LOADERS: dict[str, Callable[[Path], Float32]] = {"nuscenes": _load_nuscenes, "kitti": _load_kitti}


def load_points(path: str | Path, lidar_format: str, token: str = "") -> Float32:
    """Load one sweep.

    Args:
        path: LiDAR file.
        lidar_format: key of `LOADERS`.
        token: of the sweep, for the error message.

    Returns:
        (P, C) float32 x y z (metres, LiDAR frame), intensity in 0..1, then what the format has.

    Raises:
        DataError: unknown format; the file is missing, truncated or holds non-finite values.
    """
    if lidar_format not in LOADERS:
        fail(f"unknown LiDAR format {lidar_format!r}", path, f"use one of {sorted(LOADERS)}, or add a loader")
    where = f"{path} (sweep {token})" if token else str(path)
    try:
        points = LOADERS[lidar_format](Path(path))
    except DataError as error:
        raise DataError(str(error).replace(str(path), where)) from error
    bad = ~np.isfinite(points).all(axis=1)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        fail(
            f"{int(bad.sum())} of {len(points)} points are not finite (first: point {first})", where, _REMEDY
        )
    return points
