"""What reads the bytes of a point file, by name: (path, key, format) to raw columns by their own names."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import DataError, did_you_mean, fail
from pc3d.data.points.formats import PointFormat

Raw = dict[str, NDArray]
Decoder = Callable[[Path, str, PointFormat], Raw]

MOST_BYTES = 1 << 30
"""A sweep of the densest LiDAR has some 20 MB."""
REMEDY = (
    "copy the file again from the data set; to go on without it, remove its sweep and build the index again"
)

DECODERS: dict[str, str] = {
    "bin": "pc3d.data.points.decoders:decode_bin",
    "npy": "pc3d.data.point_files.npy:decode",
    "pcd": "pc3d.data.point_files.pcd:decode",
    "ply": "pc3d.data.point_files.ply:decode",
    "las": "pc3d.data.point_files.las:decode",
    "csv": "pc3d.data.point_files.csv:decode",
    "feather": "pc3d.data.point_files.feather:decode",
    "pandas": "pc3d.data.point_files.pandas_pickle:decode",
    "spin": "pc3d.data.readers.kitti_360_points:decode",
    "waymo": "pc3d.data.readers.waymo_points:decode",
    "pointcloud2": "pc3d.data.readers.bag_points:decode",
}


def decoder(name: str) -> Decoder:
    """The decoder of that name.

    Raises:
        DataError: there is none.
    """
    if name not in DECODERS:
        fail(
            f"unknown point decoder {name!r}{did_you_mean(name, DECODERS)}",
            "lidar_format",
            f"use one of {', '.join(DECODERS)}",
        )
    module, _, function = DECODERS[name].partition(":")
    return getattr(import_module(module), function)


def decode_bin(path: Path, key: str, layout: PointFormat) -> Raw:
    """Points without a header: numbers of one type, as many for each point as the format has columns."""
    table = read_bin(path, layout, str(path))
    return {name: table[:, at] for at, name in enumerate(layout.sources) if name != "_"}


def read_bin(path: Path, layout: PointFormat, where: str) -> NDArray:
    """(P, columns) of such a file, P > 0.

    Raises:
        DataError: it is missing, cannot be read, or holds no whole number of points.
    """
    dtype = np.dtype(layout.option("dtype") or "<f4")
    columns = len(layout.layout)
    width = dtype.itemsize * columns
    try:
        size = path.stat().st_size
        whole = size - size % width
        if not whole or size > MOST_BYTES or (whole < size and layout.option("tail") != "drop"):
            fail(
                f"point file has {size} bytes, which is not a whole number of {width}-byte points of "
                "one sweep",
                where,
                REMEDY,
            )
        return np.fromfile(path, dtype=dtype, count=whole // dtype.itemsize).reshape(-1, columns)
    except FileNotFoundError:
        fail(
            "point file is missing",
            where,
            "check the data set root (`root=` moves it) or copy the file again",
        )
    except OSError as error:
        raise DataError(
            f"point file cannot be read: {error}\n  where: {where}\n  remedy: {REMEDY}"
        ) from error
