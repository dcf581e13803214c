"""Which format a folder or a file has, told by the names of a few files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib import import_module
from itertools import chain, islice
from pathlib import Path

from pc3d.data.errors import fail
from pc3d.data.readers import READERS
from pc3d.data.readers.folder.description import find_description

_LAYOUTS = tuple(name for name in READERS if name not in ("folder", "bag"))
_BESIDE = {
    "nuscenes": ("samples", "sweeps", "maps"),
    "lyft": ("lidar", "images", "maps"),
    "kitti_object": ("training", "testing"),
}
"""Parts of a data set that the reason does not name."""
_OWN = "if it is a layout of your own: --format folder"
_LOOKED_AT, _ENTRIES = 16, 2000


def detected_formats(root: Path, names: Iterable[str] = READERS) -> dict[str, str]:
    """Formats that a root looks like, and why, by name.

    A reader's module has `detect(root)`, which gives the reason or None; it opens no large file.
    """
    found: dict[str, str] = {}
    for name in sorted(names, key="folder".__eq__):
        if name == "folder" and found and find_description(root) is None:
            continue  # every data set is folders of points; own ones have a calibration file
        if reason := import_module(READERS[name].partition(":")[0]).detect(root):
            found[name] = reason
    return found


def detect_format(root: str | Path) -> str:
    """The format of a data set.

    Raises:
        DataError: there is nothing; it looks like none, or like several.
    """
    root = Path(root).resolve()
    if not root.exists():
        fail("the data set root does not exist", root, "name the folder of the data set")
    found = detected_formats(root)
    if len(found) != 1 or (list(found) == ["folder"] and find_description(root) is None):
        _look_around(root)
    if not found:
        fail(
            f"no format is recognised; the folder holds {_content(root)}",
            root,
            f"name it, --format {' | '.join(READERS)}; for a layout of your own see docs/own-data.md, or "
            "write a reader: --format module:Class",
        )
    if len(found) > 1:
        listed = "; ".join(f"{name} ({reason})" for name, reason in found.items())
        fail(f"it looks like several formats: {listed}", root, "name one of them with --format")
    return next(iter(found))


def _look_around(root: Path) -> None:
    """Raise DataError where the data set is one or two folders up, or some are that far down."""
    for above in list(root.parents)[:2]:
        if above == Path.home() or os.path.ismount(above):
            break  # whatever lies there is no data set, and may be much
        within = root.relative_to(above).parts[0]
        for name, reason in _layouts(above).items():
            # Else it is a data set beside this one.
            if reason.split("/")[0] == within or within in _BESIDE.get(name, ()):
                where = f"{above} looks like {name} ({reason})"
                fail(f"this is a part of a data set: {where}", root, f"name that folder; {_OWN}")
    below = {folder: found for folder in _folders_below(root) if (found := _layouts(folder))}
    if below:
        listed = "; ".join(
            f"{folder.relative_to(root)} ({', '.join(found)})" for folder, found in below.items()
        )
        fail(f"there are data sets in it: {listed}", root, f"name one of these folders; {_OWN}")


def _layouts(folder: Path) -> dict[str, str]:
    """Formats with a layout of their own that a folder has, and why."""
    return detected_formats(folder, _LAYOUTS)


def _folders_below(root: Path) -> list[Path]:
    """Some folders one and two below a root; none below a data set."""
    found: list[Path] = []
    level = [root] if root.is_dir() else []
    for _ in range(2):
        inside = [_subfolders(folder) for folder in level if folder == root or not _layouts(folder)]
        level = list(chain.from_iterable(inside))[:_LOOKED_AT]
        found += level
    return found


def _subfolders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        folders = [Path(entry.path) for entry in islice(entries, _ENTRIES) if entry.is_dir()]
    return sorted(folders)[:_LOOKED_AT]


def _content(root: Path) -> str:
    if root.is_file():
        return f"nothing: it is a {root.suffix or 'file without a suffix'}"
    names = sorted(entry.name + "/" * entry.is_dir() for entry in root.iterdir())
    return (", ".join(names[:8]) + (", ..." if len(names) > 8 else "")) or "nothing"
