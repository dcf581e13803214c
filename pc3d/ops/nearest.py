"""The k nearest neighbours of points, exactly: a k-d tree whose leaves hold a few points.

A grid's cells hold thousands of points near a LiDAR and none far from it; the tree's leaves (at most `LEAF`
points, with their bounding boxes) are as fine as the points are dense.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pc3d.storage.compiled import njit

LEAF = 16
_DEEPEST = 64  # levels, more than any array has


def nearest(
    points: NDArray, k: int, rows: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k nearest points of each point, itself among them, by squared float64 distance, ties by row.

    Args:
        points: (P, 2) or (P, 3) finite float.
        k: at least 1; all points where there are fewer.
        rows: (M,) the points asked for, None for all.

    Returns:
        (M, min(k, P)) int64 rows, the nearest first, and their squared distances.

    Raises:
        ValueError: a wrong shape, k below 1, or coordinates that are not finite.
    """
    if points.ndim != 2 or points.shape[1] not in (2, 3) or k < 1:
        raise ValueError(f"points have shape {points.shape}, k is {k}; expected (P, 2) or (P, 3), and k >= 1")
    if not np.isfinite(points).all():
        raise ValueError("points have coordinates that are not finite")
    asked = np.arange(len(points)) if rows is None else np.asarray(rows, dtype=np.int64)
    if not len(asked):
        return np.empty((0, min(k, len(points))), np.int64), np.empty((0, min(k, len(points))))
    xyz = np.zeros((len(points), 3))
    xyz[:, : points.shape[1]] = points
    # Neighbours in space asked for one after another find the tree's nodes in the processor's cache.
    return _nearest(xyz, asked, min(k, len(points)))


@njit(cache=True)
def _select(order, value, low, high, middle):
    """Order `order[low:high]` so that values before `middle` are at most those from it on (Hoare)."""
    high -= 1
    while low < high:
        pivot = value[order[(low + high) // 2]]
        i, j = low, high
        while i <= j:
            while value[order[i]] < pivot:
                i += 1
            while value[order[j]] > pivot:
                j -= 1
            if i <= j:
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if middle <= j:
            high = j
        elif middle >= i:
            low = i
        else:
            return


@njit(cache=True)
def _tree(xyz):
    """Rows in the order of the leaves; of each node its box (6,) low, high and its lowest row; the depth.

    Node n has the children 2n and 2n + 1, the root is 1. The j-th node of level l holds
    `order[j * P >> l : (j + 1) * P >> l]`.
    """
    count = len(xyz)
    depth = 0
    while (count - 1) >> depth >= LEAF:
        depth += 1
    columns = xyz.T.copy()
    order = np.arange(count)
    box = np.empty((2 << depth, 6))
    lowest = np.empty(2 << depth, np.int64)
    for level in range(depth + 1):
        for j in range(1 << level):
            node, first, last = (1 << level) + j, (j * count) >> level, ((j + 1) * count) >> level
            widest, axis = -1.0, 0
            lowest[node] = order[first:last].min()
            for a in range(3):
                values = columns[a]
                low = high = values[order[first]]
                for s in range(first + 1, last):
                    low, high = min(low, values[order[s]]), max(high, values[order[s]])
                box[node, a], box[node, a + 3] = low, high
                if high - low > widest:
                    widest, axis = high - low, a
            if level < depth:
                _select(order, columns[axis], first, last, ((2 * j + 1) * count) >> (level + 1))
    return order, box, lowest, depth


@njit(cache=True)
def _bound(box, node, x, y, z):
    """Squared distance from a point to a node's box."""
    dx = max(box[node, 0] - x, 0.0, x - box[node, 3])
    dy = max(box[node, 1] - y, 0.0, y - box[node, 4])
    dz = max(box[node, 2] - z, 0.0, z - box[node, 5])
    return dx * dx + dy * dy + dz * dz


@njit(cache=True)
def _search(xyz, order, box, lowest, depth, x, y, z, row, distance):
    """Fill `row` and `distance` (k,) with the nearest of x, y, z; `xyz` is in the order of the leaves."""
    k, count = len(row), len(order)
    row[:], distance[:] = count, np.inf
    nodes, bounds = np.empty(_DEEPEST, np.int64), np.empty(_DEEPEST)
    nodes[0], bounds[0], filled = 1, 0.0, 1
    leaves = 1 << depth
    while filled:
        filled -= 1
        node, bound = nodes[filled], bounds[filled]
        if bound > distance[k - 1] or (bound == distance[k - 1] and lowest[node] > row[k - 1]):
            continue
        while node < leaves:
            left, right = _bound(box, 2 * node, x, y, z), _bound(box, 2 * node + 1, x, y, z)
            near, far = 2 * node, right
            if right < left or (right == left and lowest[2 * node + 1] < lowest[2 * node]):
                near, far = 2 * node + 1, left
            if far <= distance[k - 1]:
                nodes[filled], bounds[filled] = near ^ 1, far
                filled += 1
            node = near
        j = node - leaves
        for s in range((j * count) >> depth, ((j + 1) * count) >> depth):
            dx, dy, dz = xyz[s, 0] - x, xyz[s, 1] - y, xyz[s, 2] - z
            d = dx * dx + dy * dy + dz * dz
            if d > distance[k - 1]:
                continue
            p = order[s]
            if d == distance[k - 1] and p > row[k - 1]:
                continue
            i = k - 1
            while i > 0 and (distance[i - 1] > d or (distance[i - 1] == d and row[i - 1] > p)):
                distance[i], row[i] = distance[i - 1], row[i - 1]
                i -= 1
            distance[i], row[i] = d, p


@njit(cache=True)
def _nearest(xyz, asked, k):
    order, box, lowest, depth = _tree(xyz)
    sorted_xyz = xyz[order]
    place = np.empty(len(order), np.int64)
    for s in range(len(order)):
        place[order[s]] = s
    found, distance = np.empty((len(asked), k), np.int64), np.empty((len(asked), k))
    for m in np.argsort(place[asked]):
        c = xyz[asked[m]]
        _search(sorted_xyz, order, box, lowest, depth, c[0], c[1], c[2], found[m], distance[m])
    return found, distance
