"""The calls that change what is on a disk, each once: a test that kills or records writes does it here."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import IO


def create(path: Path) -> IO[bytes]:
    """Open a new file to write, unbuffered; its mode is the umask's."""
    return open(path, "xb", buffering=0)


def write(file: IO[bytes], data: bytes | bytearray | memoryview) -> None:
    """Write all of `data`: a raw file may take a part of it."""
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[file.write(rest) :]


def sync(file: IO[bytes]) -> None:
    """Wait until the file's content is on the disk."""
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk; where folders cannot be synced nothing happens."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def rename(source: Path, target: Path) -> None:
    """Give a file or folder another name in one instant; a file of that name is replaced."""
    os.replace(source, target)


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    path.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make one folder."""
    folder.mkdir()


def remove_folder(folder: Path) -> None:
    """Remove an empty folder."""
    folder.rmdir()


def exchange(first: Path, second: Path) -> bool:
    """Swap the names of two files or folders in one instant.

    Returns:
        False where this system or file system cannot do it; nothing has changed then.
    """
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return renameat2(here, os.fsencode(first), here, os.fsencode(second), swap) == 0
