"""Rows of Parquet files, one after the other: a row may have megabytes, and a row group a whole drive.

Parquet has no way to one row: all rows of its row group that stand before it are decoded, too. So cursors
stay open between calls, and what asks for rows in their order reads each once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import did_you_mean, fail
from pc3d.data.point_files.contents import decoding

if TYPE_CHECKING:
    import pyarrow as pa

_AGAIN = "copy the file again from the data set"
_BUFFER = 1 << 20
_MOST_ROWS = 10_000_000
_KEPT = 6


def open_file(path: Path, columns: Sequence[str] = ()) -> Any:
    """A `pyarrow.parquet.ParquetFile` that reads in pieces; it must have the `columns`.

    Raises:
        DataError: the file is missing or damaged, or lacks a column.
    """
    from pyarrow import parquet

    with decoding(path, "Parquet"):
        file = parquet.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)
        there = file.schema_arrow.names
        for name in columns:
            if name not in there:
                fail(f"there is no column {name!r}{did_you_mean(name, there)}", path, _AGAIN)
        if file.metadata.num_rows > _MOST_ROWS:
            fail(f"its header says {file.metadata.num_rows} rows", path, _AGAIN)
        return file


def read_columns(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> dict[str, NDArray]:
    """Whole columns by name: numbers and texts (N,), lists of one length (N, length); null is NaN or None.

    Args:
        optional: columns that may be missing, and are then not in the result.

    Raises:
        DataError: the file is missing or damaged, or lacks a column; lists of different lengths.
    """
    file = open_file(path, columns)
    wanted = [*columns, *(name for name in optional if name in file.schema_arrow.names)]
    with decoding(path, "Parquet"):
        table = file.read(columns=wanted, use_threads=False)
        return {name: _array(table.column(name).combine_chunks(), name, path) for name in wanted}


def _array(column: pa.Array, name: str, path: Path) -> NDArray:
    import pyarrow as pa

    if pa.types.is_nested(column.type):
        if not len(column):
            return np.zeros((0, 0))
        values = column.flatten().to_numpy(zero_copy_only=False)
        lengths = {len(item) if item is not None else -1 for item in column.to_pylist()}
        if len(lengths) != 1 or -1 in lengths:
            fail(f"column {name!r} holds lists of different lengths, or none", path, _AGAIN)
        return values.reshape(len(column), -1)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return np.array(column.to_pylist(), dtype=object)
    return column.to_numpy(zero_copy_only=False)


def places(path: Path) -> list[tuple[int, int]]:
    """(row group, row in it) of each row of a file."""
    metadata = open_file(path).metadata
    counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    return [(group, row) for group, count in enumerate(counts) for row in range(count)]


class RowCursor:
    """Reads rows of some columns; forward within a row group costs each row once.

    The last few rows are kept: those of one frame are asked for several times, and in any order.
    """

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self._path, self._columns = path, columns
        self._file = open_file(path, columns)
        self._group, self._next = -1, 0
        self._rows: Iterator[pa.RecordBatch] = iter(())
        self._kept: dict[tuple[int, int], pa.RecordBatch] = {}

    def row(self, group: int, at: int) -> pa.RecordBatch:
        """One row, as a batch.

        Raises:
            DataError: the file is damaged, or has no such row.
        """
        with decoding(self._path, "Parquet"):
            if (group, at) in self._kept:
                return self._kept[group, at]
            if group != self._group or at < self._next:
                self._start(group)
            while self._next <= at:
                self._read(group, at)
            return self._kept[group, at]

    def _start(self, group: int) -> None:
        if not 0 <= group < self._file.metadata.num_row_groups:
            fail(f"there is no row group {group}", self._path, "build the index again")
        self._rows = self._file.iter_batches(
            batch_size=1, row_groups=[group], columns=list(self._columns), use_threads=False
        )
        self._group, self._next = group, 0

    def _read(self, group: int, at: int) -> None:
        row = next(self._rows, None)
        if row is None:
            self._group = -1
            fail(f"row group {group} has no row {at}", self._path, "build the index again")
        self._kept[group, self._next] = row
        self._next += 1
        if len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]


def cursor(path: Path, columns: tuple[str, ...], lane: int = 0) -> RowCursor:
    """The open cursor of a file in this process; `lane` makes another, for rows that are apart."""
    status = path.stat() if path.is_file() else None
    stamp = (status.st_mtime_ns, status.st_size) if status else None
    return _cursor(path, columns, lane, stamp, os.getpid())


@lru_cache(maxsize=12)
def _cursor(path: Path, columns: tuple[str, ...], lane: int, stamp: object, process: int) -> RowCursor:
    return RowCursor(path, columns)


def numbers(row: pa.RecordBatch, name: str) -> NDArray | None:
    """The list of a column of a row; None where it is null."""
    column = row.column(row.schema.get_field_index(name))
    return None if column.null_count else column.flatten().to_numpy(zero_copy_only=False)


def image_key(group: int, at: int, column: str) -> str:
    """The key of an image in a Parquet file, for `open_bytes`."""
    return f"{group},{at},{column}"


def image_bytes(path: Path, key: str) -> bytes:
    """The bytes of the cell `ROW GROUP,ROW,COLUMN`.

    Raises:
        DataError: the file is missing or damaged; there is no such cell, or no bytes in it.
    """
    group, _, rest = key.partition(",")
    at, _, column = rest.partition(",")
    if not (group.isdigit() and at.isdigit() and column):
        fail(f"the key {key!r} is no ROW GROUP,ROW,COLUMN", path, "build the index again")
    row = cursor(path, (column,)).row(int(group), int(at))
    value = row.column(0)[0].as_py()
    if not isinstance(value, bytes):
        fail(f"column {column!r} holds no bytes there", f"{path}, {key}", _AGAIN)
    return value
