"""What decoders of point files share: the bytes of a file, and one error for whatever is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import DataError, fail

Raw = dict[str, NDArray]
"""Columns of a file by its own names, one entry a point."""
Types = dict[str, np.dtype]
"""Names and types of a file's columns, before any point is read."""

MOST_BYTES = 1 << 30
"""Of a file, and of what it unpacks to: a sweep of the densest LiDAR has some 20 MB."""
AGAIN = "copy the file again, or write it anew"


@contextmanager
def decoding(path: Path, kind: str) -> Iterator[None]:
    """One `DataError` for whatever happens to a file in the block: libraries have errors of their own."""
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError:
        fail("point file is missing", path, "check the data set root, or copy the file again")
    except Exception as error:  # of a damaged file: of many kinds
        text = " ".join(str(error).split())[:200]
        if isinstance(error, OSError) and error.errno is not None:
            what, remedy = (
                f"point file cannot be read: {error.strerror}",
                "check its permissions, and the disk",
            )
        else:
            what, remedy = f"this is no whole {kind} file ({type(error).__name__}: {text})", AGAIN
        raise DataError(f"{what}\n  where: {path}\n  remedy: {remedy}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def read_whole(path: Path, at_most: int = MOST_BYTES) -> bytes:
    """All bytes of a file that holds some, or its beginning.

    Args:
        at_most: a larger file is refused.

    Raises:
        DataError: the file is empty or too large. OSError: it cannot be read.
    """
    size = path.stat().st_size
    if not size:
        fail("point file is empty", path, AGAIN)
    if size > at_most:
        fail(f"point file has {size} bytes, more than any sweep", path, "cut it into sweeps")
    return path.read_bytes()


def read_start(path: Path, length: int) -> bytes:
    """The first bytes of a file, `length` at most."""
    with path.open("rb") as file:
        content = file.read(length)
    if not content:
        fail("point file is empty", path, AGAIN)
    return content


def broken(what: str, path: Path, line: int | None = None, remedy: str = AGAIN) -> NoReturn:
    """Raise the error of a damaged file, with the line (from 1) where one is known."""
    fail(what, path if line is None else f"{path}, line {line}", remedy)


def shown(text: bytes | str, length: int = 60) -> str:
    """A piece of a file for a message, cut where it is long."""
    if isinstance(text, bytes):
        text = text[: 4 * length].decode("utf-8", "backslashreplace")
    return repr(text[:length] + ("..." if len(text) > length else ""))


def names_by_position(count: int, sources: Sequence[str], path: Path) -> list[str]:
    """Names of the columns of a file that has none: those that its format gives, else "0", "1", ...

    Args:
        count: columns of the file.
        sources: names of a format, in order, `_` for a column that is skipped; empty where there is none.

    Raises:
        DataError: the format names another number of columns.
    """
    numbers = [str(n) for n in range(count)]
    if all(name == "_" or name.isdigit() for name in sources):
        return numbers
    if len(sources) != count:
        fail(
            f"the file has {count} columns without names, the format names {len(sources)}: "
            f"{', '.join(sources)}",
            path,
            "name each in its order, with `_` for one that is skipped, or take some by number, as in x=0",
        )
    return list(sources)


def take_named(columns: Sequence[NDArray], names: Sequence[str]) -> Raw:
    """Columns by name without those of padding (`_`); of two with one name the first."""
    taken: Raw = {}
    for name, column in zip(names, columns, strict=True):
        if name != "_":
            taken.setdefault(name, column)
    return taken
