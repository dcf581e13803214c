"""Point files that are read whole: a small sound one of each format, and how it is read."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from fuzzed_formats import Format, Sources
from pickled_frames import pickled_frame
from pyarrow import feather, parquet
from small_clouds import cloud, pcd, ply, records, text_rows, write_las

from pc3d.data.point_files import columns_of, decode

FACES = (3, 4, 3)


def _format(name: str, write: Callable[[Path], object], text: bool = False) -> Format:
    def make(folder: Path, _: Sources) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / name)
        return folder / name

    return Format(make, _read, text)


def _read(path: Path) -> Any:
    """The columns are as many and as long as each other; what is in them, their format says."""
    columns = decode(path)
    assert {name: column.dtype for name, column in columns.items()}.keys() == columns_of(path).keys()
    lengths = {len(column) for column in columns.values()}
    assert len(lengths) <= 1
    return [*columns, *lengths]


def _bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _npz() -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **cloud(), seconds=np.float64(3))
    return content.getvalue()


def _npy() -> bytes:
    content = io.BytesIO()
    np.save(content, records(cloud()))
    return content.getvalue()


_TEXTS = {"class": np.array(["car", "bus"] * 20, dtype=object)}
_TABLE = pa.table({**cloud(), **_TEXTS})

POINT_FILES: dict[str, Format] = {
    "pcd ascii": _format("a.pcd", _bytes(pcd(cloud(), "ascii")), True),
    "pcd binary": _format("a.pcd", _bytes(pcd(cloud(), "binary"))),
    "pcd compressed": _format("a.pcd", _bytes(pcd(cloud(), "binary_compressed"))),
    "ply ascii": _format("a.ply", _bytes(ply(cloud(), "ascii", FACES)), True),
    "ply binary": _format("a.ply", _bytes(ply(cloud(), "binary_big_endian", FACES, FACES))),
    "las": _format("a.las", lambda path: write_las(path, angle=np.arange(40.0))),
    "laz": _format("a.laz", write_las),
    "csv": _format("a.csv", _bytes(f"{','.join(cloud())}\n{text_rows(cloud(), ',')}".encode()), True),
    "xyz": _format("a.xyz", _bytes(text_rows(cloud(), " ").encode()), True),
    "npy of points": _format("a.npy", _bytes(_npy())),
    "npz of points": _format("a.npz", _bytes(_npz())),
    "feather of points": _format("a.feather", lambda path: feather.write_feather(_TABLE, path)),
    "parquet of points": _format("a.parquet", lambda path: parquet.write_table(_TABLE, path)),
    "pickled frame": _format("a.pkl", _bytes(pickled_frame({**cloud(), **_TEXTS}))),
    "gzipped frame": _format("a.pkl.gz", _bytes(gzip.compress(pickled_frame(cloud()), mtime=0))),
}
