"""DBSCAN in the plane (Ester et al., KDD 1996), exact and fast: labels as scikit-learn gives them.

Points are sorted into square cells whose diagonal is just below eps, so all points of a cell are
neighbours: a cell with min_samples points is all core, the core points of a cell are one cluster,
and joining clusters is a union-find over pairs of cells. Neighbours lie at most two cells away: the cells
(i + di, j - 2 .. j + 2) stand side by side in the sorted order, so a cell's neighbourhood is five
contiguous ranges of points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pc3d.storage.compiled import njit

_DIAGONAL = 1.0 - 1e-6  # cell diagonal over eps: room for the rounding of the cell borders
_MAX_CELLS_ACROSS = 2**30  # cell keys stay within int64
_REACH = 2  # cells to each side in which neighbours can lie


def dbscan(points: NDArray, eps: float, min_samples: int) -> NDArray[np.int32]:
    """Density clusters of points in the plane.

    A core point has `min_samples` points (itself among them) within `eps`, border included. Clusters are
    numbered by their first core point; a border point goes to the lowest-numbered cluster that
    reaches it. Distances are float64, whatever `points` is.

    Args:
        points: (P, 2) float.
        eps: radius, in the unit of the points.
        min_samples: at least 1.

    Returns:
        (P,) int32 cluster of each point, -1 for noise.

    Raises:
        ValueError: a wrong shape, values that are not finite, parameters that are not positive, or points
            spread over more than 2^30 cells.
    """
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points have shape {points.shape}, expected (P, 2)")
    if not eps > 0 or min_samples < 1:
        raise ValueError(f"eps {eps} must be positive and min_samples {min_samples} at least 1")
    if len(points) == 0:
        return np.empty(0, dtype=np.int32)
    x, y = np.ascontiguousarray(points.T, dtype=np.float64)
    extent = max(np.ptp(x), np.ptp(y))
    if not np.isfinite(extent):
        raise ValueError("points have coordinates that are not finite")
    side = eps * _DIAGONAL / np.sqrt(2.0)
    if extent / side >= _MAX_CELLS_ACROSS:
        raise ValueError(f"points spread over {extent} are too far apart for eps {eps}")
    return _dbscan(x, y, float(eps), int(min_samples), side)


@njit(cache=True)
def _sort_into_cells(x, y, side):
    """Cell key of each point (row major, rows `columns` wide) and the points' order by cell."""
    x_min, y_min = x.min(), y.min()
    # A margin of empty columns: the neighbourhood of a cell never wraps into the next row.
    columns = np.int64((y.max() - y_min) / side) + 1 + 2 * _REACH
    keys = np.empty(len(x), np.int64)
    for i in range(len(x)):
        row, column = np.int64((x[i] - x_min) / side), np.int64((y[i] - y_min) / side)
        keys[i] = row * columns + column + _REACH
    num_keys = keys.max() + 1
    if num_keys > 64 * len(x) + 2**16:  # sparse: counting would cost more than sorting
        return keys, np.argsort(keys, kind="mergesort"), columns
    ends = np.zeros(num_keys + 1, np.int32)
    for key in keys:
        ends[key + 1] += 1
    for key in range(num_keys):
        ends[key + 1] += ends[key]
    order = np.empty(len(x), np.int64)
    for i in range(len(x)):
        order[ends[keys[i]]] = i
        ends[keys[i]] += 1
    return keys, order, columns


@njit(cache=True)
def _neighbour_cells(cell_key, columns):
    """(cells, 5) first and last + 1 of the cells (i + di, j - 2 .. j + 2), di = -2 .. 2."""
    first = np.empty((len(cell_key), 2 * _REACH + 1), np.int32)
    last = np.empty_like(first)
    for k in range(2 * _REACH + 1):
        lo = hi = 0
        for c in range(len(cell_key)):
            centre = cell_key[c] + (k - _REACH) * columns
            while lo < len(cell_key) and cell_key[lo] < centre - _REACH:
                lo += 1
            while hi < len(cell_key) and cell_key[hi] <= centre + _REACH:
                hi += 1
            first[c, k], last[c, k] = lo, hi
    return first, last


@njit(cache=True)
def _core_points(x, y, start, first, last, eps2, min_samples):
    """(P,) bool, points in cell order."""
    core = np.zeros(len(x), np.bool_)
    for c in range(len(start) - 1):
        inside = start[c + 1] - start[c]
        for p in range(start[c], start[c + 1]):
            count = inside
            for k in range(first.shape[1]):
                if count >= min_samples:
                    break
                for q in range(start[first[c, k]], start[last[c, k]]):
                    if start[c] <= q < start[c + 1]:
                        continue
                    dx, dy = x[p] - x[q], y[p] - y[q]
                    if dx * dx + dy * dy <= eps2:
                        count += 1
                        if count >= min_samples:
                            break
            core[p] = count >= min_samples
    return core


@njit(cache=True)
def root_of(parent, c):
    while parent[c] != c:
        parent[c] = parent[parent[c]]
        c = parent[c]
    return c


@njit(cache=True)
def _touch(x, y, core, a0, a1, b0, b1, eps2):
    """Whether a core point of a0..a1 lies within eps of one of b0..b1."""
    for p in range(a0, a1):
        if core[p]:
            for q in range(b0, b1):
                dx, dy = x[p] - x[q], y[p] - y[q]
                if dx * dx + dy * dy <= eps2 and core[q]:
                    return True
    return False


@njit(cache=True)
def _join_cells(x, y, core, start, cell_key, columns, first, last, eps2):
    """(cells,) root of each cell: cells whose core points are connected share it."""
    parent = np.arange(len(cell_key))
    for reach in range(1, _REACH + 1):  # near cells first: most far pairs are then joined already
        for c in range(len(cell_key)):
            for k in range(_REACH, first.shape[1]):
                for d in range(max(first[c, k], c + 1), last[c, k]):
                    across = abs(cell_key[d] - cell_key[c] - (k - _REACH) * columns)
                    if max(across, k - _REACH) != reach:
                        continue
                    root_c, root_d = root_of(parent, c), root_of(parent, d)
                    if root_c != root_d and _touch(
                        x, y, core, start[c], start[c + 1], start[d], start[d + 1], eps2
                    ):
                        parent[max(root_c, root_d)] = min(root_c, root_d)
    for c in range(len(cell_key)):
        parent[c] = root_of(parent, c)
    return parent


@njit(cache=True)
def _dbscan(x_in, y_in, eps, min_samples, side):
    keys, order, columns = _sort_into_cells(x_in, y_in, side)
    x, y = x_in[order], y_in[order]
    cell = np.empty(len(x), np.int32)  # of each point, in cell order
    start = np.empty(len(x) + 1, np.int32)
    cell_key = np.empty(len(x), np.int64)
    num_cells = 0
    for p in range(len(x)):
        if p == 0 or keys[order[p]] != keys[order[p - 1]]:
            start[num_cells], cell_key[num_cells] = p, keys[order[p]]
            num_cells += 1
        cell[p] = num_cells - 1
    start[num_cells] = len(x)
    start, cell_key = start[: num_cells + 1], cell_key[:num_cells]

    eps2 = eps * eps
    first, last = _neighbour_cells(cell_key, columns)
    core = _core_points(x, y, start, first, last, eps2, min_samples)
    root = _join_cells(x, y, core, start, cell_key, columns, first, last, eps2)

    # Number the clusters by their first core point in the order of the input.
    first_core = np.full(num_cells, len(x), np.int64)
    for p in range(len(x)):
        if core[p] and order[p] < first_core[root[cell[p]]]:
            first_core[root[cell[p]]] = order[p]
    cluster = np.full(num_cells, -1, np.int32)
    roots = np.flatnonzero(first_core < len(x))
    for rank, r in enumerate(roots[np.argsort(first_core[roots])]):
        cluster[r] = rank

    labels = np.full(len(x), -1, np.int32)
    for p in range(len(x)):
        c = cell[p]
        if core[p]:
            labels[order[p]] = cluster[root[c]]
            continue
        best = np.int32(len(x))
        for k in range(first.shape[1]):
            for q in range(start[first[c, k]], start[last[c, k]]):
                if core[q] and cluster[root[cell[q]]] < best:
                    dx, dy = x[p] - x[q], y[p] - y[q]
                    if dx * dx + dy * dy <= eps2:
                        best = cluster[root[cell[q]]]
        if best < len(x):
            labels[order[p]] = best
    return labels
