"""Sizes of files, a folder at a time, and why a file is not there."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections import OrderedDict
from pathlib import Path


class FolderListing:
    """Sizes of files; a folder is listed once, because on a network disk a look at each file is a round trip.

    A listing holds 16 bytes a file (hashes of names, sizes), of the `folders` that were asked for last.
    """

    def __init__(self, folders: int = 256) -> None:
        self._folders = folders
        self._listings: OrderedDict[str, tuple[array[int], array[int]] | None] = OrderedDict()

    def size(self, path: Path) -> int:
        """Bytes of a file, or of what its link leads to; 0 where there is none."""
        folder, _, name = os.fspath(path).rpartition("/")
        listing = self._listed(folder)
        if listing is None:
            return 0
        names, sizes = listing
        wanted = hash(name)
        at = bisect_left(names, wanted)
        if at < len(names) and names[at] == wanted:
            return sizes[at]
        try:  # a file system may know the name in another spelling, or not let the folder be listed
            return os.path.getsize(path) if os.path.isfile(path) else 0
        except OSError:
            return 0

    def _listed(self, folder: str) -> tuple[array[int], array[int]] | None:
        """Sorted hashes of the names of files that are not empty, and their sizes; None: there is no such
        folder."""
        if folder in self._listings:
            self._listings.move_to_end(folder)
            return self._listings[folder]
        try:
            with os.scandir(folder) as entries:
                found = sorted((hash(entry.name), size) for entry in entries if (size := _size(entry)))
        except (FileNotFoundError, NotADirectoryError):
            self._listings[folder] = None
        except OSError:
            self._listings[folder] = array("q"), array("q")
        else:
            self._listings[folder] = (
                array("q", [n for n, _ in found]),
                array("q", [size for _, size in found]),
            )
        listing = self._listings[folder]
        if len(self._listings) > self._folders:
            self._listings.popitem(last=False)
        return listing


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size if entry.is_file() else 0
    except OSError:
        return 0


def why_missing(path: Path) -> str:
    """What is at a path at which no file with content is."""
    if path.is_dir():
        return "is a folder"
    if path.is_symlink() and not path.exists():
        return "is a link that leads nowhere"
    if path.exists():
        return "is empty" if path.is_file() else "is no file"
    try:
        other = next((name for name in os.listdir(path.parent) if name.lower() == path.name.lower()), "")
    except OSError:
        return "is missing, and so is its folder" if not path.parent.exists() else "is missing"
    return f"is missing, but there is {other}" if other else "is missing"
