"""LAS and LAZ files, which laspy and lazrs read (extra `las`)."""

from __future__ import annotations

import io
import struct
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import fail
from pc3d.data.point_files.contents import MOST_BYTES, Raw, Types, broken, decoding, read_whole, shown

if TYPE_CHECKING:
    import laspy

_INSTALL = 'pip install "pc3d[las]"'
_SHORTEST = 227
"""Bytes of the header of LAS 1.0 to 1.2."""
_LONGEST_VLRS = 1 << 16
_VARIABLE = 0xFFFFFFFF
"""The chunk size of a file with chunks of any size."""


def decode(path: Path, key: str = "", layout: object = None) -> Raw:
    """Columns by the names of laspy: `x y z` (float64, scale and offset applied), then as stored `intensity`,
    `return_number`, `classification`, `gps_time` where the file has it, ..., and the extra dimensions.

    An extra dimension of several values gives `name_0`, `name_1`, ...

    Raises:
        DataError: the file is missing, no LAS or LAZ file, or cut off; laspy or lazrs is not installed.
    """
    _installed(path)
    with decoding(path, "LAS"):
        content = read_whole(path)
        _check(content, path)
        points = _points(content)
        columns: Raw = {name: np.asarray(points[name], dtype=np.float64) for name in "xyz"}
        for name in _names(points.point_format):
            _add(columns, name, np.asarray(points[name]))
        return columns


def columns_of(path: Path) -> Types:
    """Names and types of the columns that `decode` gives; no point is unpacked."""
    _installed(path)
    with decoding(path, "LAS"):
        content = read_whole(path)
        _check(content, path)
        import laspy

        with _open(content) as reader:
            none = laspy.ScaleAwarePointRecord.zeros(0, header=reader.header)
        columns: Raw = {name: np.zeros(0) for name in "xyz"}
        for name in _names(none.point_format):
            _add(columns, name, np.asarray(none[name]))
        return {name: column.dtype for name, column in columns.items()}


def _installed(path: Path) -> None:
    for package in ("laspy", "lazrs"):
        if find_spec(package) is None:
            fail(f"{package} is not installed, which LAS and LAZ files need", path, _INSTALL)


def _open(content: bytes) -> laspy.LasReader:
    import laspy

    if not content[26:90].isascii():  # names of the system and the software, in whatever encoding
        content = content[:26] + bytes(64) + content[90:]
    # One thread: a pool of threads does not live on in worker processes that are forked.
    return laspy.open(io.BytesIO(content), read_evlrs=False, laz_backend=laspy.LazBackend.Lazrs)


def _points(content: bytes) -> laspy.LasData:
    try:
        with _open(content) as reader:
            return reader.read()
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # of lazrs, which is no `Exception`
            raise ValueError(f"its points cannot be unpacked: {error}") from error
        raise


def _names(point_format: Any) -> list[str]:
    return [name for name in point_format.dimension_names if name not in ("X", "Y", "Z")]


def _add(columns: Raw, name: str, values: NDArray) -> None:
    if values.ndim == 1:
        columns.setdefault(name, values)
    else:
        columns.update({f"{name}_{n}": values[:, n] for n in range(values.shape[1])})


def _check(content: bytes, path: Path) -> None:
    """Compare what the header says with the file, before laspy takes room for it."""
    if not content.startswith(b"LASF") or len(content) < _SHORTEST:
        broken(f"no LAS file: it starts with {shown(content[:8])}", path)
    minor = content[25]
    header_size, offset, vlrs, kind, width, count = struct.unpack_from("<HIIBHI", content, 94)
    if content[24] != 1 or not _SHORTEST <= header_size <= offset <= len(content):
        broken(
            f"the header of LAS {content[24]}.{minor} ends at {header_size}, the points start at {offset} of "
            f"{len(content)} bytes",
            path,
        )
    if vlrs > min(_LONGEST_VLRS, (offset - header_size) // 54):
        broken(f"the header says {vlrs} records in {offset - header_size} bytes", path)
    if minor >= 4:
        if header_size < 375:
            broken(f"the header of LAS 1.{minor} has {header_size} bytes", path)
        first, records, count = struct.unpack_from("<QIQ", content, 235)
        if records and (first > len(content) or records > (len(content) - first) // 60):
            broken(f"the file is cut off: {records} records from byte {first} of {len(content)}", path)
    if count * width > MOST_BYTES:
        broken(f"the header says {count} points of {width} bytes: more than any sweep", path)
    if kind & 0xC0:
        _check_chunks(content, header_size, offset, vlrs, width, count, path)
    elif count * width > len(content) - offset:
        broken(f"the file is cut off: {len(content) - offset} of {count * width} bytes of points", path)


def _check_chunks(
    content: bytes, start: int, offset: int, vlrs: int, width: int, count: int, path: Path
) -> None:
    """Chunks of a LAZ file start with a point that is not compressed: so many bytes there are at least."""
    chunk_size = _chunk_size(content, start, offset, vlrs, path)
    if offset + 8 > len(content):
        broken("the file is cut off before its points", path)
    table = struct.unpack_from("<q", content, offset)[0]
    if table == -1:  # it was written as a stream
        table = struct.unpack_from("<q", content, len(content) - 8)[0]
    if not offset <= table <= len(content) - 8:
        broken(f"the file is cut off: its table of chunks stands at {table} of {len(content)} bytes", path)
    chunks = struct.unpack_from("<I", content, table + 4)[0]
    if chunks * max(width, 1) > len(content) or (chunk_size != _VARIABLE and count > chunks * chunk_size):
        broken(f"the file is cut off: {count} points in {chunks} chunks of {chunk_size}", path)


def _chunk_size(content: bytes, at: int, offset: int, vlrs: int, path: Path) -> int:
    """Points of a chunk, from the record of the compression."""
    for _ in range(vlrs):
        if at + 54 > offset:
            break
        user, number, length = struct.unpack_from("<2x16sHH", content, at)
        if user.rstrip(b"\0") == b"laszip encoded" and number == 22204 and at + 54 + 16 <= offset:
            size = struct.unpack_from("<I", content, at + 54 + 12)[0]
            if size == 0 or (size != _VARIABLE and size > 100_000_000):
                broken(f"its chunks have {size} points", path)
            return size
        at += 54 + length
    broken("it is compressed, but has no record that says how", path)
