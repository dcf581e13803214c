"""Which format a folder or a file has, told by the names of a few files."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from pc3d.data.errors import fail
from pc3d.data.readers import READERS
from pc3d.data.readers.folder.description import find_description


def detected_formats(root: Path) -> dict[str, str]:
    """Formats that a root looks like, and why, by name.

    A reader's module has `detect(root)`, which gives the reason or None; it opens no large file.
    """
    found = {}
    for name, where in READERS.items():
        reason = import_module(where.partition(":")[0]).detect(root)
        if reason:
            found[name] = reason
    if len(found) > 1 and "folder" in found and find_description(root) is None:
        del found["folder"]  # every data set is folders of points; own ones have a calibration file
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


def _content(root: Path) -> str:
    if root.is_file():
        return f"nothing: it is a {root.suffix or 'file without a suffix'}"
    names = sorted(entry.name + "/" * entry.is_dir() for entry in root.iterdir())
    return (", ".join(names[:8]) + (", ..." if len(names) > 8 else "")) or "nothing"
