"""Per-point classes of a sweep: decode the file's raw ids, then look them up in the class set.

How a file is read is a text of the index row, `DECODER` or `DECODER:ARGUMENT`: `uint8`, `uint32` (the low 16
bits, as SemanticKITTI; the high ones are instances), `pandas:class`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.classes import ClassSet
from pc3d.data.errors import DataError, did_you_mean, fail
from pc3d.data.points.formats import point_format
from pc3d.data.points.load import valid_rows
from pc3d.data.records import Sweep

LabelDecoder = Callable[[Path, str, str], NDArray]
"""(path, key, argument) to (P,) raw ids, whole numbers."""

UNLABELLED = int(np.iinfo(np.int64).min)
"""Raw id of the points of further LiDARs where the label file has those of the first only: ignored."""
PLAIN = {"uint8": "<u1", "uint16": "<u2", "uint32": "<u4", "int32": "<i4", "int64": "<i8"}
"""Files of one number for each point, without a header."""
LABEL_DECODERS: dict[str, str] = {
    "npy": "pc3d.data.labels.decoders:decode_npy",
    "pandas": "pc3d.data.labels.decoders:decode_pandas",
    "column": "pc3d.data.labels.decoders:decode_column",
    "waymo": "pc3d.data.readers.waymo_points:decode_labels",
}


def load_labels(sweep: Sweep, num_points: int, classes: ClassSet) -> NDArray[np.int64]:
    """Per-point classes of a sweep, in the order of `load_sweep`.

    Raises:
        DataError: the sweep has no labels; missing or broken file; length or an id that does not fit.
    """
    raw = load_raw_labels(sweep, num_points)
    return _looked_up(raw, classes, f"{sweep.lidarseg_path} (sweep {sweep.token})")


def load_raw_labels(sweep: Sweep, num_points: int) -> NDArray[np.int64]:
    """(P,) raw ids of a sweep's label file, in the order of `load_sweep`.

    A file may hold labels of all points, or of the first LiDAR only: the others are `UNLABELLED`. It may
    leave out the points of a scan that are not valid, or have labels for them too.

    Raises:
        DataError: the sweep has no labels; missing or broken file; length that does not fit.
    """
    if sweep.lidarseg_path is None:
        fail(
            "the sweep has no point labels",
            f"sweep {sweep.token}",
            "add the label files and build the index again",
        )
    where = f"{sweep.lidarseg_path} (sweep {sweep.token})"
    valid = partial(valid_rows, sweep.path, sweep.lidar_format, sweep.key)
    one = not sweep.lidars and not drops(sweep.lidar_format)
    counts = _Counts(num_points, None if one else valid, further=bool(sweep.lidars))
    place = sweep.lidarseg_path, sweep.lidarseg_key, sweep.lidarseg_format
    raw = _kept(*place, counts, where)
    missing = num_points - len(raw)  # of further LiDARs
    return np.append(raw, np.full(missing, UNLABELLED)) if missing else raw


def drops(lidar_format: str) -> bool:
    """Whether points of a file are left out of the sweep."""
    layout = point_format(lidar_format)
    return bool(layout.option("drop") or layout.option("where"))


def load_label_file(
    path: str | Path,
    num_points: int,
    classes: ClassSet,
    token: str = "",
    label_format: str = "uint8",
    key: str = "",
) -> NDArray[np.int64]:
    """Per-point classes of a label file of all points of its sweep.

    Args:
        num_points: points of the sweep.
        token: of the sweep, for the error message.
        label_format: see above. key: of the labels in a file that holds many.

    Returns:
        (num_points,) int64 class, -1 ignored.

    Raises:
        DataError: unknown format; missing file; length or an id that does not fit.
    """
    where = f"{path} (sweep {token})" if token else str(path)
    raw = _kept(Path(path), key, label_format, _Counts(num_points, None), where)
    return _looked_up(raw, classes, where)


class _Counts:
    """Of how many points a label file may be.

    Args:
        points: of the sweep, all LiDARs together.
        valid: gives which points of the first LiDAR's file are in the sweep; called only where the label file
            is not of all points of the sweep, as it reads that file. None where all are.
        further: the sweep has further LiDARs, whose points need no labels.
    """

    def __init__(
        self, points: int, valid: Callable[[], NDArray[np.bool_]] | None, further: bool = False
    ) -> None:
        self.points, self.valid, self.further = points, valid, further

    @cached_property
    def kept(self) -> NDArray[np.bool_]:
        """(raw points,) which are in the sweep."""
        return np.ones(self.points, dtype=np.bool_) if self.valid is None else self.valid()

    def fits(self, labels: int) -> bool:
        """Whether so many labels are of the sweep, of its first LiDAR, or of the file of that one."""
        if labels == self.points:
            return True
        first = int(self.kept.sum())
        whole = first < self.points if self.further else first == self.points
        return whole and labels in (first, len(self.kept))


def _kept(path: Path, key: str, label_format: str, counts: _Counts, where: str) -> NDArray[np.int64]:
    """(P,) raw ids of the points that are in the sweep, or of those of its first LiDAR."""
    raw = _raw(path, key, label_format, counts, where)
    if not counts.fits(len(raw)):
        fail(
            f"label file has {len(raw)} labels, the sweep has {counts.points} points",
            where,
            "copy labels and sweep again from the same release of the data set",
        )
    if len(raw) == counts.points or len(raw) != len(counts.kept):
        return raw
    return raw[counts.kept]


def _raw(path: Path, key: str, label_format: str, counts: _Counts, where: str) -> NDArray[np.int64]:
    """(P,) raw ids of the file."""
    name, _, argument = label_format.partition(":")
    if name in PLAIN:
        raw = _plain(path, np.dtype(PLAIN[name]), counts, where)
        return (raw & 0xFFFF).astype(np.int64) if name == "uint32" else raw.astype(np.int64)
    if name not in LABEL_DECODERS:
        known = [*PLAIN, *LABEL_DECODERS]
        fail(
            f"unknown label format {label_format!r}{did_you_mean(name, known)}",
            where,
            f"use one of {', '.join(known)}",
        )
    module, _, function = LABEL_DECODERS[name].partition(":")
    raw = getattr(import_module(module), function)(path, key, argument)
    if raw.ndim != 1 or raw.dtype.kind not in "iu":
        fail(
            f"labels are {raw.dtype} of shape {raw.shape}, expected a whole number for each point",
            where,
            "write one raw id for each point",
        )
    return raw.astype(np.int64)


def _plain(path: Path, dtype: np.dtype, counts: _Counts, where: str) -> NDArray:
    points = counts.points
    try:
        size = path.stat().st_size
        if size % dtype.itemsize or not counts.fits(size // dtype.itemsize):
            width = size // points if points and size % points == 0 else 0
            count = f"{size // dtype.itemsize} labels" if size % dtype.itemsize == 0 else f"{size} bytes"
            wide = width not in (0, dtype.itemsize)
            has = (
                f"{width} bytes for each point, not the {dtype.itemsize} of {dtype.name} labels"
                if wide
                else count
            )
            fail(
                f"label file has {has}, the sweep has {points} points",
                where,
                "say the type of the labels, or write them so"
                if wide
                else "copy labels and sweep again from the same release of the data set",
            )
        return np.fromfile(path, dtype=dtype)
    except OSError as error:
        raise DataError(
            f"label file cannot be read: {error}\n  where: {where}\n  remedy: copy it again"
        ) from error


def look_up(raw: NDArray[np.int64], classes: ClassSet | None) -> NDArray[np.int64]:
    """(P,) class of each of (P,) raw ids: -1 ignored, -2 of none that the classes know."""
    lut = np.append(np.zeros(0, np.int64) if classes is None else classes.lut, -2)
    found = lut[np.where((raw >= 0) & (raw < len(lut) - 1), raw, len(lut) - 1)]
    return np.where(raw == UNLABELLED, -1, found)


def _looked_up(raw: NDArray[np.int64], classes: ClassSet, where: str) -> NDArray[np.int64]:
    found = look_up(raw, classes)
    if (found == -2).any():
        unknown = np.unique(raw[found == -2])
        fail(
            f"label {int(unknown[0])} is none of the {len(classes.labels)} categories of {classes.name!r}"
            + (f" ({len(unknown)} such ids)" if len(unknown) > 1 else ""),
            where,
            f"give it a class, or `{unknown[0]}: ignore`, in the class file and build the index again",
        )
    return found
