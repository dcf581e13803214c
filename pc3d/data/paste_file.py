"""The folder of a database of objects to paste: `objects.npz` (boxes, and where the points of each start) and
`points.bin` (float32 points of all of them)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.array_file import load_arrays
from pc3d.data.errors import DataError, fail
from pc3d.data.records import Boxes, Float32

OBJECTS, POINTS = "objects.npz", "points.bin"
TRACK_PREFIX = "pasted:"
ARRAYS = ("centers", "sizes", "yaws", "velocities", "num_lidar_pts")
TEXTS = ("names", "tracks", "attributes")


def read_objects(folder: Path) -> tuple[Boxes, Float32, dict[str, NDArray]]:
    """The boxes, the points (P, 3 + features; memory-mapped), and the arrays of `objects.npz`.

    Raises:
        DataError: none is there, or it is broken.
    """
    remedy = "make one: pc3d objects INDEX --out FOLDER"
    if not (folder / OBJECTS).is_file():
        fail("there is no database of objects to paste", folder, remedy)
    try:
        arrays = load_arrays(folder / OBJECTS)
        boxes = _boxes_of(arrays)
        shape = _points_shape(arrays, len(boxes))
        if (folder / POINTS).stat().st_size != 4 * math.prod(shape):
            raise ValueError(f"{POINTS} does not hold {shape[0]} points of {shape[1]} columns")
        return boxes, np.memmap(folder / POINTS, dtype="<f4", mode="r", shape=shape), arrays
    except (OSError, TypeError, ValueError, LookupError) as error:
        raise DataError(
            f"database of objects is broken: {error}\n  where: {folder}\n  remedy: {remedy}"
        ) from error


def described(parts: list[Boxes], counts: list[int]) -> dict[str, NDArray]:
    """The boxes of all objects as arrays, and where the points of each start."""
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS}
    texts = {
        name: np.array([text for part in parts for text in getattr(part, name)], dtype=np.str_)
        for name in TEXTS
    }
    texts["tracks"] = np.char.add(TRACK_PREFIX, texts["tracks"])
    arrays["num_lidar_pts"] = np.array(counts, dtype=np.int64)
    return {**arrays, **texts, "starts": np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])}


def _points_shape(arrays: Mapping[str, NDArray], count: int) -> tuple[int, int]:
    """Rows and columns of the points of `count` objects, as `starts` and `features` have them."""
    starts, checksums = arrays["starts"], arrays.get("checksums", np.zeros(count))
    whole = starts.dtype == np.int64 and starts.shape == (count + 1,) and checksums.shape == (count,)
    if not whole or starts[0] != 0 or (np.diff(starts) < 0).any():
        raise ValueError("`starts` and `checksums` are not those of its boxes")
    if arrays["sweeps"].shape or not all(
        np.isfinite(arrays[name]).all() for name in ("centers", "sizes", "yaws")
    ):
        raise ValueError("`sweeps` is no number, or boxes are not finite")
    return int(starts[-1]), 3 + len(arrays["features"])


def _boxes_of(arrays: Mapping[str, NDArray]) -> Boxes:
    values: dict[str, Any] = {name: arrays[name] for name in ARRAYS}
    values |= {name: tuple(arrays[name].tolist()) for name in TEXTS}
    return Boxes(**values)
