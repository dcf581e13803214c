"""Arrays of numpy: .npy and .npz, plain or structured; nothing in them is executed."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.point_files.contents import (
    MOST_BYTES,
    Raw,
    Types,
    broken,
    decoding,
    names_by_position,
    read_whole,
    shown,
)

_MAGIC = b"\x93NUMPY"
_ZIP = b"PK\x03\x04"
_MOST_COLUMNS = 64
_MOST_MEMBERS = 256


def decode(path: Path, key: str = "", layout: Any = None) -> Raw:
    """Columns as stored.

    An array (points, columns) has no names: those of `layout.sources` by position, else "0", "1", ... A
    structured array has those of its fields. An .npz gives each array (points,) by its name, and the columns
    of one array (points, columns) as above; single values are left out.

    Raises:
        DataError: the file is missing, damaged, holds Python objects, or arrays of another shape.
    """
    sources = tuple(getattr(layout, "sources", ()))
    with decoding(path, "npy"):
        content = read_whole(path)
        if content.startswith(_MAGIC):
            return _columns(_read_array(content, path, "the array"), sources, path)
        if content.startswith(_ZIP):
            return _archive(content, sources, path)
        broken(f"no .npy or .npz file: it starts with {shown(content[:8])}", path)


def columns_of(path: Path) -> Types:
    """Names and types of the columns that `decode` gives; of an .npy only the header is unpacked."""
    with decoding(path, "npy"):
        content = read_whole(path)
        if not content.startswith(_MAGIC):
            return {name: column.dtype for name, column in decode(path).items()}
        shape, _, dtype, _ = _read_header(content, path, "the array")
        empty = np.zeros((0, *shape[1:]), dtype if dtype.names else dtype.newbyteorder("="))
        return {name: column.dtype for name, column in _columns(empty, (), path).items()}


def _columns(array: NDArray, sources: Sequence[str], path: Path) -> Raw:
    if array.dtype.names is not None and array.ndim == 1:
        return _fields(array)
    if array.ndim != 2 or array.dtype.names is not None or not 3 <= array.shape[1] <= _MOST_COLUMNS:
        turned = array.ndim == 2 and 3 <= array.shape[0] <= _MOST_COLUMNS < array.shape[1]
        hint = ": it holds the columns as rows" if turned else ""
        broken(
            f"an array of shape {array.shape}{hint}; expected (points, 3 to {_MOST_COLUMNS} columns)",
            path,
            None,
            "save it transposed" if turned else "save one array with a row for each point",
        )
    names = names_by_position(array.shape[1], sources, path)
    return {name: array[:, n] for n, name in enumerate(names) if name != "_"}


def _fields(array: NDArray) -> Raw:
    """Fields of a structured array; one of several values a point gives `name_0`, `name_1`, ..."""
    columns: Raw = {}
    for name in array.dtype.names or ():
        field = array[name]
        if field.ndim == 1:
            columns.setdefault(name, field)
        else:
            flat = field.reshape(len(field), math.prod(field.shape[1:]))
            columns.update({f"{name}_{n}": flat[:, n] for n in range(flat.shape[1])})
    return columns


def _archive(content: bytes, sources: Sequence[str], path: Path) -> Raw:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        unpacked = sum(member.file_size for member in members)
        if unpacked > min(MOST_BYTES, max(1 << 28, len(content))) or len(members) > _MOST_MEMBERS:
            broken(f"its {len(members)} arrays unpack to {unpacked} bytes: more than any sweep", path)
        arrays = {
            member.filename.removesuffix(".npy"): _read_array(
                archive.read(member), path, f"the array {shown(member.filename)}"
            )
            for member in members
        }
    tables = [name for name, array in arrays.items() if array.ndim == 2 or array.dtype.names is not None]
    if len(tables) > 1:
        broken(f"it has {len(tables)} tables ({', '.join(tables[:5])}), expected one of points", path)
    columns = _columns(arrays[tables[0]], sources, path) if tables else {}
    for name, array in arrays.items():
        if array.ndim > 2:
            broken(f"the array {shown(name)} has the shape {array.shape}", path)
        if array.ndim == 1 and name not in tables:
            columns.setdefault(name, array)
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1:
        listed = ", ".join(f"{name} {length}" for name, length in list(lengths.items())[:8])
        broken(f"its arrays have not one entry a point: {listed or 'there is none'}", path)
    return columns


def _read_header(content: bytes, path: Path, what: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, column order, type and where the values start, compared with the bytes that follow."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read:
        broken(f"{what} is of the version {version}", path)
    shape, fortran, dtype = read[version](file)
    kinds = {dtype.fields[name][0].base.kind for name in dtype.names} if dtype.fields else {dtype.kind}
    if not kinds <= set("biuf"):
        broken(f"{what} is of {dtype}, which are no plain numbers; objects are not loaded", path)
    start = file.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content) - start:
        broken(f"{what} has the shape {shape} and type {dtype}, but {len(content) - start} bytes", path)
    return shape, fortran, dtype, start


def _read_array(content: bytes, path: Path, what: str) -> NDArray:
    shape, fortran, dtype, start = _read_header(content, path, what)
    flat = np.frombuffer(content, dtype=dtype, offset=start) if dtype.itemsize else np.zeros(0, dtype)
    array = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    return array if dtype.names is not None else array.astype(dtype.newbyteorder("="), copy=False)
