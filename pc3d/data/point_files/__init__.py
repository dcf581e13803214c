"""Point files of single clouds: what is in their bytes, by the names that the files themselves have.

Each module has `decode(path, key, layout)` and `columns_of(path)`. Units, axes and scales are as stored: what
they are is said by the LiDAR format of an index (`pc3d.data.points.formats`), and guessed by `names.py`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from pc3d.data.errors import fail
from pc3d.data.point_files.contents import Raw, Types

SUFFIXES: dict[str, str] = {
    ".pcd": "pcd",
    ".ply": "ply",
    ".las": "las",
    ".laz": "las",
    ".csv": "csv",
    ".txt": "csv",
    ".xyz": "csv",
    ".asc": "csv",
    ".npy": "npy",
    ".npz": "npy",
    ".feather": "feather",
    ".arrow": "feather",
    ".parquet": "feather",
    ".pkl": "pandas_pickle",
    ".pkl.gz": "pandas_pickle",
}
"""Modules by the end of a file's name."""
DECODERS = {module: "pandas" if module == "pandas_pickle" else module for module in SUFFIXES.values()}
"""Names of the modules in a LiDAR format."""


def module_of(path: Path) -> str:
    """The module that reads a file, by the end of its name, in any letters; "" where none does."""
    name = path.name.lower()
    ends = sorted((end for end in SUFFIXES if name.endswith(end)), key=len)
    return SUFFIXES[ends[-1]] if ends else ""


def decoder_of(path: Path) -> str:
    """The decoder of a file for a LiDAR format, `pcd` for `a.pcd`; "" where there is none, as for `.bin`."""
    return DECODERS.get(module_of(path), "")


def columns_of(path: Path) -> Types:
    """Names and types of the columns of a file; a cheap look where its format has a header.

    Raises:
        DataError: the end of its name is not known, or the file is damaged.
    """
    return _module(path).columns_of(path)


def decode(path: Path) -> Raw:
    """All columns of a file by its own names, as stored.

    Raises:
        DataError: the end of its name is not known, or the file is damaged.
    """
    return _module(path).decode(path)


def notes(path: Path) -> tuple[str, ...]:
    """What a file says that its decoder does not follow, such as the viewpoint of a PCD file."""
    return _module(path).notes(path) if module_of(path) == "pcd" else ()


def _module(path: Path):  # type: ignore[no-untyped-def]  # a module
    if not module_of(path):
        fail("no format of points is known by this name", path, f"use one of {', '.join(SUFFIXES)}")
    return import_module(f"{__name__}.{module_of(path)}")
