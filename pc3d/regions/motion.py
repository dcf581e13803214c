"""Whether a thing moved between two sweeps: how far, and whether its place has become free."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pc3d.ops.symmetric import principal_axes

_MAX_POINTS = 200  # of a segment that are matched: more do not change the result, only the time
_MAX_RESIDUAL = 0.5  # metres: a point further from the other cloud counts as unmatched, no more
_STEPS = 10
_MATCHED = 0.8  # share of the pairs, the nearest, that draw the clouds together: sweeps see other sides

Float64 = NDArray[np.float64]


def displacement(a: Float64, b: Float64) -> tuple[Float64, float, float]:
    """How far a thing moved in the plane: translation-only ICP with trimmed pairs.

    It starts at rest, at the difference of the medians and at those of the ends (what slides along
    itself, such as a long bus, shows its motion there only), and the best result counts.

    Args:
        a, b: (A, >= 2) and (B, >= 2) metres, the points before and after in one frame; neither empty.

    Returns:
        (2,) metres in x, y; the mean distance between the clouds after it (each point to the nearest of
        the other, at most 0.5 m), and without it.
    """
    a, b = _thinned(a[:, :2]), _thinned(b[:, :2])
    trees = cKDTree(a), cKDTree(b)
    moved, residual = min((_icp(a, b, trees, start) for start in _starts(a, b)), key=lambda end: end[1])
    return moved, residual, _residual(a, b, trees, np.zeros(2))


def _starts(a: Float64, b: Float64) -> list[Float64]:
    """Rest, the difference of the medians, and those of the two ends along the longer axis."""
    both = np.concatenate([a - a.mean(axis=0), b - b.mean(axis=0)])
    xx, xy, yy = ((both[:, i] * both[:, j]).sum() for i, j in ((0, 0), (0, 1), (1, 1)))
    values, axes = principal_axes(np.array([[xx, xy, 0.0], [xy, yy, 0.0], [0.0, 0.0, 0.0]]))
    along = axes[:2, np.argmax(values)]
    ends = [along * (end((b * along).sum(axis=1)) - end((a * along).sum(axis=1))) for end in (np.min, np.max)]
    return [np.zeros(2), np.median(b, axis=0) - np.median(a, axis=0), *ends]


def _thinned(points: Float64) -> Float64:
    if len(points) <= _MAX_POINTS:
        return points
    return points[np.linspace(0, len(points) - 1, _MAX_POINTS).astype(np.int64)]


def _icp(a: Float64, b: Float64, trees: tuple[cKDTree, cKDTree], moved: Float64) -> tuple[Float64, float]:
    for _ in range(_STEPS):
        to_b, nearest_b = trees[1].query(a + moved)
        to_a, nearest_a = trees[0].query(b - moved)
        apart = np.concatenate([b[nearest_b] - a, b - a[nearest_a]]) - moved
        distance = np.concatenate([to_b, to_a])
        step = apart[distance <= np.quantile(distance, _MATCHED)].mean(axis=0)
        moved = moved + step
        if np.abs(step).max() < 0.01:
            break
    return moved, _residual(a, b, trees, moved)


def _residual(a: Float64, b: Float64, trees: tuple[cKDTree, cKDTree], moved: Float64) -> float:
    both = (trees[1].query(a + moved)[0], trees[0].query(b - moved)[0])
    return float(np.mean([np.minimum(distance, _MAX_RESIDUAL).mean() for distance in both]))


def seen_through(
    points: Float64, sweep: NDArray, margin: float = 1.0, angle: float = 1.0
) -> NDArray[np.bool_]:
    """Which places are free in a sweep: the nearest ray ends behind them.

    Args:
        points: (N, 3) places, metres, LiDAR frame of the sweep.
        sweep: (P, >= 3) its points.
        margin: the ray ends this many metres further away, or more.
        angle: rays further than this from the direction of the place, in degrees, say nothing.

    Returns:
        (N,) bool.
    """
    if len(sweep) == 0:
        return np.zeros(len(points), dtype=np.bool_)
    directions, reach = _polar(sweep[:, :3].astype(np.float64))
    wanted, distance = _polar(points)
    off, ray = cKDTree(directions).query(wanted)
    return (off <= np.deg2rad(angle)) & (reach[ray] > distance + margin)


def _polar(points: Float64) -> tuple[Float64, Float64]:
    """(P, 3) unit directions and (P,) distances."""
    distance = np.linalg.norm(points, axis=1)
    return points / np.maximum(distance, 1e-6)[:, None], distance
