"""Numbers and times of the scans of a KITTI drive: both come from the number in a file's name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path

from pc3d.data.errors import fail
from pc3d.data.readers.text_files import read_lines

PERIOD_US = 100_000
"""10 Hz, where a drive comes without its timestamps."""

_MOST_DIGITS = 10
_LONGEST_DRIVE = 1e6  # seconds
_REMEDY = "extract the drive again"
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?")


def number_scans(paths: Sequence[Path]) -> dict[int, Path]:
    """Scan files by number, ascending.

    Raises:
        DataError: a name is no number, or two are the same.
    """
    scans: dict[int, Path] = {}
    for path in sorted(paths):
        if not is_number(path.stem):
            fail("the name of a scan is no number", path, "name scans by number, e.g. 0000000012.bin")
        number = int(path.stem)
        if scans.setdefault(number, path) != path:
            fail(f"two scans have the number {number}", f"{scans[number]} and {path}", "remove one of them")
    return dict(sorted(scans.items()))


def is_number(stem: str) -> bool:
    """Whether the name of a file, without its ending, is the number of a scan."""
    return re.fullmatch(f"[0-9]{{1,{_MOST_DIGITS}}}", stem) is not None


def utc_microseconds(line: str, path: Path, number: int) -> int:
    """Of the UTC time of scan `number`, e.g. `2011-09-26 13:02:25.951199337`.

    Raises:
        DataError: it is none.
    """
    found = _TIME.fullmatch(line)
    try:
        if found is None:
            raise ValueError("expected e.g. 2011-09-26 13:02:25.951199337")
        moment = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
    except ValueError as error:
        fail(f"line {number + 1} is no time: {line[:80]!r} ({error})", path, _REMEDY)
    if not 1990 <= moment.year < 2100:
        fail(f"line {number + 1} is no time of a drive (1990 to 2099): {line[:80]!r}", path, _REMEDY)
    return int(moment.timestamp()) * 1_000_000 + int((found[2] or "0")[:6].ljust(6, "0"))


def microseconds_from_start(line: str, path: Path, number: int) -> int:
    """Of seconds since the start of a drive, e.g. `1.037359e-01`.

    Raises:
        DataError: it is no such number.
    """
    try:
        seconds = float(line)
    except ValueError:
        seconds = float("nan")
    if not 0 <= seconds < _LONGEST_DRIVE:
        fail(f"line {number + 1} is no time in seconds: {line[:80]!r}", path, _REMEDY)
    return round(1e6 * seconds)


def scan_times(
    path: Path,
    numbers: Sequence[int],
    others: Sequence[int] = (),
    microseconds: Callable[[str, Path, int], int] = utc_microseconds,
) -> tuple[list[int], range]:
    """Microseconds of each scan, and the numbers that the drive had, those that are missing included.

    Args:
        path: the file of times, of which line n (from 0) is the time of scan n; lines of missing scans may
            be blank. Without the file the drive is taken at 10 Hz from scan 0.
        numbers: of the scans, ascending; at least one.
        others: numbers of images and of OXTS packets, which the drive had scans for.
        microseconds: of a line (line, path, number of the scan).

    Raises:
        DataError: no line for a scan, a line that is no time, times that do not ascend.
    """
    if not path.is_file():
        every = [*numbers, *others]
        return [number * PERIOD_US for number in numbers], range(min(every), max(every) + 1)
    lines = [line.strip() for line in read_lines(path, "timestamps", _REMEDY)]
    while lines and not lines[-1]:
        lines.pop()
    if numbers[-1] >= len(lines):
        fail(
            f"{len(lines)} timestamps, but there is a scan {numbers[-1]} (line n, from 0, is scan n)",
            path,
            "extract the drive again; renumber scans that were renamed",
        )
    times = {number: microseconds(line, path, number) for number, line in enumerate(lines) if line}
    blank = next((number for number in numbers if number not in times), None)
    if blank is not None:
        fail(f"line {blank + 1} is blank, but there is a scan {blank}", path, _REMEDY)
    for (one, time), (other, later) in pairwise(times.items()):
        if later < time:
            fail(f"time goes backwards from line {one + 1} to line {other + 1}", path, _REMEDY)
    return [times[number] for number in numbers], range(len(lines))


def gaps(numbers: Sequence[int], every: range) -> list[str]:
    """The numbers of `every` that are missing, e.g. `["3", "177 to 180"]`."""
    bounds = [every.start - 1, *numbers, every.stop]
    missing = [(a + 1, b - 1) for a, b in pairwise(bounds) if b - a > 1]
    return [f"{first}" if first == last else f"{first} to {last}" for first, last in missing]
