"""What the columns of a table hold: many rows are checked and taken at once, which costs little."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import fail
from pc3d.data.records import MAX_DISTANCE, MAX_PIXELS, Float64, check_intrinsics

_REMEDY = "correct the table, or extract the metadata archive again"


@dataclass(frozen=True)
class Kind:
    """What the values of a column are.

    Attributes:
        expected: what each is, in words.
        take: the values of some rows as an array or a list; None if one is something else.
        hint: what a value that is something else seems to be, "" where nobody knows.
    """

    expected: str
    take: Callable[[list[Any]], Any]
    hint: Callable[[Any], str] = lambda value: ""


def take_columns(
    rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, Kind], path: Path, first: int | None = None
) -> dict[str, Any]:
    """Columns of some rows of a table; `first` is the number of the first of them, if they follow each other.

    Raises:
        DataError: names the table, the row, the column, what is there and what is expected.
    """
    columns = {}
    for name, kind in kinds.items():
        try:
            values = list(map(itemgetter(name), rows))
        except KeyError:
            n = next(n for n, row in enumerate(rows) if name not in row)
            where = place(path, rows[n], None if first is None else first + n)
            fail(f"column {name!r} is missing, expected {kind.expected}", where, _REMEDY)
        columns[name] = kind.take(values)
        if columns[name] is None:
            n = next(n for n, value in enumerate(values) if kind.take([value]) is None)
            where = place(path, rows[n], None if first is None else first + n)
            what = f"column {name!r} is {shown(values[n])}{kind.hint(values[n])}"
            fail(f"{what}, expected {kind.expected}", where, _REMEDY)
    return columns


def place(path: Path, row: Mapping[str, Any], number: int | None = None) -> str:
    """A row of a table, for a message."""
    parts = [str(path)] if number is None else [str(path), f"row {number}"]
    return ", ".join(parts) + (f" (token {shown(row['token'])})" if row.get("token") else "")


def shown(value: object) -> str:
    """A value for a message, cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits
        return f"a {type(value).__name__} that is too large to show"
    return text if len(text) <= 100 else text[:100] + "..."


def _types(values: list[Any], *types: type) -> bool:
    """Whether each is exactly of one of the types: a bool is no int here."""
    return set(map(type, values)) <= set(types)


def _texts(values: list[Any]) -> list[str] | None:
    """Strings that can be written; a lone surrogate cannot."""
    if not _types(values, str):
        return None
    joined = "".join(values)
    return values if joined.isascii() or not re.search("[\ud800-\udfff]", joined) else None


def _filled_texts(values: list[Any]) -> list[str] | None:
    return _texts(values) if all(values) else None


def _relative_files(values: list[Any]) -> list[str] | None:
    """Paths that stay below the folder that they start from; only their text counts, links may lead out."""
    if _filled_texts(values) is None or max(map(len, values), default=0) > 1000:
        return None
    lines = "\n" + "\n".join(values) + "\n"
    if "\\" in lines or "\0" in lines or "\n/" in lines:
        return None
    if ":" in lines and re.search(r"\n[A-Za-z]:", lines):
        return None
    # Looked for first what few names have: a part that starts with a dot.
    up = ("/." in lines or "\n." in lines) and re.search(r"[/\n]\.\.[/\n]", lines)
    return None if up else values


def _numbers(values: list[Any]) -> Float64 | None:
    """(N,) float64, None if one is no number or too large."""
    if not _types(values, int, float):
        return None
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:
        return None


def _between(numbers: Float64 | None, low: float, high: float) -> Float64 | None:
    """The numbers, None if one is not between; nor is one that is not finite."""
    return numbers if numbers is not None and ((numbers > low) & (numbers < high)).all() else None


def _whole_numbers(values: list[Any], least: int, high: float) -> NDArray[np.int64] | None:
    numbers = _between(_numbers(values), least - 1, high) if _types(values, int) else None
    return None if numbers is None else numbers.astype(np.int64)


def _vectors(values: list[Any], length: int) -> Float64 | None:
    """(N, length) float64, None if one is no list of so many numbers."""
    if not _types(values, list) or not set(map(len, values)) <= {length}:
        return None
    numbers = _numbers(list(chain.from_iterable(values)))
    return None if numbers is None else numbers.reshape(-1, length)


def _unit_quaternions(values: list[Any]) -> Float64 | None:
    vectors = _between(_vectors(values, 4), -2, 2)
    if vectors is None:
        return None
    lengths = np.einsum("ij,ij->i", vectors, vectors)
    return None if _between(lengths, 0.99, 1.01) is None else vectors


def _camera_matrices(values: list[Any]) -> list[Any] | None:
    return values if all(value == [] or _is_pinhole(value) for value in values) else None


def _is_pinhole(value: Any) -> bool:
    rows = _vectors(value, 3) if isinstance(value, list) and len(value) == 3 else None
    if rows is None:
        return False
    try:
        check_intrinsics(rows)
    except ValueError:
        return False
    return True


def _lists_of_texts(values: list[Any]) -> list[Any] | None:
    fits = _types(values, list) and _filled_texts(list(chain.from_iterable(values))) is not None
    return values if fits else None


_EARLIEST, _LATEST = 1e14, 1e17  # microseconds: the years 1973 and 5138


def _times(values: list[Any]) -> NDArray[np.int64] | None:
    """Microseconds; some data sets write fractions of them, which are rounded."""
    times = _between(_numbers(values), _EARLIEST, _LATEST)
    return None if times is None else np.array(list(map(round, values)), dtype=np.int64)


def _unit_of_time(value: Any) -> str:
    """The unit in which a number would be a time of our days."""
    if type(value) in (int, float):
        for unit, ticks in (("seconds", 1e6), ("milliseconds", 1e3), ("nanoseconds", 1e-3)):
            if _EARLIEST / ticks < value < _LATEST / ticks:
                return f", which looks like {unit} since 1970"
    return ""


TOKEN = Kind("a token", _filled_texts)
LINK = Kind('a token, or "" where there is none', _texts)
TEXT = Kind("a text", _filled_texts)
TOKENS = Kind("a list of tokens", _lists_of_texts)
FLAG = Kind("true or false", lambda values: values if _types(values, bool) else None)
COUNT = Kind(
    "a whole number below 1e9, -1 where it is unknown", lambda values: _whole_numbers(values, -1, 1e9)
)
PIXELS = Kind("a whole number of pixels, 1 to 99999", lambda values: _whole_numbers(values, 1, 1e5))
TIME = Kind("microseconds since 1970", _times, hint=_unit_of_time)
FILE = Kind("the name of a file below the data set root, with forward slashes and no ..", _relative_files)
POSITION = Kind(
    f"3 finite numbers in metres, within {MAX_DISTANCE:g}",
    lambda values: _between(_vectors(values, 3), -MAX_DISTANCE, MAX_DISTANCE),
)
SIZE = Kind("3 numbers above 0 and below 1000 metres", lambda values: _between(_vectors(values, 3), 0, 1000))
ROTATION = Kind("a unit quaternion (4 numbers, length 1)", _unit_quaternions)
CAMERA_MATRIX = Kind(
    f"[] or a 3x3 matrix with focal lengths above 0 (pixels, below {MAX_PIXELS:g}), zeros below the diagonal "
    "and 1 at its end",
    _camera_matrices,
)
