"""Footprints of clusters in the plane: convex hull and minimum-area rectangle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pc3d.storage.compiled import njit


def footprints(points: NDArray, labels: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Hull area and side ratio of each cluster.

    Args:
        points: (P, 2) float.
        labels: (P,) int cluster 0 .. S-1 of each point, -1 for none; no number is left out.

    Returns:
        (S,) float64 area of the convex hull, and (S,) float64 shorter over longer side of the rectangle
        of least area; both 0 where the points lie on a line.
    """
    order = np.argsort(labels, kind="stable")[np.count_nonzero(labels < 0) :]
    ends = np.cumsum(np.bincount(labels[order]))
    return _footprints(points[order].astype(np.float64), ends)


@njit(cache=True)
def _footprints(points, ends):
    areas, ratios = np.empty(len(ends)), np.empty(len(ends))
    begin = 0
    for s in range(len(ends)):
        hull = convex_hull(points[begin : ends[s]])
        areas[s] = _area(hull)
        ratios[s] = _side_ratio(hull)
        begin = ends[s]
    return areas, ratios


@njit(cache=True)
def convex_hull(points):
    """(H, 2) corners of the convex hull of (P, 2) points, counter-clockwise (Andrew's monotone chain)."""
    by_y = points[np.argsort(points[:, 1], kind="mergesort")]
    ranked = by_y[np.argsort(by_y[:, 0], kind="mergesort")]
    count = len(ranked)
    hull = np.empty((2 * count + 1, 2))
    size = 0
    floor = 2  # corners that may not be taken back: those of the lower chain, when on the upper one
    for step in range(2 * count - 1):
        point = ranked[step] if step < count else ranked[2 * count - 2 - step]
        if step == count:
            floor = size + 1
        while size >= floor:
            a, b = hull[size - 2], hull[size - 1]
            if (b[0] - a[0]) * (point[1] - a[1]) > (b[1] - a[1]) * (point[0] - a[0]):
                break
            size -= 1
        hull[size] = point
        size += 1
    return hull[: max(size - 1, 1)]  # the last corner is the first again


@njit(cache=True)
def _area(hull):
    twice = 0.0
    for i in range(1, len(hull) - 1):
        a, b = hull[i] - hull[0], hull[i + 1] - hull[0]
        twice += a[0] * b[1] - a[1] * b[0]
    return 0.5 * twice


@njit(cache=True)
def _side_ratio(hull):
    """Shorter over longer side of the least rectangle."""
    if len(hull) < 3:
        return 0.0
    long, short = _sides(hull)
    return short / long if long > 0.0 else 0.0


@njit(cache=True)
def _sides(hull):
    """Longer and shorter side of the least rectangle: one of its sides lies on an edge of the hull."""
    best_area, long, short = np.inf, 0.0, 0.0
    for i in range(len(hull)):
        edge = hull[(i + 1) % len(hull)] - hull[i]
        length = np.sqrt(edge[0] * edge[0] + edge[1] * edge[1])
        if length == 0.0:
            continue
        along = (hull[:, 0] * edge[0] + hull[:, 1] * edge[1]) / length
        across = (hull[:, 1] * edge[0] - hull[:, 0] * edge[1]) / length
        a, b = along.max() - along.min(), across.max() - across.min()
        if a * b < best_area:
            best_area, long, short = a * b, max(a, b), min(a, b)
    return long, short


def sides_and_tops(
    xyz: NDArray[np.float64], begin: NDArray[np.int64], end: NDArray[np.int64], limit: float = np.inf
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Sides of the footprint and highest point of ranges of points, which may overlap.

    Args:
        xyz: (P, 3) float64.
        begin, end: (N,) range of each segment, not empty.
        limit: of a segment that is longer than this along x or y, no rectangle is sought.

    Returns:
        (N,) longer and (N,) shorter side of the rectangle of least area in x, y, infinite beyond the
        limit, and (N,) greatest z.
    """
    return _sides_and_tops(np.ascontiguousarray(xyz), begin, end, limit)


@njit(cache=True)
def _sides_and_tops(xyz, begin, end, limit):
    long, short = np.full(len(begin), np.inf), np.full(len(begin), np.inf)
    top = np.empty(len(begin))
    for s in range(len(begin)):
        members = xyz[begin[s] : end[s]]
        top[s] = members[:, 2].max()
        extent = max(members[:, 0].max() - members[:, 0].min(), members[:, 1].max() - members[:, 1].min())
        if extent <= limit:
            long[s], short[s] = _sides(convex_hull(members[:, :2].copy()))
    return long, short, top
