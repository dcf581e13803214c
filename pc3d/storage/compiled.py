"""Kernels that numba compiles, and where their machine code is kept from one process to the next."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit`, which works for whoever runs an installation of somebody else.

    With `cache=True` numba keeps the code beside the source, or in the user's cache folder. Where neither can
    be written, as in a container with a read-only file system, it is kept in a folder under the temporary
    one; where that is not to be had either, each process compiles anew.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(**options)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
        if _use_private_folder():
            try:
                return numba.njit(**options)(function)
            except RuntimeError as error:
                if "cannot cache" not in str(error):
                    raise
        _warn_once()
        return numba.njit(**{**options, "cache": False})(function)

    return compiled


def cache_folder() -> Path | None:
    """Where the code of kernels of this room is kept, None where it is kept nowhere."""
    kept = njit(cache=True)(_nothing).stats.cache_path
    return None if kept is None else Path(kept)


def _nothing() -> None:
    """A kernel to ask where it is kept."""


def private_folder() -> Path | None:
    """A folder under the temporary one that only this user can write, made if it is not there.

    What lies in it is executed, so a folder or link that somebody else has put there is not used.

    Returns:
        None where there is no such folder.
    """
    try:
        folder = Path(tempfile.gettempdir()) / f"pc3d-numba-{os.getuid()}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
    except OSError:
        return None
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return folder if mine else None


def _use_private_folder() -> bool:
    folder = private_folder()
    if folder is None:
        return False
    numba.config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
    os.environ["NUMBA_CACHE_DIR"] = str(folder)  # for processes that this one starts
    return True


_warned = False


def _warn_once() -> None:
    global _warned
    if not _warned:
        warnings.warn(
            "no folder can be written to keep compiled code in: each process compiles for up to minutes. "
            "Set NUMBA_CACHE_DIR to a folder of yours",
            stacklevel=3,
        )
    _warned = True
