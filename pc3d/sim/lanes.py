"""Which way the lanes of a map run, and which lane leads on to which.

A lane or road block here is a ring of four corners; `along_traffic` puts them in the order right start,
right end, left end, left start.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pc3d.sim.tables import Row
from pc3d.sim.types import Float

_REACH = 60.0
"""Metres across a junction within which the lane beyond it is sought."""

_STRAIGHT = 999.999
"""Radius of a straight arcline path in the official maps."""


def along_traffic(ring: Float, road_dividers: Sequence[Float]) -> Float:
    """A (4, 2) ring in the order above: traffic runs along the long sides and keeps right of the divider.

    Args:
        ring: corners in either sense. road_dividers: (K, 2) polylines; the nearest one counts.

    Raises:
        ValueError: the ring has not four corners.
    """
    if ring.shape != (4, 2):
        raise ValueError(f"a lane or road block needs four corners, got {ring.shape}")
    x, y = (ring - ring[0]).T
    if (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() < 0:
        ring = ring[::-1]  # counter-clockwise: what lies inside is on the left of each side
    if math.dist(ring[0], ring[1]) < math.dist(ring[1], ring[2]):
        ring = np.roll(ring, -1, axis=0)
    if road_dividers:
        centre, ahead = ring.mean(axis=0), ring[1] - ring[0]
        to_divider = min((_to_line(centre, line) for line in road_dividers), key=np.linalg.norm)
        if ahead[0] * to_divider[1] - ahead[1] * to_divider[0] < 0:
            ring = np.roll(ring, 2, axis=0)
    return ring


def _to_line(point: Float, line: Float) -> Float:
    """(2,) shortest vector from a point to a (K, 2) polyline."""
    start, step = line[:-1], np.diff(line, axis=0)
    share = ((point - start) * step).sum(axis=1) / np.maximum((step**2).sum(axis=1), 1e-12)
    offsets = start + share.clip(0, 1)[:, None] * step - point
    return offsets[np.argmin((offsets**2).sum(axis=1))]


def centre_line(ring: Float) -> Float:
    """(2, 2) start and end of the middle of a ring in the order of traffic."""
    return (ring[[0, 1]] + ring[[3, 2]]) / 2


def arcline_path(ring: Float) -> Row:
    """The straight arcline path along the middle of a ring in the order of traffic."""
    start, end = centre_line(ring).tolist()
    yaw = math.atan2(end[1] - start[1], end[0] - start[0])
    return {
        "start_pose": [*start, yaw],
        "end_pose": [*end, yaw],
        "shape": "LSL",
        "radius": _STRAIGHT,
        "segment_length": [0.0, math.dist(start, end), 0.0],
    }


def lanes_straight_on(rings: Sequence[Float]) -> list[tuple[int, int]]:
    """Pairs (from, to) of lanes: `to` is the first to begin straight ahead of where `from` ends."""
    lines = [centre_line(ring) for ring in rings]
    pairs = []
    for i, line in enumerate(lines):
        ahead = (line[1] - line[0]) / math.dist(line[0], line[1])
        found = []
        for j, other in enumerate(lines):
            gap = other[0] - line[1]
            along, aside = float(gap @ ahead), float(ahead[0] * gap[1] - ahead[1] * gap[0])
            same_way = float((other[1] - other[0]) @ ahead) > 0.99 * math.dist(other[0], other[1])
            if j != i and same_way and abs(aside) < 0.5 and -0.5 < along < _REACH:
                found.append((along, j))
        if found:
            pairs.append((i, min(found)[1]))
    return pairs


def connector(before: Float, after: Float) -> Float:
    """(4, 2) ring in the order of traffic, from the end of one lane to the start of the next."""
    return np.stack([before[1], after[0], after[3], before[2]])
