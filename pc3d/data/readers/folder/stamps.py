"""Times in file names: `1531883530449377.bin` in some unit, or numbers that only count."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from pc3d.data.errors import fail
from pc3d.data.readers.folder.description import SECONDS

_STAMP = re.compile(r"(?:.*?[_-])?(?P<whole>\d{1,20})(?:[._](?P<part>\d{1,9}))?")
_BY_DIGITS = {10: "s", 13: "ms", 16: "us", 19: "ns"}
"""Digits of a time since 1970 in a unit, until the year 2286."""


def stem_of(path: Path) -> str:
    """The name of a file without its end, of `.pkl.gz` and the like without both."""
    name = path.name
    for end in (".gz",):
        name = name.removesuffix(end)
    return name.rpartition(".")[0] or name


def number_of(path: Path) -> Fraction | None:
    """The number in a file's name, None where there is none: `12`, `1531883530.449`, `lidar_12`."""
    found = _STAMP.fullmatch(stem_of(path))
    if found is None:
        return None
    part = found["part"] or ""
    return Fraction(int(found["whole"] + part), 10 ** len(part))


def unit_by_digits(numbers: Sequence[Fraction]) -> str | None:
    """The unit of times since 1970, by their digits; None where they only count."""
    digits = {len(str(int(number))) for number in numbers}
    return _BY_DIGITS.get(digits.pop()) if len(digits) == 1 else None


def microseconds(number: Fraction, unit: str | None, rate_hz: float | None) -> int:
    """The time of a number in whole microseconds."""
    if rate_hz is not None:
        return round(number * 1_000_000 / Fraction(rate_hz))
    return round(number * 1_000_000 / Fraction(SECONDS[unit or "us"]))


def by_number(paths: Sequence[Path]) -> dict[Fraction, Path]:
    """Files by the number in their names, ascending.

    Raises:
        DataError: a name has no number, or two have the same.
    """
    found: dict[Fraction, Path] = {}
    for path in paths:
        number = number_of(path)
        if number is None:
            fail(
                "the name of the file has no time and no number",
                path,
                "name files 1531883530449377.bin or 000012.bin",
            )
        if number in found:
            fail(
                f"two files have the number {number}: {found[number].name}, {path.name}",
                path.parent,
                "remove one",
            )
        found[number] = path
    return dict(sorted(found.items()))
