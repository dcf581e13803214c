"""Clouds of a topic that were looked at, and whether units fit them: stated ones, and another bag's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pc3d.data.points.formats import point_format

NAMES = {
    "intensity": ("intensity", "i", "intensities", "reflectivity", "reflectance"),
    "ring": ("ring", "channel", "laser_id", "line"),
    "time": ("time", "t", "timestamp", "time_stamp", "timeStamp", "offset_time", "timestamps"),
}
"""Names that drivers give to a column, the likeliest first."""
NEAR = 5.0
"""Seconds between a point and the stamp of its cloud."""
_LASTS = (0.003, 20.0)  # periods that a sweep may last; a wrong unit is off by a thousand
_PERIODS = (0.05, 0.5)  # s, of LiDARs
_MOST = 0.2  # of the points may lie above what stands for full intensity
_LEAST = 1 / 200  # of full intensity: the brightest point is above it
_APART = 10.0  # between the bright points of two bags of one sensor

Columns = dict[str, NDArray]


@dataclass(frozen=True)
class Look:
    """Clouds of one topic that were looked at.

    Attributes:
        topic: their name.
        clouds: their columns, at least one cloud.
        stamps: seconds, of each cloud.
        period: seconds from cloud to cloud, None if there is but one.
    """

    topic: str
    clouds: Sequence[Columns]
    stamps: Sequence[float]
    period: float | None = None

    def field(self, standard: str) -> str | None:
        """The field that goes for a standard column, None where there is none."""
        there = self.clouds[0]
        return next((name for name in NAMES[standard] if name in there), None)

    def valid(self, name: str) -> list[NDArray]:
        """A field of each cloud, of points that are measured."""
        empty: NDArray = np.empty(0)
        return [
            cloud[name][_measured(cloud) & np.isfinite(cloud[name])] if name in cloud else empty
            for cloud in self.clouds
        ]


def _measured(cloud: Columns) -> NDArray[np.bool_]:
    xyz = np.stack([cloud[name] for name in "xyz"])
    return np.isfinite(xyz).all(axis=0) & (xyz != 0).any(axis=0)


def misfits(look: Look, lidar_format: str) -> list[str]:
    """Why a format does not fit clouds: a field that they lack, times or intensities out of all range."""
    found = []
    layout = point_format(lidar_format)
    for column in layout.layout:
        if any(column.source not in cloud for cloud in look.clouds):
            found.append(f"no field {column.source}")
        elif column.name == "time":
            found.append(time_misfit(look, column.source, column.divisor, column.absolute))
        elif column.name == "intensity":
            tanh = layout.option("intensity") == "tanh"
            found.append(intensity_misfit(look, column.source, column.divisor, tanh))
    return [reason for reason in found if reason]


def time_misfit(look: Look, field: str, divisor: float, absolute: bool) -> str:
    """Why a field holds no times of points, "" if it may.

    Args:
        divisor: how many of its units are a second.
        absolute: they count from the epoch, not from the stamp of the cloud.
    """
    pairs = zip(look.valid(field), look.stamps, strict=True)
    filled = [(values.astype(np.float64) / divisor, stamp) for values, stamp in pairs if len(values)]
    if not filled:
        return f"{field} holds nothing finite"
    lasts = float(np.median([np.ptp(values) for values, _ in filled]))
    if lasts == 0:
        return f"{field} is all the same within a cloud"
    zero = 1.0 if absolute else 0.0
    apart = float(np.median([np.abs(values - zero * stamp).max() for values, stamp in filled]))
    if apart >= NEAR:
        return f"{field} is {apart:.3g} s from the stamp of its cloud then"
    least, most = (share * float(np.clip(look.period or 0.1, *_PERIODS)) for share in _LASTS)
    return "" if least <= lasts <= most else f"the {field} of a sweep lasts {lasts:.3g} s then"


def intensity_misfit(look: Look, field: str, full: float, tanh: bool) -> str:
    """Why a number does not stand for the full intensity of a field, "" if it may.

    Args:
        tanh: intensities above it are squashed.
    """
    values = np.concatenate(look.valid(field)).astype(np.float64)
    if not len(values):
        return f"{field} holds nothing finite"
    if (below := float((values < 0).mean())) > _MOST:
        return f"{below:.0%} of the points have {field} below 0"
    if tanh:
        bright = float(np.percentile(values, 95))
        fits = full / _APART <= bright <= full * _APART
        return "" if fits else f"95 % of the points have {field} up to {bright:.4g}"
    if (above := float((values > full).mean())) > _MOST:
        return f"{above:.0%} of the points have {field} above {full:g}"
    return "" if values.max() > full * _LEAST else f"{field} is at most {values.max():.4g}"
