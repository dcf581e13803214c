"""A folder that is whole or not there; one that it replaces stays until it is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pc3d.storage import disk
from pc3d.storage.whole import clean, partial_name


@contextmanager
def new_folder(path: Path, durable: bool = True) -> Iterator[Path]:
    """Fill a folder under a temporary name; it gets its own when the block ends without an error.

    Where a folder of that name is there, both swap names in one instant, and the old one is removed then. A
    file system that cannot swap (NFS) has a short moment between two renames: what is killed there leaves the
    old folder as `.NAME.replaced`, and the next `new_folder` of that name gives it its name back.
    What killed writers left beside it is removed at the start.

    Args:
        path: the folder; its parent must exist.
        durable: wait for the disk. The files within must have been synced by who wrote them.

    Yields:
        The folder to fill.
    """
    path = Path(path).resolve()  # behind a link, what it leads to is replaced
    aside = path.with_name(f".{path.name}.replaced")
    if aside.exists() and not path.exists():
        disk.rename(aside, path)
    shutil.rmtree(aside, ignore_errors=True)
    clean(path.parent)
    unfinished = partial_name(path)
    disk.make_folder(unfinished)
    try:
        yield unfinished
        if durable:
            disk.sync_folder(unfinished)
        _put(unfinished, path, aside)
        if durable:
            disk.sync_folder(path.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # what was replaced, or what is not finished


def _put(unfinished: Path, path: Path, aside: Path) -> None:
    if not path.exists():
        disk.rename(unfinished, path)
    elif not disk.exchange(unfinished, path):
        disk.rename(path, aside)
        disk.rename(unfinished, path)
        disk.rename(aside, unfinished)
