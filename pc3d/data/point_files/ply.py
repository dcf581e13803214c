"""PLY files: ascii, binary little and big endian."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
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

_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2"},
    **{"int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8"},
}
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_HEADER_BYTES = 1 << 16
_CLOUD_COMPARE = "scalar_"


@dataclass(frozen=True)
class Property:
    """A value of an element, or a list of them where `length` is the type of its length."""

    name: str
    dtype: np.dtype
    length: np.dtype | None = None


@dataclass(frozen=True)
class Element:
    """`count` things of some properties each."""

    name: str
    count: int
    properties: tuple[Property, ...] = ()


@dataclass(frozen=True)
class Header:
    """The header of a PLY file; the data start `offset` bytes into it, after `lines` lines."""

    encoding: str
    elements: tuple[Element, ...]
    offset: int
    lines: int

    @property
    def vertex(self) -> Element:
        return next(element for element in self.elements if element.name == "vertex")

    @property
    def before(self) -> tuple[Element, ...]:
        """The elements that stand before the vertices."""
        return tuple(takewhile(lambda element: element.name != "vertex", self.elements))

    @property
    def names(self) -> list[str]:
        """Of the vertex properties, without CloudCompare's prefix where that leaves each its own name."""
        stored = [one.name for one in self.vertex.properties]
        short = [name.removeprefix(_CLOUD_COMPARE) or name for name in stored]
        return [name if short.count(brief) > 1 else brief for name, brief in zip(stored, short, strict=True)]


def decode(path: Path, key: str = "", layout: object = None) -> Raw:
    """Columns by the names of the vertex properties (`scalar_intensity` as `intensity`), as stored.

    Floats of an ascii file are float64.

    Raises:
        DataError: the file is missing, no PLY file, cut off, or its vertices have lists.
    """
    with decoding(path, "PLY"):
        content = read_whole(path)
        header = _read_header(content, path)
        if header.encoding == "ascii":
            columns = _ascii(content, header, path)
        else:
            columns = _binary(content, header, path)
        return take_named(columns, header.names)


def columns_of(path: Path) -> Types:
    """Names and types of the columns that `decode` gives; only the header is read."""
    with decoding(path, "PLY"):
        header = _read_header(read_start(path, _HEADER_BYTES), path)
        types: Types = {}
        for name, one in zip(header.names, header.vertex.properties, strict=True):
            wide = header.encoding == "ascii" and one.dtype.kind == "f"
            types.setdefault(name, np.dtype(np.float64) if wide else one.dtype.newbyteorder("="))
        return types


def _read_header(content: bytes, path: Path) -> Header:
    encoding, elements = "", list[Element]()
    offset = 0
    for number in range(1, _HEADER_BYTES):
        end = content.find(b"\n", offset, _HEADER_BYTES)
        if end < 0:
            broken("the PLY header has no end_header", path, number)
        line = content[offset:end].strip()
        words = line.decode("latin-1").split()
        offset = end + 1
        if number == 1:
            if line != b"ply":
                broken(f"no PLY file: it starts with {shown(line)}", path, number)
        elif words == ["end_header"]:
            return _checked(Header(encoding, tuple(elements), offset, number), path)
        elif words and words[0] not in ("comment", "obj_info"):
            encoding = _read_entry(words, encoding, elements, path, number)
    broken("the PLY header has no end_header", path)


def _read_entry(words: list[str], encoding: str, elements: list[Element], path: Path, number: int) -> str:
    """Add what a header line says to `elements`; gives the encoding."""
    match words:
        case ["format", name, "1.0"] if name in _ORDERS and not encoding:
            return name
        case ["element", name, count] if count.isascii() and count.isdigit() and len(count) < 16 and encoding:
            elements.append(Element(name, int(count)))
            return encoding
        case ["property", kind, name] if kind in _TYPES and elements:
            _append(elements, Property(name, np.dtype(_ORDERS[encoding] + _TYPES[kind])))
            return encoding
        case ["property", "list", length, kind, name] if length in _TYPES and kind in _TYPES and elements:
            order = _ORDERS[encoding]
            kinds = np.dtype(order + _TYPES[kind]), np.dtype(order + _TYPES[length])
            if kinds[1].kind != "f":
                _append(elements, Property(name, *kinds))
                return encoding
    broken(f"no line of a PLY header: {shown(' '.join(words))}", path, number)


def _append(elements: list[Element], added: Property) -> None:
    last = elements[-1]
    elements[-1] = Element(last.name, last.count, (*last.properties, added))


def _checked(header: Header, path: Path) -> Header:
    vertices = [element for element in header.elements if element.name == "vertex"]
    if len(vertices) != 1 or not vertices[0].properties:
        broken(f"the PLY header has {len(vertices)} elements 'vertex' with properties, expected one", path)
    for one in vertices[0].properties:
        if one.length is not None:
            broken(
                f"the vertices have a list, {one.name!r}: points have one value of each",
                path,
                None,
                "write the vertices without it",
            )
    if vertices[0].count * _record(vertices[0]).itemsize > MOST_BYTES:
        broken(f"the PLY header says {vertices[0].count} points: more than any sweep", path)
    return header


def _record(element: Element) -> np.dtype:
    """The bytes of one thing of an element without lists; its fields are numbered."""
    return np.dtype([(str(n), one.dtype) for n, one in enumerate(element.properties)])


def _ascii(content: bytes, header: Header, path: Path) -> list[NDArray]:
    """One thing a line."""
    lines = content[header.offset :].split(b"\n")
    filled = [n for n, line in enumerate(lines) if line.strip()]
    skipped, count = sum(element.count for element in header.before), header.vertex.count
    if len(filled) < skipped + count:
        here = max(len(filled) - skipped, 0)
        broken(f"the file is cut off: {here} of {count} points", path, header.lines + len(lines))
    first, stop = (filled[skipped], filled[skipped + count - 1] + 1) if count else (0, 0)
    types = {
        f"{name}.{n}": np.dtype(np.float64) if one.dtype.kind == "f" else one.dtype
        for n, (name, one) in enumerate(zip(header.names, header.vertex.properties, strict=True))
    }
    text = b"\n".join(lines[first:stop])
    return parse_rows(text, list(types), path, header.lines + 1 + first, types)


def _binary(content: bytes, header: Header, path: Path) -> list[NDArray]:
    offset = header.offset
    for element in header.before:
        offset = _after(element, content, offset, path)
    record, count = _record(header.vertex), header.vertex.count
    here, needed = len(content) - offset, count * record.itemsize
    if here < needed:
        broken(f"the file is cut off: {max(here, 0)} of {needed} bytes of points", path)
    points = np.frombuffer(content, dtype=record, count=count, offset=offset)
    types = [one.dtype.newbyteorder("=") for one in header.vertex.properties]
    return [points[str(n)].astype(dtype) for n, dtype in enumerate(types)]


def _after(element: Element, content: bytes, offset: int, path: Path) -> int:
    """Where an element ends that is skipped."""
    if not element.properties:
        return offset
    if all(one.length is None for one in element.properties):
        return offset + element.count * _record(element).itemsize
    for number in range(element.count):  # each has another length
        for one in element.properties:
            size = one.dtype.itemsize
            if one.length is not None:
                length = content[offset : offset + one.length.itemsize]
                offset += one.length.itemsize
                signed = one.length.kind == "i"
                big = one.length.byteorder == ">"
                size *= int.from_bytes(length, "big" if big else "little", signed=signed)
            offset += size
            if size < 0 or offset > len(content):
                broken(f"the file is cut off in {element.name} {number} of {element.count}", path)
    return offset
