"""PCD files of the Point Cloud Library: ascii, binary and binary_compressed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.point_files.contents import (
    MOST_BYTES,
    Raw,
    Types,
    broken,
    decoding,
    read_start,
    read_whole,
    shown,
    take_named,
)
from pc3d.data.point_files.text_rows import parse_rows

_KEYS = ("VERSION", "FIELDS", "SIZE", "TYPE", "COUNT", "WIDTH", "HEIGHT", "VIEWPOINT", "POINTS", "DATA")
_ENCODINGS = ("ascii", "binary", "binary_compressed")
_TYPES = {
    **{("F", 4): "<f4", ("F", 8): "<f8"},
    **{("I", size): f"<i{size}" for size in (1, 2, 4, 8)},
    **{("U", size): f"<u{size}" for size in (1, 2, 4, 8)},
}
_HEADER_BYTES = 1 << 16
_PADDING = "_"
_UPRIGHT = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Header:
    """The header of a PCD file.

    Attributes:
        names: of the fields; `_` is padding. dtypes, counts: of each, as many values of that type a point.
        points: how many. encoding: of `_ENCODINGS`.
        viewpoint: tx ty tz (m) qw qx qy qz of the sensor.
        offset: of the data in the file, bytes. lines: of the header.
    """

    names: tuple[str, ...]
    dtypes: tuple[np.dtype, ...]
    counts: tuple[int, ...]
    points: int
    encoding: str
    viewpoint: tuple[float, ...]
    offset: int
    lines: int

    @property
    def widths(self) -> list[int]:
        """Bytes of each field a point."""
        return [dtype.itemsize * count for dtype, count in zip(self.dtypes, self.counts, strict=True)]

    @property
    def values(self) -> list[tuple[str, np.dtype]]:
        """Name and type of each value of a point: a field of several gives `name_0`, `name_1`, ..."""
        return [
            (name if count == 1 or name == _PADDING else f"{name}_{n}", dtype)
            for name, dtype, count in zip(self.names, self.dtypes, self.counts, strict=True)
            for n in range(count)
        ]


def decode(path: Path, key: str = "", layout: object = None) -> Raw:
    """Columns by field name; ascii floats as float64, whatever their SIZE, all else as stored.

    Organised clouds keep their points without return (not a number), rows one after the other.

    Raises:
        DataError: the file is missing, no PCD file, cut off, or its header contradicts itself.
    """
    with decoding(path, "PCD"):
        content = read_whole(path)
        header = _read_header(content, path)
        read = {"ascii": _ascii, "binary": _binary, "binary_compressed": _compressed}[header.encoding]
        return take_named(read(content, header, path), [name for name, _ in header.values])


def columns_of(path: Path) -> Types:
    """Names and types of the columns that `decode` gives; only the header is read."""
    with decoding(path, "PCD"):
        header = _read_header(read_start(path, _HEADER_BYTES), path)
    wide = header.encoding == "ascii"
    types: Types = {}
    for name, dtype in header.values:
        if name != _PADDING:
            types.setdefault(name, np.dtype(np.float64) if wide and dtype.kind == "f" else dtype)
    return types


def notes(path: Path) -> tuple[str, ...]:
    """What the header says that `decode` does not follow."""
    with decoding(path, "PCD"):
        header = _read_header(read_start(path, _HEADER_BYTES), path)
    found = []
    if header.viewpoint != _UPRIGHT:
        pose = " ".join(f"{value:g}" for value in header.viewpoint)
        found.append(f"VIEWPOINT {pose} is not the identity; points are taken as they stand, without it")
    named = [name for name in header.names if name != _PADDING]
    for name in sorted({name for name in named if named.count(name) > 1}):
        found.append(f"field {name!r} is there {named.count(name)} times; the first is taken")
    return tuple(found)


def _read_header(content: bytes, path: Path) -> Header:
    entries: dict[str, list[str]] = {}
    offset = lines = 0
    while "DATA" not in entries:
        end = content.find(b"\n", offset, _HEADER_BYTES)
        line = content[offset : end if end >= 0 else _HEADER_BYTES]
        lines += 1
        words = line.split(b"#")[0].decode("latin-1").split()
        if words:
            name = {"COLUMNS": "FIELDS"}.get(words[0].upper(), words[0].upper())
            if name not in _KEYS:
                broken(f"no line of a PCD header: {shown(line)}", path, lines, _NO_HEADER)
            if name in entries:
                broken(f"a second {name} in the PCD header", path, lines)
            entries[name] = words[1:]
        if end < 0 and "DATA" not in entries:
            broken("the PCD header has no DATA line", path, lines, _NO_HEADER)
        offset = end + 1 if end >= 0 else len(content)
    return _checked(entries, offset, lines, path)


_NO_HEADER = "write it as PCD with a whole header: VERSION FIELDS SIZE TYPE COUNT WIDTH HEIGHT POINTS DATA"


def _checked(entries: dict[str, list[str]], offset: int, lines: int, path: Path) -> Header:
    for name in ("FIELDS", "SIZE", "TYPE", "DATA"):
        if not entries.get(name):
            broken(f"the PCD header has no {name}", path, None, _NO_HEADER)
    fields = len(entries["FIELDS"])
    entries.setdefault("COUNT", ["1"] * fields)
    for name in ("SIZE", "TYPE", "COUNT"):
        if len(entries[name]) != fields:
            broken(f"the PCD header has {fields} FIELDS, but {len(entries[name])} entries in {name}", path)
    encoding = entries["DATA"][0].lower()
    if encoding not in _ENCODINGS or len(entries["DATA"]) > 1:
        broken(f"DATA is {shown(' '.join(entries['DATA']))}, expected one of {_ENCODINGS}", path, lines)
    sizes, counts = _whole(entries, "SIZE", path), _whole(entries, "COUNT", path)
    dtypes = []
    for kind, size in zip(entries["TYPE"], sizes, strict=True):
        if (kind.upper(), size) not in _TYPES:
            broken(f"TYPE {shown(kind)} of SIZE {size} is no type of PCD (F 4 8, I and U 1 2 4 8)", path)
        dtypes.append(np.dtype(_TYPES[kind.upper(), size]))
    if min(counts) < 1 or sum(counts) > 10_000:
        broken(f"COUNT is {shown(' '.join(entries['COUNT']))}, expected whole numbers from 1", path)
    viewpoint = _viewpoint(entries, path)
    points = _points(entries, path)
    header = Header(
        tuple(entries["FIELDS"]), tuple(dtypes), tuple(counts), points, encoding, viewpoint, offset, lines
    )
    if points * sum(header.widths) > MOST_BYTES:
        broken(
            f"the PCD header says {points} points of {sum(header.widths)} bytes: more than any sweep", path
        )
    return header


def _whole(entries: dict[str, list[str]], name: str, path: Path) -> list[int]:
    words = entries[name]
    if not words or not all(word.isascii() and word.isdigit() and len(word) < 16 for word in words):
        broken(f"{name} is {shown(' '.join(words))}, expected whole numbers", path)
    return [int(word) for word in words]


def _points(entries: dict[str, list[str]], path: Path) -> int:
    """POINTS; the older headers have WIDTH and HEIGHT alone."""
    numbers = {n: _whole(entries, n, path)[0] for n in ("WIDTH", "HEIGHT", "POINTS") if n in entries}
    if "WIDTH" in numbers:
        area = numbers["WIDTH"] * numbers.get("HEIGHT", 1)
        if numbers.setdefault("POINTS", area) != area:
            broken(f"POINTS is {numbers['POINTS']}, but WIDTH x HEIGHT is {area}", path)
    if "POINTS" not in numbers:
        broken("the PCD header has neither POINTS nor WIDTH", path, None, _NO_HEADER)
    return numbers["POINTS"]


def _viewpoint(entries: dict[str, list[str]], path: Path) -> tuple[float, ...]:
    words = entries.get("VIEWPOINT")
    if words is None:
        return _UPRIGHT
    try:
        values = tuple(float(word) for word in words)
    except ValueError:
        values = ()
    if len(values) != len(_UPRIGHT):
        broken(f"VIEWPOINT is {shown(' '.join(words))}, expected tx ty tz qw qx qy qz", path)
    return values


def _ascii(content: bytes, header: Header, path: Path) -> list[NDArray]:
    lines = content[header.offset :].split(b"\n")
    filled = [n for n, line in enumerate(lines) if line.strip()]
    if len(filled) < header.points:
        broken(
            f"the file is cut off: {len(filled)} of {header.points} points", path, header.lines + len(lines)
        )
    last = filled[header.points - 1] + 1 if header.points else 0
    names = [f"{name}.{n}" for n, (name, _) in enumerate(header.values)]  # pyarrow wants each once
    types = {
        name: np.dtype(np.float64) if dtype.kind == "f" else dtype
        for name, (_, dtype) in zip(names, header.values, strict=True)
    }
    return parse_rows(b"\n".join(lines[:last]), names, path, header.lines + 1, types)


def _binary(content: bytes, header: Header, path: Path) -> list[NDArray]:
    """Point after point without gaps; what follows the last is not looked at."""
    names = [f"{n}" for n in range(len(header.values))]
    record = np.dtype([(name, dtype) for name, (_, dtype) in zip(names, header.values, strict=True)])
    here, needed = len(content) - header.offset, header.points * record.itemsize
    if here < needed:
        broken(f"the file is cut off: {here} of {needed} bytes of points", path)
    points = np.frombuffer(content, dtype=record, count=header.points, offset=header.offset)
    return [np.ascontiguousarray(points[name]) for name in names]


def _compressed(content: bytes, header: Header, path: Path) -> list[NDArray]:
    """Field after field, all points of each; padding is left out where PCL itself has written the file."""
    from pc3d.data.point_files.lzf import decompress

    sizes = content[header.offset : header.offset + 8]
    if len(sizes) < 8:
        broken("the file is cut off before its points", path)
    packed_size, size = (int(value) for value in np.frombuffer(sizes, dtype="<u4"))
    start = header.offset + 8
    packed = content[start : start + packed_size]
    if len(packed) < packed_size:
        broken(f"the file is cut off: {len(packed)} of {packed_size} compressed bytes", path)
    fields = list(zip(header.names, header.widths, header.counts, header.dtypes, strict=True))
    stored = [width for name, width, _, _ in fields if name != _PADDING]
    without_padding = size == header.points * sum(stored)
    if not without_padding and size != header.points * sum(header.widths):
        needed = header.points * sum(header.widths)
        broken(f"{size} bytes are compressed, {header.points} points have {needed}", path)
    values = decompress(packed, size)
    columns: list[NDArray] = []
    start = 0
    for name, width, count, dtype in fields:
        length = 0 if name == _PADDING and without_padding else header.points * width
        field = values[start : start + length].view(dtype).reshape(-1, count)
        columns.extend(np.ascontiguousarray(field[:, n]) for n in range(count))
        start += length
    return columns
