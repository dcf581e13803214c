"""Small point files, written from the published specifications; the code under test has no part in them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

Columns = Mapping[str, NDArray]


def cloud(points: int = 40, seed: int = 0) -> dict[str, NDArray]:
    """x y z (m), intensity 0 to 255, ring, time (s since 1970)."""
    rng = np.random.default_rng(seed)
    return {
        "x": rng.uniform(-50, 50, points).astype("<f4"),
        "y": rng.uniform(-50, 50, points).astype("<f4"),
        "z": rng.uniform(-2, 5, points).astype("<f4"),
        "intensity": rng.integers(0, 256, points).astype("u1"),
        "ring": rng.integers(0, 64, points).astype("<u2"),
        "timestamp": 1.6e9 + np.sort(rng.uniform(0, 0.1, points)),
    }


def records(columns: Columns, order: str = "<") -> NDArray:
    """(P,) structured, without gaps."""
    types = [(name, column.dtype.newbyteorder(order)) for name, column in columns.items()]
    packed = np.zeros(len(next(iter(columns.values()))), dtype=types)
    for name, column in columns.items():
        packed[name] = column
    return packed


def lzf(content: bytes) -> bytes:
    """LZF data: runs as they are, and for repeated bytes references that overlap themselves."""
    packed, at = bytearray(), 0
    while at < len(content):
        length = 1
        while at + length < len(content) and content[at + length] == content[at] and length < 265:
            length += 1
        if length >= 5:
            packed += bytes([0, content[at]]) + _reference(length - 1, 1)
        else:
            length = min(32, len(content) - at)
            packed += bytes([length - 1]) + content[at : at + length]
        at += length
    return bytes(packed)


def _reference(length: int, distance: int) -> bytes:
    """`length` (3 to 264) bytes from `distance` (1 to 8192) back."""
    high, low = divmod(distance - 1, 256)
    if length - 2 < 7:
        return bytes([((length - 2) << 5) | high, low])
    return bytes([(7 << 5) | high, length - 2 - 7, low])


def pcd(columns: Columns, encoding: str, **lines: str | None) -> bytes:
    """A PCD file; `lines` replaces lines of its header, None leaves one out."""
    kinds = {"f": "F", "i": "I", "u": "U"}
    points = len(next(iter(columns.values())))
    header = {
        "VERSION": "0.7",
        "FIELDS": " ".join(columns),
        "SIZE": " ".join(str(c.dtype.itemsize) for c in columns.values()),
        "TYPE": " ".join(kinds[c.dtype.kind] for c in columns.values()),
        "COUNT": " ".join("1" for _ in columns),
        "WIDTH": str(points),
        "HEIGHT": "1",
        "VIEWPOINT": "0 0 0 1 0 0 0",
        "POINTS": str(points),
        **lines,
    }
    text = "# .PCD v0.7\n" + "".join(f"{k} {v}\n" for k, v in header.items() if v is not None)
    return f"{text}DATA {encoding}\n".encode() + _pcd_data(columns, encoding)


def _pcd_data(columns: Columns, encoding: str) -> bytes:
    if encoding == "ascii":
        return text_rows(columns, " ").encode()
    if encoding == "binary":
        return records(columns).tobytes()
    raw = b"".join(column.tobytes() for column in columns.values())
    packed = lzf(raw)
    return struct.pack("<II", len(packed), len(raw)) + packed


def text_rows(columns: Columns, delimiter: str) -> str:
    """Rows with as many digits as it takes to get the same numbers back."""
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return "".join(delimiter.join(map(repr, row)) + "\n" for row in rows)


def ply(columns: Columns, encoding: str, before: Sequence[int] = (), after: Sequence[int] = ()) -> bytes:
    """A PLY file with polygons of so many corners, and an area each, before and after its vertices."""
    names = {"f4": "float", "f8": "double", "u1": "uchar", "u2": "ushort", "i4": "int"}
    properties = [f"property {names[c.dtype.str[1:]]} {name}" for name, c in columns.items()]
    points = len(next(iter(columns.values())))
    lines = [
        *("ply", f"format {encoding} 1.0", "comment made by a test", "obj_info a scan"),
        *_polygon_lines("face", before),
        *(f"element vertex {points}", *properties),
        *_polygon_lines("strip", after),
        "end_header\n",
    ]
    header = "\n".join(lines).encode()
    if encoding == "ascii":
        rows = [_polygon_row(before), text_rows(columns, " "), _polygon_row(after)]
        return header + "".join(rows).encode()
    order = {"binary_little_endian": "<", "binary_big_endian": ">"}[encoding]
    first, last = (
        b"".join(struct.pack(f"{order}B{n}if", n, *range(n), 0.5) for n in polygons)
        for polygons in (before, after)
    )
    return header + first + records(columns, order).tobytes() + last


def _polygon_lines(name: str, polygons: Sequence[int]) -> list[str]:
    lists = ["property list uchar int vertex_indices", "property float area"]
    return [f"element {name} {len(polygons)}", *lists] if polygons else []


def _polygon_row(polygons: Sequence[int]) -> str:
    return "".join(" ".join(map(str, (n, *range(n), 0.5))) + "\n" for n in polygons)


def write_las(path: Path, points: int = 40, **extra: NDArray) -> None:
    """A LAS or LAZ file of point format 3 by laspy, with extra dimensions."""
    import laspy

    rng = np.random.default_rng(0)
    header = laspy.LasHeader(point_format=3, version="1.2")
    header.scales, header.offsets = [0.001] * 3, [400_000.0, 5_000_000.0, 100.0]
    for name, values in extra.items():
        header.add_extra_dim(laspy.ExtraBytesParams(name, values.dtype))
    las = laspy.LasData(header)
    las.x = 400_000 + rng.uniform(0, 50, points)
    las.y = 5_000_000 + rng.uniform(0, 50, points)
    las.z = 100 + rng.uniform(0, 5, points)
    las.intensity = rng.integers(0, 256, points)
    las.gps_time = np.sort(rng.uniform(2e5, 2e5 + 1, points))
    for name, values in extra.items():
        las[name] = values
    las.write(str(path))


def written(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def assert_same(found: dict[str, NDArray], expected: dict[str, NDArray]) -> None:
    """The same columns in the same order, equal in each bit but those of not-a-number."""
    assert list(found) == list(expected)
    for name, column in expected.items():
        assert_array_equal(found[name], column, err_msg=name)
