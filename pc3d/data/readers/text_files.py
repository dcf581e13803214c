"""Text files of a data set, read whole."""

from __future__ import annotations

from pathlib import Path

from pc3d.data.errors import DataError


def read_lines(path: Path, what: str, remedy: str) -> list[str]:
    """The lines of a text file, without their ends; `what` it is, for the message.

    Raises:
        DataError: the file is missing or no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{what} cannot be read: {error}\n  where: {path}\n  remedy: {remedy}") from error
