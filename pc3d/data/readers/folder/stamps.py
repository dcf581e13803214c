"""Times in file names: `1531883530449377.bin` in some unit, or numbers that only count."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from pc3d.data.errors import fail
from pc3d.data.readers.folder.description import SECONDS

_COUNT = re.compile(r"(?:.*\D)?(\d{1,20})", re.ASCII)
_SPLIT = re.compile(r"(?:.*\D)?(\d{10})[._](\d{1,20})", re.ASCII)
"""Seconds since 1970 and a part of a second."""
_DECIMAL = re.compile(r"(?:.*[_-])?(\d{1,9})\.(\d{1,20})", re.ASCII)
_PARTS = (3, 6, 9)
"""Digits of a part of a second: 5 could be 0.5 s, or 5 ns without its zeros."""
_DAY = r"(?:19|20)\d\d{}(?:0[1-9]|1[0-2]){}(?:0[1-9]|[12]\d|3[01])"
_CLOCK = r"[-_T ](?:[01]\d|2[0-3])[-_.:h]?[0-5]\d(?:[-_.:m]?[0-5]\d(?:[-_.]\d+)?)?"
_DATE = re.compile(
    rf"(?:.*\D)?(?:{_DAY.format('', '')}{_CLOCK}|{_DAY.format('[-_.]', '[-_.]')}(?:{_CLOCK})?)", re.ASCII
)
"""`20231114_225959`, `2023-11-14-22-59-59`, `2023-11-14`."""
_BY_DIGITS = {10: "s", 13: "ms", 16: "us", 19: "ns"}
"""Digits of a time since 1970 in a unit, until the year 2286."""


def stem_of(path: Path) -> str:
    """The name of a file without its end, of `.pkl.gz` and `.pcd.bin` without both."""
    name = path.name
    if name.lower().endswith(".pcd.bin"):
        return name[: -len(".pcd.bin")]
    name = name.removesuffix(".gz")
    return name.rpartition(".")[0] or name


def number_of(path: Path) -> Fraction | None:
    """The number at the end of a file's name: `12`, `lidar_12`, `drive_0001_000012`, `1531883530.449`.

    None where there is none, where it is a date, and where a part of a second has not 3, 6 or 9 digits.
    """
    found = _digits(stem_of(path))
    return None if found is None else Fraction(int("".join(found)), 10 ** len(found[1]))


def _digits(stem: str) -> tuple[str, str] | None:
    """Digits before and behind the point."""
    if _DATE.fullmatch(stem):
        return None
    parts = _SPLIT.fullmatch(stem) or _DECIMAL.fullmatch(stem)
    if parts is not None:
        return (parts[1], parts[2]) if len(parts[2]) in _PARTS else None
    count = _COUNT.fullmatch(stem)
    return None if count is None else (count[1], "")


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
        DataError: a name has no number, or a date; two have the same; parts of a second have more digits in
            one name than in another.
    """
    found: dict[Fraction, Path] = {}
    widths: dict[int, Path] = {}
    for path in paths:
        number, digits = number_of(path), _digits(stem_of(path))
        if number is None or digits is None:
            fail(_why_none(stem_of(path)), path, "name files 1531883530449377.bin or 000012.bin")
        if number in found:
            fail(
                f"two files have the number {number}: {found[number].name}, {path.name}",
                path.parent,
                "remove one",
            )
        found[number] = path
        widths.setdefault(len(digits[1]), path)
    if len(widths) > 1:
        one, other = list(widths.values())[:2]
        fail(
            f"parts of a second have different numbers of digits: {one.name}, {other.name}",
            other.parent,
            "write all with the same, zeros included: which comes first is not sure else",
        )
    return dict(sorted(found.items()))


def _why_none(stem: str) -> str:
    if _DATE.fullmatch(stem):
        return f"the name {stem!r} is a date: its time zone is not known"
    if _SPLIT.fullmatch(stem) or _DECIMAL.fullmatch(stem):
        return f"the part of a second in {stem!r} has not 3, 6 or 9 digits (zeros included)"
    return "the name of the file has no time and no number"
