"""Columns of points that are within their range and yet not what they are called."""

from __future__ import annotations

import numpy as np

from pc3d.data.records import Float32
from pc3d.data.survey.tally import Tally
from pc3d.findings import Finding

_RINGS = 128
"""Lasers of the LiDARs that there are."""
_WITHIN = 0.5
"""How far points are from the elevation of their ring, as a part of how far they are from that of all: at
most 0.02 in simulated and real sweeps, 0.88 and more in a column that is no ring."""


class PointColumns:
    """Looks at the points of a few sweeps."""

    def __init__(self) -> None:
        self._rings, self._dark = Tally(), Tally()

    def look(self, points: Float32, ring: bool, token: str) -> None:
        self._dark.look(not points[:, 3].any(), f"sweep {token}")
        if ring:
            what = odd_rings(points)
            self._rings.look(bool(what), f"{what}, sweep {token}")

    def findings(self) -> list[Finding]:
        return [
            *self._rings.finding(
                "rings",
                "warning",
                "sweeps (a sample) have a fifth column that is no ring",
                "write x y z intensity ring, in this order",
            ),
            *self._dark.finding(
                "intensity",
                "warning",
                "sweeps (a sample) have no intensity but 0",
                "write it, or leave it out of `data.features`",
            ),
        ]


def odd_rings(points: Float32) -> str:
    """What is odd about the rings of a sweep (P, 5); "" where nothing is, or all is one ring."""
    order = np.argsort(points[:, 4], kind="stable")
    rings, starts = np.unique(points[order, 4], return_index=True)
    if len(rings) > _RINGS:
        return f"{len(rings)} rings"
    if len(rings) == 1:
        return ""
    elevation = np.arctan2(points[:, 2], np.linalg.norm(points[:, :2], axis=1))
    within = np.concatenate([_distances(ring) for ring in np.split(elevation[order], starts[1:])])
    share = float(np.median(within) / max(np.median(_distances(elevation)), 1e-6))
    return f"rings are {share:.2f} as wide in elevation as all points" if share > _WITHIN else ""


def _distances(values: Float32) -> Float32:
    """From their median, which points without a return, at the origin, do not move."""
    return np.abs(values - np.median(values))
