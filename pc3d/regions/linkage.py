"""Single linkage of points in the plane, at a row of thresholds that grow with the range.

The points of a LiDAR stand apart in proportion to their range, so two points are linked at a level if

    |p - q|^2 <= eps^2 s(p) s(q),    s(p)^2 = |p|^2 + near^2

which far from the sensor is the distance in (log range, azimuth), whose angle has no seam here, and near to
it a distance in metres. Sums, products and roots decide, in one order: the same bits everywhere. The
angles, whose last bits differ with the processor, only find candidates, with room to spare.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pc3d.regions.clusters import root_of
from pc3d.storage.compiled import njit

_ROOM = 1.0 + 1e-9  # of the windows of candidates, for rounding
_ROOM_ANGLE = 1e-9


def linked(xy: NDArray[np.float64], near: float, levels: NDArray[np.float64]) -> NDArray[np.int32]:
    """Components of the points under each threshold.

    Args:
        xy: (P, 2) metres, the sensor at the origin.
        near: metres, positive; at ranges below it thresholds hardly shrink.
        levels: (L,) ascending positive eps.

    Returns:
        (L, P) int32 component of each point at each level: the lowest number of a point, in a fixed order
        by place, of its component. Each level joins components of the one before.

    Raises:
        ValueError: a wrong shape, values that are not finite, `near` or `levels` as said.
    """
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise ValueError(f"points have shape {xy.shape}, expected (P, 2)")
    if not near > 0 or not (np.diff(levels, prepend=0.0) > 0).all():
        raise ValueError(f"near is {near} and levels are {levels}, expected positive and ascending")
    if not np.isfinite(xy).all():
        raise ValueError("points have coordinates that are not finite")
    if not xy.size or not len(levels):
        return np.empty((len(levels), len(xy)), dtype=np.int32)
    x, y = np.ascontiguousarray(xy.T, dtype=np.float64)
    radius = np.sqrt(x * x + y * y)
    edges = _ring_edges(radius.max(), near, 0.5 * float(levels[-1]))
    ring = np.searchsorted(edges, radius, side="right") - 1
    angle = np.arctan2(y, x)
    order = np.lexsort((angle, ring))
    starts = np.searchsorted(ring[order], np.arange(len(edges) + 1))
    scale = np.sqrt(radius * radius + near * near)
    sorted_points = x[order], y[order], radius[order], angle[order], scale[order]
    found = _linked(*sorted_points, edges, starts, np.ascontiguousarray(levels, dtype=np.float64))
    components = np.empty_like(found)
    components[:, order] = found
    return components


def _ring_edges(reach: float, near: float, width: float) -> NDArray[np.float64]:
    """Inner radius of each ring; rings are `width` times the scale wide."""
    edges = [0.0]
    while edges[-1] <= reach:
        edges.append(edges[-1] + width * float(np.sqrt(edges[-1] ** 2 + near**2)))
    return np.array(edges[:-1])


@njit(cache=True)
def _join(x, y, scale, p, first, last, eps2, before, parent):
    """Link a point to those of a range of candidates that come after it."""
    for q in range(max(first, p + 1), last):
        if before[q] != before[p]:
            dx, dy = x[p] - x[q], y[p] - y[q]
            if dx * dx + dy * dy <= eps2 * (scale[p] * scale[q]):
                a, b = root_of(parent, p), root_of(parent, q)
                parent[max(a, b)] = min(a, b)


@njit(cache=True)
def _linked(x, y, radius, angle, scale, edges, starts, levels):
    parent = np.arange(len(x)).astype(np.int32)
    found = np.empty((len(levels), len(x)), np.int32)
    before = parent.copy()
    for level in range(len(levels)):
        eps = levels[level]
        # From d <= eps sqrt(s t) and |s - t| <= d: nothing is linked to p beyond eps s times this.
        most = eps * (0.5 * eps + np.sqrt(1.0 + 0.25 * eps * eps)) * _ROOM
        for p in range(len(x)):
            reach = most * scale[p]
            # Rings further in come with their own points' turn.
            ring = np.searchsorted(edges, radius[p], side="right") - 1
            outer = np.searchsorted(edges, radius[p] + reach, side="right")
            around = reach >= radius[p]
            window = np.pi if around else np.arcsin(reach / radius[p]) + _ROOM_ANGLE
            lower, upper = angle[p] - window, angle[p] + window
            for k in range(ring, outer):
                a, b = starts[k], starts[k + 1]
                if around or upper - lower >= 2.0 * np.pi:
                    _join(x, y, scale, p, a, b, eps * eps, before, parent)
                    continue
                here = angle[a:b]
                first, last = np.searchsorted(here, lower), np.searchsorted(here, upper, side="right")
                _join(x, y, scale, p, a + first, a + last, eps * eps, before, parent)
                if lower < -np.pi:
                    seam = np.searchsorted(here, lower + 2.0 * np.pi)
                    _join(x, y, scale, p, a + seam, b, eps * eps, before, parent)
                if upper > np.pi:
                    seam = np.searchsorted(here, upper - 2.0 * np.pi, side="right")
                    _join(x, y, scale, p, a, a + seam, eps * eps, before, parent)
        for p in range(len(x)):
            found[level, p] = root_of(parent, p)
        before = found[level].copy()
    return found
