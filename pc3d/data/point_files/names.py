"""Which column of a file is what, and in which unit: proposals with reasons, for a user to confirm."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

ALIASES: dict[str, tuple[str, ...]] = {
    "x": ("x",),
    "y": ("y",),
    "z": ("z",),
    "intensity": ("intensity", "i", "reflectivity", "reflectance", "intensities", "scalar_intensity"),
    "ring": ("ring", "channel", "laser_id", "line", "laser_number"),
    "time": (
        *("time", "t", "timestamp", "time_stamp", "timestamps", "offset_time", "offset_ns", "gps_time"),
        *("timeoffset", "time_offset"),
    ),
    "elongation": ("elongation",),
    "return": ("return", "return_number"),
}
"""Names that files have for the standard columns, in lower case; of two in one file the first is meant."""

Start = Literal["sweep", "1970", "unknown"]

_EPOCHS = (("s", 1.0, 1e8, 1e10), ("ms", 1e3, 1e11, 1e13), ("us", 1e6, 1e14, 1e16), ("ns", 1e9, 1e17, 1e19))
"""Unit, how many make a second, and the range of times since 1970 in it: 1973 to 2286."""
_SWEEPS = (("s", 1.0), ("ms", 1e3), ("us", 1e6), ("ns", 1e9))
_SHORTEST, _LONGEST = 0.005, 2.0
"""Seconds that the points of a sweep take: 200 Hz to half a turn a second."""
_SCALES = ((1.0, "1"), (255.0, "8 bits"), (4095.0, "12 bits"), (65535.0, "16 bits"))


@dataclass(frozen=True)
class Guess:
    """What a column of a file seems to be.

    Attributes:
        standard: the standard column.
        source: its name in the file.
        divisor: how many of its units make a standard one; None where nobody can tell.
        start: of times, what they count from.
        reason: why, for the user who confirms it.
    """

    standard: str
    source: str
    divisor: float | None = 1.0
    start: Start = "sweep"
    reason: str = ""

    @property
    def sure(self) -> bool:
        """Whether it can be written as a column of a LiDAR format."""
        return self.divisor is not None and self.start != "unknown"

    @property
    def text(self) -> str:
        """The column as a LiDAR format has it, `intensity=i/255`; "" where it is not sure."""
        if not self.sure:
            return ""
        name = self.standard if self.source == self.standard else f"{self.standard}={self.source}"
        scale = "" if self.divisor in (None, 1.0) else f"/{self.divisor:.10g}"
        return name + scale + ("@" if self.start == "1970" else "")


def standard_names(names: Collection[str]) -> dict[str, str]:
    """The names of a file by the standard column that each seems to be, whatever their letters."""
    lower: dict[str, str] = {}
    for name in names:
        lower.setdefault(name.lower(), name)
    found = {}
    for standard, aliases in ALIASES.items():
        if match := next((lower[alias] for alias in aliases if alias in lower), None):
            found[standard] = match
    return found


def guess_columns(columns: Mapping[str, NDArray]) -> list[Guess]:
    """What the columns of a file seem to be, by name, type and range, in the order of the standard ones.

    Columns that are none of the standard ones are left out.
    """
    guesses = []
    for standard, source in standard_names(columns).items():
        values = columns[source]
        if values.dtype.kind not in "biuf":
            reason = f"{source!r} holds no numbers"
            guesses.append(Guess(standard, source, None, reason=reason))
        elif standard == "time":
            guesses.append(guess_time(source, values))
        elif standard == "intensity":
            guesses.append(guess_intensity(source, values))
        else:
            guesses.append(Guess(standard, source, reason=f"named {source!r}"))
    return guesses


def guess_intensity(source: str, values: NDArray) -> Guess:
    """What stands for full intensity, by the largest value: 1, 255, 4095, 65535, or that value itself."""
    low, high = _range(values)
    if not np.isfinite(high):
        return Guess("intensity", source, None, reason=f"{source!r} holds no number")
    seen = f"{source!r} is {low:.6g} to {high:.6g}"
    if low < 0:
        return Guess("intensity", source, None, reason=f"{seen}: below 0, perhaps decibels")
    if high == 0:
        return Guess("intensity", source, None, reason=f"{seen}: nothing but 0, so no scale can be seen")
    whole = values.dtype.kind in "biu" or _whole(values)
    for scale, name in _SCALES:
        if high <= scale and not (scale == 1 and whole):
            kind = "whole numbers" if whole else "numbers"
            return Guess(
                "intensity", source, scale, reason=f"{seen}, {kind} that fit {name} (0 to {scale:g})"
            )
    return Guess("intensity", source, high, reason=f"{seen}, without a usual scale: its maximum is taken")


def guess_time(source: str, values: NDArray) -> Guess:
    """Unit and start of the times of points, by type and range.

    Since 1970: by the size of the values. Else by how long they last, which for a sweep is 5 ms to 2 s; those
    that are larger than they last long count from a start that the file does not tell.
    """
    low, high = _range(values)
    if not (np.isfinite(low) and np.isfinite(high)):
        return Guess("time", source, None, reason=f"{source!r} holds no number")
    span = high - low
    seen = f"{source!r} is {low:.10g} to {high:.10g}"
    for unit, ticks, least, most in _EPOCHS:
        if low >= least and high < most and span <= 60 * ticks:
            reason = f"{seen}: {unit} since 1970, over {span / ticks:.3g} s"
            step = float(np.spacing(values.dtype.type(high))) if values.dtype.kind == "f" else 0.0
            if step <= 1e-3 * ticks:
                return Guess("time", source, ticks, "1970", reason)
            reason = f"{reason}, but {values.dtype} has steps of {step / ticks:.3g} s there"
            return Guess("time", source, None, "1970", reason)
    for unit, ticks in _SWEEPS:
        if _SHORTEST <= span / ticks < _LONGEST:
            reason = f"{seen}: over {span / ticks:.3g} s if in {unit}"
            if min(abs(low), abs(high)) <= span:
                return Guess("time", source, ticks, "sweep", reason)
            return Guess(
                "time", source, ticks, "unknown", f"{reason}, from a start that the file does not tell"
            )
    reason = f"{seen}: all at one time" if span == 0 else f"{seen}: in no unit the 5 ms to 2 s of a sweep"
    return Guess("time", source, None, "unknown", reason)


def guess_metres(columns: Mapping[str, NDArray], sources: Mapping[str, str]) -> Guess:
    """Unit of x, y, z by how far the points reach from their middle: LiDARs reach 20 to 500 m.

    Args:
        columns: of a file. sources: the names in the file of `x` and `y`.
    """
    reach = 0.0
    for name in ("x", "y"):
        values = columns[sources[name]].astype(np.float64)
        values = values[np.isfinite(values)]
        if len(values):
            reach = max(reach, float(np.abs(values - np.median(values)).max()))
    seen = f"x and y reach {reach:.6g} from their middle"
    for unit, ticks in (("mm", 1e3), ("cm", 1e2)):
        if 20 * ticks < reach < 500 * ticks:
            return Guess("x", sources["x"], ticks, reason=f"{seen}, as far as LiDARs see if in {unit}")
    return Guess("x", sources["x"], 1.0, reason=f"{seen}, taken as metres")


def _range(values: NDArray) -> tuple[float, float]:
    """Least and largest number; not a number where there is none."""
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if len(values) else (np.nan, np.nan)


def _whole(values: NDArray) -> bool:
    finite = values[np.isfinite(values)]
    return bool((finite == np.rint(finite)).all())
