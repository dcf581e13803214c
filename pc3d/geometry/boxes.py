"""Oriented boxes: centre, size (length, width, height), yaw about +z, 0 along +x."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pc3d.storage.compiled import njit

Float64 = NDArray[np.float64]

# Corner k of a unit box: front, right, bottom first, then around; the top follows the bottom.
_UNIT = 0.5 * np.array(
    [[1, -1, -1], [1, 1, -1], [-1, 1, -1], [-1, -1, -1], [1, -1, 1], [1, 1, 1], [-1, 1, 1], [-1, -1, 1]],
    dtype=np.float64,
)


def corners(centers: ArrayLike, sizes: ArrayLike, yaws: ArrayLike) -> Float64:
    """(N, 8, 3) corners in metres: the bottom counter-clockwise from front right, then the top."""
    centers, sizes, yaws = (np.asarray(value, dtype=np.float64) for value in (centers, sizes, yaws))
    local = _UNIT * sizes[:, None, :]
    c, s = np.cos(yaws)[:, None], np.sin(yaws)[:, None]
    x = c * local[..., 0] - s * local[..., 1]
    y = s * local[..., 0] + c * local[..., 1]
    return np.stack([x, y, local[..., 2]], axis=-1) + centers[:, None, :]


@njit(cache=True)
def _points_in_boxes(xyz, centers, half, cos, sin, inside):  # type: ignore[no-untyped-def]
    for n in range(len(centers)):
        cx, cy, cz = centers[n]
        hx, hy, hz = half[n]
        reach2 = hx * hx + hy * hy
        for p in range(len(xyz)):
            dz = xyz[p, 2] - cz
            if dz > hz or dz < -hz:
                continue
            dx = xyz[p, 0] - cx
            dy = xyz[p, 1] - cy
            if dx * dx + dy * dy > reach2 * 1.000001:
                continue
            along = cos[n] * dx + sin[n] * dy
            across = cos[n] * dy - sin[n] * dx
            inside[n, p] = -hx <= along <= hx and -hy <= across <= hy


def points_in_boxes(
    points: NDArray, centers: ArrayLike, sizes: ArrayLike, yaws: ArrayLike
) -> NDArray[np.bool_]:
    """Which points lie in which boxes, faces included.

    Args:
        points: (P, C >= 3) x y z first, metres.
        centers: (N, 3). sizes: (N, 3) length, width, height. yaws: (N,) radians.

    Returns:
        (N, P) bool; `.sum(1)` counts the points of each box.
    """
    centers = np.asarray(centers, dtype=np.float64).reshape(-1, 3)
    half = np.asarray(sizes, dtype=np.float64).reshape(-1, 3) / 2
    yaws = np.asarray(yaws, dtype=np.float64).reshape(-1)
    inside = np.zeros((len(centers), len(points)), dtype=np.bool_)
    xyz = np.ascontiguousarray(points[:, :3], dtype=np.float64)
    _points_in_boxes(xyz, centers, half, np.cos(yaws), np.sin(yaws), inside)
    return inside
