"""What a calibration file says of points against what a file of them holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import fail
from pc3d.data.point_files.names import guess_intensity, guess_time
from pc3d.data.readers.folder.description import SECONDS, UNITS, LidarEntry
from pc3d.findings import Finding

_REACH = 3.0
"""Metres: points of a LiDAR on a vehicle reach farther from their middle."""
_DIM = 0.02
"""The largest intensity over what is said to be full, below which another scale is meant if one fits."""
_SHORTEST, _LONGEST, _COARSEST = 0.005, 2.0, 1e-3
"""Seconds that the points of a scan take, and that their times may be rounded to."""


def check_stated(
    entry: LidarEntry, raw: Mapping[str, NDArray], sources: Mapping[str, str], where: str, sample: Path
) -> list[Finding]:
    """What is odd about units, intensity and times that the calibration says.

    Args:
        raw: columns of the file `sample`. sources: name in the file by standard column.

    Raises:
        DataError: point times cannot be in the unit that is said, or are too coarse to be of use.
    """
    found = []
    if entry.units is not None:
        found += _units(entry.units, raw, sources, where)
    if entry.intensity is not None and "intensity" in sources:
        found += _intensity(entry.intensity, raw[sources["intensity"]], where)
    if entry.time is not None and "time" in sources:
        found += _time(*entry.time, raw[sources["time"]], where, sample)
    return found


def _units(units: str, raw: Mapping[str, NDArray], sources: Mapping[str, str], where: str) -> list[Finding]:
    reach = 0.0
    for name in "xy":
        values = _finite(raw[sources[name]])
        if len(values):
            reach = max(reach, float(np.abs(values - np.median(values)).max()) / UNITS[units])
    if not 0 < reach < _REACH:
        return []
    text = f"{units} is said, but x and y then reach {reach:.3g} m from their middle"
    return [Finding(f"{where}.units", "problem", text, "correct it in the calibration")]


def _intensity(full: float, values: NDArray, where: str) -> list[Finding]:
    guess = guess_intensity("it", values)
    if guess.divisor is None or guess.divisor >= full:
        return []
    most = float(_finite(values).max())
    if most / full >= _DIM and most != guess.divisor:
        return []
    text = f"{full:g} is said to be full, but the largest is {most:.6g}: {guess.divisor:g} would fit"
    return [Finding(f"{where}.intensity", "warning", text, "correct it in the calibration")]


def _time(unit: str, start: str, values: NDArray, where: str, sample: Path) -> list[Finding]:
    ticks = SECONDS[unit]
    finite = _finite(values)
    if not len(finite):
        fail(f"{where}.time: the column of times holds no number", sample, "take it out of `columns`")
    low, high = float(finite.min()), float(finite.max())
    largest = values.dtype.type(max(abs(low), abs(high)))
    step = float(np.spacing(largest)) / ticks if values.dtype.kind == "f" else 0.0
    span = (high - low) / ticks
    if step > _COARSEST:
        fail(
            f"{where}.time: times to {high:.10g} {unit} have steps of {step:.3g} s in {values.dtype}",
            sample,
            "write them from the start of the scan, or as float64 or integers; or skip the column with `_`",
        )
    guess = guess_time("it", values)
    other = next((name for name, n in SECONDS.items() if n == guess.divisor), None)
    near = f": in {other} it would be {(high - low) / guess.divisor:.3g} s" if guess.divisor else ""
    text = f"the points of a scan take {span:.3g} s in {unit} as it is said{near}"
    if span > _LONGEST or (span < _SHORTEST and guess.sure and other != unit):
        fail(f"{where}.time: {text}", sample, f"correct {where}.time in the calibration")
    if span < _SHORTEST:
        return [
            Finding(f"{where}.time", "warning", text, "correct it in the calibration, or skip the column")
        ]
    return []


def _finite(values: NDArray) -> NDArray:
    values = values.astype(np.float64)
    return values[np.isfinite(values)]
