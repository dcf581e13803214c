"""Pickled data frames of pandas, plain or gzipped, without pandas and without running what a pickle says."""

from __future__ import annotations

import gzip
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import fail
from pc3d.data.point_files.contents import MOST_BYTES, Raw, Types, broken, decoding, read_whole
from pc3d.data.point_files.pickled import Made, Name, NotAllowed, read_pickle

_FRAMES = {("pandas.core.frame", "DataFrame"), ("pandas", "DataFrame")}
_MANAGERS = {("pandas.core.internals.managers", "BlockManager"), ("pandas.core.internals", "BlockManager")}
_NEW_INDEX = {("pandas.core.indexes.base", "_new_Index")}
_INDICES = {
    *(("pandas.core.indexes.base", "Index"), ("pandas", "Index")),
    *(("pandas.core.indexes.range", "RangeIndex"), ("pandas", "RangeIndex")),
    ("pandas.core.indexes.numeric", "Int64Index"),
}
_BLOCKS = {("pandas._libs.internals", "_unpickle_block"), ("pandas.core.internals.blocks", "new_block")}
_NEW_ARRAY = {(f"{core}.multiarray", "_reconstruct") for core in ("numpy.core", "numpy._core")}
_FROM_BUFFER = {(f"{core}.numeric", "_frombuffer") for core in ("numpy.core", "numpy._core")}
_SCALARS = {(f"{core}.multiarray", "scalar") for core in ("numpy.core", "numpy._core")}
_DTYPES = {("numpy", "dtype")}
_ENCODE = {("_codecs", "encode")}
_SLICES = {("builtins", "slice"), ("__builtin__", "slice")}
ALLOWED = frozenset().union(
    *(_FRAMES, _MANAGERS, _NEW_INDEX, _INDICES, _BLOCKS, {("numpy", "ndarray")}),
    *(_NEW_ARRAY, _FROM_BUFFER, _SCALARS, _DTYPES, _ENCODE, _SLICES),
)
"""All that a frame of numbers and texts names; whatever else a pickle names is refused."""

_OTHERWISE = "write the frame as Parquet or Feather: frame.to_parquet(...)"
_TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def read_frame(path: Path) -> Raw:
    """Columns of a pickled data frame by name.

    Numbers as stored, time stamps as float64 seconds since 1970, other columns as objects: texts, numbers or
    None.

    Raises:
        DataError: the file is missing or damaged, holds no data frame, or names anything but what frames of
            numbers and texts need; nothing of that is run.
    """
    with decoding(path, "pickle"):
        content = _unpacked(read_whole(path), path)
        try:
            return _frame(read_pickle(content, ALLOWED))
        except NotAllowed as error:
            fail(
                f"the pickle is not read, for {error}: that is not in a frame of numbers and texts",
                path,
                _OTHERWISE,
            )


def decode(path: Path, key: str = "", layout: object = None) -> Raw:
    """As `read_frame`."""
    return read_frame(path)


def columns_of(path: Path) -> Types:
    """Names and types of the columns."""
    return {name: column.dtype for name, column in read_frame(path).items()}


def _unpacked(content: bytes, path: Path) -> bytes:
    if not content.startswith(b"\x1f\x8b"):
        return content
    at_most = min(MOST_BYTES, max(1 << 28, len(content)))
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        unpacked = file.read(at_most + 1)
    if len(unpacked) > at_most:
        broken(f"it unpacks to more than {at_most} bytes: more than any sweep", path)
    return unpacked


def _is(value: Any, makers: set[tuple[str, str]]) -> TypeGuard[Made]:
    """Whether a value was made by one of some globals."""
    return isinstance(value, Made) and isinstance(value.maker, Name) and _pair(value.maker) in makers


def _pair(name: Name) -> tuple[str, str]:
    return name.module, name.name


def _frame(tree: Any) -> Raw:
    if not _is(tree, _FRAMES) or not isinstance(tree.state, dict):
        raise ValueError("it holds no data frame")
    manager = tree.state.get("_mgr", tree.state.get("_data"))
    if not _is(manager, _MANAGERS):
        raise ValueError("its data frame has no blocks")
    names, rows, blocks = _parts(manager)
    columns: list[NDArray | None] = [None] * len(names)
    for values, places in blocks:
        if values.ndim != 2 or values.shape != (len(places), rows):
            raise ValueError(f"a block of shape {values.shape} for {len(places)} columns of {rows} rows")
        for place, column in zip(places, values, strict=True):
            if not 0 <= place < len(names) or columns[place] is not None:
                raise ValueError("a block of columns that are not there, or there twice")
            columns[place] = _seconds(column)
    frame: Raw = {}
    for name, found in zip(names, columns, strict=True):
        if found is None or name in frame:
            raise ValueError(f"column {name!r} is without values, or there twice")
        frame[name] = found
    return frame


def _parts(manager: Made) -> tuple[list[str], int, list[tuple[NDArray, Sequence[int]]]]:
    """Names of the columns, number of rows, and (values (columns, rows), places of the columns) by block."""
    if manager.state is None:  # pandas since 1.3
        blocks, axes = manager.arguments
        if not all(_is(block, _BLOCKS) for block in blocks):
            raise ValueError("its blocks are none")
        found = [(block.arguments[0], block.arguments[1]) for block in blocks]
    else:
        state = manager.state[3]["0.14.1"]
        axes = state["axes"]
        found = [(block["values"], block["mgr_locs"]) for block in state["blocks"]]
    names = [str(name) for name in _axis(axes[0])]
    rows = len(_axis(axes[1]))
    return names, rows, [(_array(values), _places(where, len(names))) for values, where in found]


def _axis(index: Any) -> Sequence[Any] | NDArray:
    """Entries of an index of a frame."""
    if not _is(index, _NEW_INDEX):
        raise ValueError("an index of a kind that is not known")
    kind, entries = index.arguments
    if kind.name == "RangeIndex":
        numbers = [entries[name] for name in ("start", "stop", "step")]
        if not all(isinstance(number, int) for number in numbers):
            raise ValueError("an index of a range without numbers")
        return range(*numbers)
    return _array(entries["data"])


def _places(where: Any, count: int) -> Sequence[int]:
    if _is(where, _SLICES):
        return range(count)[slice(*where.arguments)]
    return [int(place) for place in _array(where)]


def _array(value: Any) -> NDArray:
    """An array from what a pickle says of it, compared with the bytes that it has."""
    if _is(value, _FROM_BUFFER):
        data, kind, shape, order = value.arguments
        return _of_bytes(data, _dtype(kind), shape, order == "F")
    if not _is(value, _NEW_ARRAY) or value.state is None:
        raise ValueError("an array of a kind that is not known")
    _, shape, kind, fortran, data = value.state
    dtype = _dtype(kind)
    if dtype.kind != "O":
        return _of_bytes(data, dtype, shape, fortran)
    if not isinstance(data, list) or len(data) != _size(shape):
        raise ValueError(f"an array of shape {shape} with other values than that")
    array = np.empty(len(data), dtype=object)
    array[:] = [_plain(entry) for entry in data]
    return array.reshape(shape, order="F" if fortran else "C")


def _of_bytes(data: Any, dtype: np.dtype, shape: Any, fortran: bool) -> NDArray:
    data = _text_bytes(data)
    if dtype.kind == "O" or len(data) != _size(shape) * dtype.itemsize:
        raise ValueError(f"an array of shape {shape} and type {dtype} in {len(data)} bytes")
    array = np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _size(shape: Any) -> int:
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 2:
        raise ValueError(f"a shape {shape!r}")
    return math.prod(shape)


def _dtype(value: Any) -> np.dtype:
    """A type of plain numbers, of time stamps or of objects."""
    if not _is(value, _DTYPES):
        raise ValueError("a type of values that is none")
    kind = value.arguments[0]
    state = value.state if isinstance(value.state, tuple) else (3, "|")
    if kind == "O8":
        return np.dtype(object)
    order = state[1] if state[1] in ("<", ">") else "|"
    if kind == "M8" and len(state) > 8 and isinstance(state[8], tuple):
        unit = state[8][-1][0]
        unit = unit.decode() if isinstance(unit, bytes) else unit
        if unit in _TIMES:
            return np.dtype(f"{order}M8[{unit}]")
    if kind in ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"):
        return np.dtype(order + kind)
    raise NotAllowed(f"it has values of the type {str(kind)[:40]}")


def _plain(entry: Any) -> Any:
    """A text, a number, a truth or None of an array of objects."""
    if entry is None or type(entry) in (str, int, float, bool):
        return entry
    if _is(entry, _SCALARS):
        kind, data = entry.arguments
        return _of_bytes(data, _dtype(kind), (1,), False)[0].item()
    raise NotAllowed(f"it has an object of the kind {_kind(entry)} in a column")


def _kind(entry: Any) -> str:
    return str(entry.maker) if isinstance(entry, Made) else type(entry).__name__


def _text_bytes(data: Any) -> bytes:
    """Bytes; from Python 2, and below protocol 3, they are written as a text that is encoded."""
    if _is(data, _ENCODE):
        text, encoding = data.arguments
        if encoding != "latin1" or not isinstance(text, str):
            raise ValueError("bytes that are no text")
        return text.encode("latin-1")
    if not isinstance(data, bytes | bytearray):
        raise ValueError("an array without bytes")
    return bytes(data)


def _seconds(column: NDArray) -> NDArray:
    """Time stamps as seconds since 1970."""
    if column.dtype.kind != "M":
        return np.ascontiguousarray(column)
    seconds = column.view("i8") * _TIMES[np.datetime_data(column.dtype)[0]]
    return np.where(np.isnat(column), np.nan, seconds)
