"""Cells of a cubic grid without bounds: keys that sort, a hash table, neighbours, and cells along rays.

Nothing dense is made: a grid of 0.1 m over a sweep has 10^8 cells, of which one in a thousand matters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pc3d.storage.compiled import njit

Int64 = NDArray[np.int64]
BITS = 21
"""Of a key for each axis: a million cells either way."""
_MIDDLE = 1 << (BITS - 1)
_NONE = -1
BLOCK = 2
"""Log of the cells along a side of the blocks by which a ray's way is looked up."""


def cells_of(xyz: NDArray, size: float) -> Int64:
    """(P, 3) cell along x, y, z of points: cell (0, 0, 0) begins at the origin of the frame.

    Args:
        xyz: (P, 3) metres. size: side of a cell, metres.
    """
    return np.floor(xyz.astype(np.float64) / size).astype(np.int64)


def cell_keys(cells: NDArray) -> Int64:
    """(N,) a number for each of (N, 3) cells along x, y, z; they sort by z, y, x.

    Raises:
        ValueError: a cell is further from the origin than a key can say.
    """
    if cells.size and np.abs(cells).max() >= _MIDDLE - 64:
        raise ValueError(f"a cell lies beyond {_MIDDLE - 64} cells from the origin; take larger cells")
    x, y, z = (cells + _MIDDLE).T
    return (z << (2 * BITS)) | (y << BITS) | x


def cells_of_keys(keys: Int64) -> Int64:
    """(N, 3) cells along x, y, z of keys."""
    last = (1 << BITS) - 1
    return np.stack([keys & last, (keys >> BITS) & last, keys >> (2 * BITS)], axis=1) - _MIDDLE


def offsets(kernel: int) -> Int64:
    """(kernel^3 - 1, 3) offsets along x, y, z of the cells around one, the nearest first.

    Raises:
        ValueError: a kernel that is not odd, or larger than the margin of the keys.
    """
    if kernel % 2 == 0 or not 1 < kernel < 64:
        raise ValueError(f"kernel is {kernel}, expected an odd number from 3 to 63")
    side = np.arange(kernel) - kernel // 2
    z, y, x = (axis.ravel() for axis in np.meshgrid(side, side, side, indexing="ij"))
    around = np.stack([x, y, z], axis=1)
    order = np.argsort((around**2).sum(axis=1), kind="stable")
    return around[order[1:]]


def key_steps(steps: Int64) -> Int64:
    """(N,) what is added to a key for (N, 3) steps along x, y, z."""
    x, y, z = steps.T
    return (z << (2 * BITS)) + (y << BITS) + x


@njit(cache=True)
def _slot(table, key):  # type: ignore[no-untyped-def]
    """Where a key stands in a table of 2^k keys, or the free place for it."""
    last = len(table) - 1
    mixed = (np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    at = np.int64(mixed) & last
    while table[at] != _NONE and table[at] != key:
        at = (at + 1) & last
    return at


@njit(cache=True)
def _table(keys):  # type: ignore[no-untyped-def]
    """A table at most half full of distinct keys, and the row of each."""
    size = 16
    while size < 2 * len(keys):
        size *= 2
    table, rows = np.full(size, _NONE, np.int64), np.full(size, _NONE, np.int64)
    for row in range(len(keys)):
        at = _slot(table, keys[row])
        table[at], rows[at] = keys[row], row
    return table, rows


@njit(cache=True)
def _around(keys, steps):  # type: ignore[no-untyped-def]
    """Distinct keys one of the steps away from one of `keys`, which are not among these."""
    own, _ = _table(keys)
    found, table = np.empty(1024, np.int64), np.full(2048, _NONE, np.int64)
    count = 0
    for row in range(len(keys)):
        for step in steps:
            key = keys[row] + step
            if own[_slot(own, key)] == key:
                continue
            at = _slot(table, key)
            if table[at] == key:
                continue
            if count == len(found):
                kept, found = found, np.empty(2 * count, np.int64)
                found[:count] = kept
                table = np.full(4 * count, _NONE, np.int64)
                for other in kept:
                    table[_slot(table, other)] = other
                at = _slot(table, key)
            table[at], found[count] = key, key
            count += 1
    return found[:count]


def cells_around(keys: Int64, kernel: int) -> Int64:
    """Ascending keys of the cells in the neighbourhoods of `keys` that are none of these.

    Args:
        keys: (N,) distinct. kernel: cells along a side of a neighbourhood, odd.
    """
    return np.sort(_around(keys, key_steps(offsets(kernel))))


@njit(cache=True)
def _nearest(queries, keys, steps, count):  # type: ignore[no-untyped-def]
    table, rows = _table(keys)
    found = np.full((len(queries), count), _NONE, np.int32)
    for q in range(len(queries)):
        filled = 0
        for step in steps:
            at = _slot(table, queries[q] + step)
            if table[at] != _NONE:
                found[q, filled] = rows[at]
                filled += 1
                if filled == count:
                    break
    return found


def nearest_cells(queries: Int64, keys: Int64, kernel: int, count: int) -> NDArray[np.int32]:
    """Rows in `keys` of the cells around each query, the nearest first, -1 where there are no more.

    Args:
        queries: (Q,) keys of cells; a cell is no neighbour of itself.
        keys: (N,) distinct.
        kernel: cells along a side of the neighbourhood that is searched, odd.
        count: the most that are found of each.

    Returns:
        (Q, count) int32; equal distances in the order of z, y, x.
    """
    return _nearest(queries, keys, key_steps(offsets(kernel)), count)


@njit(cache=True)
def _crossed(starts, ends, table, rows, blocks, seen):  # type: ignore[no-untyped-def]
    """Mark in `seen` the cells of a table that segments pass, in units of cells (Amanatides and Woo, 1987).

    `blocks` is a table of the blocks of cells that hold any of them: most of a ray's way is through others.
    """
    cell, step = np.empty(3, np.int64), np.empty(3, np.int64)
    reach, width = np.empty(3), np.empty(3)
    for ray in range(len(starts)):
        left, last, asked = 0, np.int64(_NONE), False
        for axis in range(3):
            along = ends[ray, axis] - starts[ray, axis]
            first = np.floor(starts[ray, axis])
            cell[axis] = np.int64(first)
            left += abs(np.int64(np.floor(ends[ray, axis])) - cell[axis])
            step[axis] = 1 if along > 0 else -1
            width[axis] = abs(1.0 / along) if along != 0 else np.inf
            edge = first + 1.0 - starts[ray, axis] if along > 0 else starts[ray, axis] - first
            reach[axis] = edge * width[axis] if along != 0 else np.inf
        # As many steps as there are borders between the two cells: rounding can add none.
        for _ in range(left):
            block = (cell[2] >> BLOCK << 2 * BITS) + (cell[1] >> BLOCK << BITS) + (cell[0] >> BLOCK)
            if block != last:
                last, asked = block, blocks[_slot(blocks, block)] == block
            if asked:
                at = _slot(table, (cell[2] << 2 * BITS) + (cell[1] << BITS) + cell[0])
                if table[at] != _NONE:
                    seen[rows[at]] = True
            axis = 0 if reach[0] <= reach[1] else 1
            axis = axis if reach[axis] <= reach[2] else 2
            cell[axis] += step[axis]
            reach[axis] += width[axis]


def crossed_cells(origins: NDArray, ends: NDArray, keys: Int64, size: float) -> NDArray[np.bool_]:
    """Which cells a ray passes on its way to where it ends; the cell where it ends is not passed.

    Args:
        origins, ends: (P, 3) metres, where each ray starts and what it met; rays that are not finite pass
            nothing.
        keys: (N,) distinct, the cells that are asked for.
        size: side of a cell, metres.

    Returns:
        (N,) bool.
    """
    seen = np.zeros(len(keys), dtype=np.bool_)
    starts, stops = (part.astype(np.float64) / size + _MIDDLE for part in (origins, ends))
    kept = (np.isfinite(starts) & np.isfinite(stops)).all(axis=1)
    kept &= ((np.minimum(starts, stops) > 0) & (np.maximum(starts, stops) < 2 * _MIDDLE)).all(axis=1)
    last = (1 << BITS) - 1
    x, y, z = keys & last, (keys >> BITS) & last, keys >> (2 * BITS)
    blocks = np.unique((z >> BLOCK << 2 * BITS) + (y >> BLOCK << BITS) + (x >> BLOCK))
    _crossed(starts[kept], stops[kept], *_table(keys), _table(blocks)[0], seen)
    return seen
