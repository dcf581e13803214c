"""Hand-made statistics of each point's surroundings: the untrained features that a network is held against.

The shape of a neighbourhood by the eigenvalues of its covariance is Demantke et al. (ISPRS Workshop Laser
Scanning 2011) and Weinmann et al. (ISPRS Journal 2015); height above the lowest and below the highest
neighbour in the plane is from the latter. Which of them are taken together is ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pc3d.data.records import Float32
from pc3d.ops.nearest import nearest
from pc3d.ops.symmetric import principal_axes, scatter
from pc3d.storage.compiled import njit

NEIGHBOURS = 16
"""Nearest points in space, the point itself among them."""
PLANE_NEIGHBOURS = 32
"""Nearest points in x and y, the point itself among them."""

NAMES = (
    "root_1",
    "root_2",
    "root_3",
    "largest_share",
    "smallest_share",
    "normal_horizontal",
    "normal_z",
    "distance",
    "above_lowest",
    "below_highest",
    "deviation_z",
    "mean_intensity",
    "deviation_intensity",
)
"""Columns of `local_statistics`."""
HAND_MADE = (
    "z",
    "intensity",
    "range",
    *("normal_x" if name == "normal_horizontal" else name for name in NAMES),
)
"""Columns of `hand_made`."""
UNITLESS = (
    "largest_share",
    "smallest_share",
    "normal_horizontal",
    "normal_z",
    "mean_intensity",
    "deviation_intensity",
)
LENGTHS: NDArray[np.bool_] = np.array([name not in UNITLESS for name in NAMES])
"""(13,) which columns of `local_statistics` are metres: they scale with the cloud, the others stay."""
_FLAT = 1e-12
"""Share of the largest eigenvalue below which the second one is zero: the points lie in a line."""


def local_statistics(points: Float32, rows: NDArray[np.int64] | None = None) -> Float32:
    """Statistics of the surroundings of points, beside what a network reads of the point itself.

    They stay when the cloud is moved, turned about z or mirrored in x or y; `LENGTHS` scale with it.

    Args:
        points: (P, 4 or more) x, y, z in metres, z up, and intensity 0 to 1.
        rows: (M,) the points asked for, None for all; neighbours are among all points.

    Returns:
        (M, 13) float32 in the order of `NAMES`. Of the 16 nearest points: the roots of the eigenvalues of
        their covariance (their extents, descending, metres), the largest and the smallest over the sum of
        the three; horizontal and vertical length of the unit normal, both 0 where the points lie in a line or
        in one place; distance to the last of them, deviation of z, mean and deviation of intensity. Of the
        32 nearest in the plane: height above the lowest and below the highest. A cloud of fewer points
        has all of them for neighbours. Ties go to the lower row. All sums are float64.

    Raises:
        ValueError: too few columns, or a value that is not finite.
    """
    return _statistics(points, rows)[0]


def hand_made(points: Float32, rows: NDArray[np.int64] | None = None) -> Float32:
    """The reference features: a point's own z, intensity and range, and its local statistics.

    The list that this follows names fifteen; `deviation_intensity` as the sixteenth is our choice.

    Args:
        points: see `local_statistics`.
        rows: see `local_statistics`.

    Returns:
        (M, 16) float32 in the order of `HAND_MADE`: z (m), intensity, distance from the LiDAR in the plane
        (m), then the columns of `local_statistics`, with |x| of the normal for its horizontal length: it
        changes when the cloud is turned.

    Raises:
        ValueError: see `local_statistics`.
    """
    found, normal_x = _statistics(points, rows)
    own = points if rows is None else points[rows]
    found[:, NAMES.index("normal_horizontal")] = normal_x
    return np.column_stack([own[:, 2:4], np.hypot(own[:, 0], own[:, 1]), found]).astype(np.float32)


def _statistics(points: Float32, rows: NDArray[np.int64] | None) -> tuple[Float32, Float32]:
    """(M, 13) statistics and (M,) |x| of the normals."""
    if points.ndim != 2 or points.shape[1] < 4:
        raise ValueError(f"points have shape {points.shape}, expected (P, 4 or more): x, y, z, intensity")
    if not np.isfinite(points[:, :4]).all():
        raise ValueError("points have coordinates or intensities that are not finite")
    near, squared = nearest(points[:, :3], NEIGHBOURS, rows)
    beside, _ = nearest(points[:, :2], PLANE_NEIGHBOURS, rows)
    asked = np.arange(len(points)) if rows is None else np.asarray(rows, dtype=np.int64)
    columns = points[:, :4].astype(np.float64)
    return _of_neighbours(columns, asked, near, squared, beside)


@njit(cache=True)
def _mean_and_deviation(values, rows):
    """Mean of `values` at `rows`, and root of the mean square about it."""
    mean = total = 0.0
    for p in rows:
        mean += values[p]
    mean /= len(rows)
    for p in rows:
        total += (values[p] - mean) ** 2
    return mean, np.sqrt(total / len(rows))


@njit(cache=True)
def _shape(xyz, rows):
    """Roots (3,) of the eigenvalues of the covariance, descending, and the unit normal (3,) or zeros."""
    values, axes = principal_axes(scatter(xyz, rows)[1] / len(rows))
    order = np.argsort(-values)
    roots = np.sqrt(np.maximum(values[order], 0.0))
    normal = np.zeros(3)
    if values[order[1]] > _FLAT * values[order[0]]:
        normal = axes[:, order[2]].copy()
    return roots, normal


@njit(cache=True)
def _of_neighbours(columns, asked, near, squared, beside):
    """See `_statistics`: `columns` (P, 4) float64, `near` and `beside` the neighbours of `asked`."""
    found, normal_x = np.zeros((len(asked), 13), np.float32), np.zeros(len(asked), np.float32)
    xyz, z, intensity = columns[:, :3].copy(), columns[:, 2].copy(), columns[:, 3].copy()
    for m in range(len(asked)):
        roots, normal = _shape(xyz, near[m])
        total = roots[0] + roots[1] + roots[2]
        found[m, :3] = roots
        if total > 0:
            found[m, 3], found[m, 4] = roots[0] / total, roots[2] / total
        found[m, 5] = np.sqrt(normal[0] * normal[0] + normal[1] * normal[1])
        found[m, 6], normal_x[m] = abs(normal[2]), abs(normal[0])
        found[m, 7] = np.sqrt(squared[m, -1])
        low = high = z[asked[m]]
        for p in beside[m]:
            low, high = min(low, z[p]), max(high, z[p])
        found[m, 8], found[m, 9] = z[asked[m]] - low, high - z[asked[m]]
        found[m, 10] = _mean_and_deviation(z, near[m])[1]
        found[m, 11], found[m, 12] = _mean_and_deviation(intensity, near[m])
    return found, normal_x
