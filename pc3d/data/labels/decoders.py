"""Raw ids of points out of array files and tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.array_file import load_arrays
from pc3d.data.errors import DataError, fail

_COPY = "copy the file again from the data set"


def decode_npy(path: Path, key: str, argument: str) -> NDArray:
    """A `.npy` of one whole number for each point, or the array `argument` of an `.npz`.

    Of uint32 the low 16 bits count, as in files of uint32 without a header: the high ones are instances.
    """
    try:
        if path.suffix == ".npz":
            arrays = load_arrays(path)
            if argument not in arrays:
                fail(f"the archive has no array {argument!r}", path, f"it has {', '.join(arrays)}")
            return _categories(arrays[argument])
        # Mapped first: a header that says more than the file holds is found before memory is taken.
        return _categories(np.array(np.load(path, mmap_mode="r", allow_pickle=False)))
    except DataError:
        raise
    except Exception as error:  # of a damaged file: of many kinds
        what = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"label file cannot be read: {what}\n  where: {path}\n  remedy: {_COPY}") from error


def _categories(ids: NDArray) -> NDArray:
    ids = ids.reshape(-1)
    return ids & 0xFFFF if ids.dtype == np.dtype(np.uint32) else ids


def decode_pandas(path: Path, key: str, argument: str) -> NDArray:
    """The column `argument` of a pickled pandas frame."""
    return _column(path, key, "pandas", argument)


def decode_column(path: Path, key: str, argument: str) -> NDArray:
    """The column of a file of points, as `DECODER/COLUMN`, e.g. `las/classification`."""
    name, _, column = argument.partition("/")
    return _column(path, key, name, column)


def _column(path: Path, key: str, name: str, column: str) -> NDArray:
    from pc3d.data.points.decoders import decoder
    from pc3d.data.points.formats import point_format

    columns = decoder(name)(path, key, point_format(f"{name}:x,y,z"))
    if column not in columns:
        fail(f"the file has no column {column!r}", path, f"it has {', '.join(columns)}")
    ids = np.asarray(columns[column])
    if ids.dtype.kind == "f" and np.isfinite(ids).all() and (ids == np.rint(ids)).all():
        ids = ids.astype(np.int64)
    return ids
