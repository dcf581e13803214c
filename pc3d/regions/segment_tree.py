"""A tree of segments from nested partitions, and the best disjoint ones of it.

A node is a component with enough points, as long as nothing joins it. Points are put in an order in which
every node is a range, children before their parents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pc3d.storage.compiled import njit


@dataclass(frozen=True, eq=False)
class SegmentTree:
    """N nodes, children before parents.

    Attributes:
        order: (P,) int64 points in the order of the nodes' ranges.
        begin, end: (N,) int64 range of each node in `order`.
        parent: (N,) int64, -1 for none.
        birth: (N,) int64 the level at which the node comes to be.
        lifetime: (N,) int64 levels over which what is much the same stands alone: from the birth of the
            earliest descendant with at least `alike` of the node's points, to that of the first ancestor
            with more than 1 / `alike` times as many, or the number of levels.
    """

    order: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    parent: NDArray[np.int64]
    birth: NDArray[np.int64]
    lifetime: NDArray[np.int64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """(N,) points of each node."""
        return self.end - self.begin


def segment_tree(components: NDArray[np.int32], min_points: int, alike: float = 0.8) -> SegmentTree:
    """The tree of nested partitions.

    Args:
        components: (L, P) component of each point at each level; each level joins those of the one before.
        min_points: smaller components are no nodes.
        alike: see `SegmentTree.lifetime`.
    """
    levels = len(components)
    order = np.lexsort(components) if levels else np.arange(components.shape[1])
    begin, end, parent, birth = _nodes(np.ascontiguousarray(components[:, order]), min_points)
    lifetime = _lifetimes(parent, birth, end - begin, levels, alike)
    return SegmentTree(order, begin, end, parent, birth, lifetime)


@njit(cache=True)
def _nodes(components, min_points):  # type: ignore[no-untyped-def]
    levels, count = components.shape
    most = levels * (count // min_points) + 1
    begin, end = np.empty(most, np.int64), np.empty(most, np.int64)
    parent, birth = np.full(most, -1, np.int64), np.empty(most, np.int64)
    node = np.full(count, -1, np.int64)  # the latest of each point
    nodes = 0
    for level in range(levels):
        a = 0
        while a < count:
            b = a + 1
            while b < count and components[level, b] == components[level, a]:
                b += 1
            known = node[a] >= 0 and end[node[a]] - begin[node[a]] == b - a
            if b - a >= min_points and not known:
                i = a
                while i < b:
                    child = node[i]
                    if child >= 0:
                        parent[child] = nodes
                        i = end[child]
                    else:
                        i += 1
                begin[nodes], end[nodes], birth[nodes] = a, b, level
                node[a:b] = nodes
                nodes += 1
            a = b
    return begin[:nodes].copy(), end[:nodes].copy(), parent[:nodes].copy(), birth[:nodes].copy()


@njit(cache=True)
def _lifetimes(parent, birth, counts, levels, alike):  # type: ignore[no-untyped-def]
    first, last = birth.copy(), np.full(len(parent), levels, np.int64)
    for k in range(len(parent)):
        above = parent[k]
        while above >= 0 and counts[k] >= alike * counts[above]:
            first[above] = min(first[above], birth[k])
            above = parent[above]
        if above >= 0:
            last[k] = birth[above]
    return last - first


@njit(cache=True)
def best_disjoint(parent, value):  # type: ignore[no-untyped-def]
    """(N,) bool: nodes of which none holds another, of the largest total value.

    Dynamic programming from the leaves: a node is taken where its value is that of the best choice among
    its descendants, or more.

    Args:
        parent: (N,) int64, children before parents, -1 for none.
        value: (N,) float64, at least 0.
    """
    below = np.zeros(len(parent))
    taken = np.empty(len(parent), np.bool_)
    for k in range(len(parent)):
        taken[k] = value[k] >= below[k]
        if parent[k] >= 0:
            below[parent[k]] += max(value[k], below[k])
    inside = np.zeros(len(parent), np.bool_)
    for k in range(len(parent) - 1, -1, -1):
        if parent[k] >= 0 and inside[parent[k]]:
            inside[k], taken[k] = True, False
        elif taken[k]:
            inside[k] = True
    return taken
