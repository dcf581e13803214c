"""Text files of a data set, read whole."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from pc3d.data.errors import DataError, fail
from pc3d.data.records import Float64


def read_lines(path: Path, what: str, remedy: str) -> list[str]:
    """The lines of a text file, without their ends; `what` it is, for the message.

    Raises:
        DataError: the file is missing or no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{what} cannot be read: {error}\n  where: {path}\n  remedy: {remedy}") from error


def read_rows(path: Path, what: str, width: int, remedy: str) -> Float64:
    """(N, width) finite numbers of a text file with a row a line, blank lines left out.

    Raises:
        DataError: the file cannot be read, or a line holds something else.
    """
    rows = []
    for number, line in enumerate(read_lines(path, what, remedy), start=1):
        if not (words := line.split()):
            continue
        try:
            values = [float(word) for word in words]
        except ValueError as error:
            fail(f"line {number} of the {what} is broken: {error}", path, remedy)
        if len(values) != width:
            fail(f"line {number} of the {what} has {len(values)} numbers, expected {width}", path, remedy)
        if not all(map(math.isfinite, values)):
            fail(f"line {number} of the {what} holds a number that is not finite", path, remedy)
        rows.append(values)
    return np.array(rows, dtype=np.float64).reshape(-1, width)
