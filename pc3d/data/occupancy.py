"""What masked neighbourhood occupancy asks of a sweep: cells around the visible ones, and what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pc3d.data.masking import CellMask
from pc3d.data.records import Float32
from pc3d.ops.cells import (
    Int64,
    cell_keys,
    cells_around,
    cells_of,
    cells_of_keys,
    crossed_cells,
    nearest_cells,
)

MASKED = ("m", "n")
"""Names of the masked views of frame "t"."""


@dataclass(frozen=True)
class OccupancySettings:
    """What is masked and what is asked.

    Attributes:
        mask: of the sweep; its scales are those at which occupancy is asked for.
        kernel: cells along a side of the neighbourhood of a visible cell, odd (NOMAE: 9).
        neighbours: the nearest visible cells that a query sees, within the kernel.
        empties: empty cells for each occupied one, at most.
        occupied: occupied cells of a sweep and scale, at most; None for all.
        masks: independent masks of a sweep, 1 or 2.
    """

    mask: CellMask = field(default_factory=CellMask)
    kernel: int = 9
    neighbours: int = 8
    empties: int = 8
    occupied: int | None = None
    masks: int = 1

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0 or not 1 < self.kernel < 64:
            raise ValueError(f"kernel is {self.kernel}, expected an odd number from 3 to 63")
        if min(self.neighbours, self.empties, 1 if self.occupied is None else self.occupied) < 1:
            raise ValueError(
                f"neighbours {self.neighbours}, empties {self.empties}, occupied {self.occupied}: "
                "expected at least 1"
            )
        if not 1 <= self.masks <= len(MASKED):
            raise ValueError(f"masks is {self.masks}, expected 1 or 2")


@dataclass(frozen=True, eq=False)
class QuerySample:
    """The queries of one masked view of one sweep at one scale.

    Attributes:
        key: (Q,) int64 of `pc3d.ops.cells`, the occupied ones first.
        centre: (Q, 3) float32 metres, the frame of the view.
        occupied: (Q,) bool, whether any point of the sweep lies there; an empty one was crossed by a ray.
        weight: (Q,) float32, of how many cells it was drawn to stand for.
        count: (Q,) float32 points of the sweep inside.
        centroid: (Q, 3) float32 their mean from the centre, in sides of the cell (-0.5 to 0.5); 0 of an empty
            one.
        neighbours: (Q, K) int32 rows of visible cells, -1 for none.
        cell: (V,) int32 visible cell of each point of the masked view.
        num_cells: visible cells. num_around: cells in their neighbourhoods, unknown ones among them.
        num_known: those of these that are occupied or crossed.
    """

    key: Int64
    centre: Float32
    occupied: NDArray[np.bool_]
    weight: Float32
    count: Float32
    centroid: Float32
    neighbours: NDArray[np.int32]
    cell: NDArray[np.int32]
    num_cells: int
    num_around: int
    num_known: int


def scale_queries(
    xyz: Float32,
    visible: NDArray[np.bool_],
    origins: NDArray,
    size: float,
    settings: OccupancySettings,
    rng: np.random.Generator,
) -> QuerySample:
    """Draw queries in the neighbourhoods of the visible cells of one size.

    A cell without a point is empty where a ray crossed it. Where none did it is unknown, and no query.

    Args:
        xyz: (P, 3) metres, all points of the sweep in the frame of the masked view.
        visible: (P,) bool, the points that the masked view shows.
        origins: (P, 3) metres, the same frame: where the ray of each point starts; NaN where nobody knows.
        size: side of a cell in metres.
        rng: draws occupied cells where there are too many, then empty ones.
    """
    keys = cell_keys(cells_of(xyz, size))
    seen, cell = np.unique(keys[visible], return_inverse=True)
    around = cells_around(seen, settings.kernel)
    full, inside, count = np.unique(keys, return_inverse=True, return_counts=True)
    place = np.searchsorted(full, around)
    taken = full[np.minimum(place, len(full) - 1)] == around if len(full) else np.zeros(0, np.bool_)
    others = around[~taken]
    empty = others[crossed_cells(origins, xyz, others, size)]
    hits, occupied_weight = _drawn(place[taken], settings.occupied, rng)
    frees, empty_weight = _drawn(empty, settings.empties * len(hits), rng)
    key = np.concatenate([full[hits], frees])
    centre = (cells_of_keys(key) + 0.5) * size
    mean = np.stack([np.bincount(inside, axis, len(full)) for axis in xyz.T.astype(np.float64)], axis=1)
    number, centroid = np.zeros(len(key)), np.zeros((len(key), 3))
    number[: len(hits)] = count[hits]
    centroid[: len(hits)] = (mean[hits] / count[hits, None] - centre[: len(hits)]) / size
    return QuerySample(
        key=key,
        centre=centre.astype(np.float32),
        occupied=np.arange(len(key)) < len(hits),
        weight=np.repeat([occupied_weight, empty_weight], [len(hits), len(frees)]).astype(np.float32),
        count=number.astype(np.float32),
        centroid=centroid.astype(np.float32),
        neighbours=nearest_cells(key, seen, settings.kernel, settings.neighbours),
        cell=cell.astype(np.int32),
        num_cells=len(seen),
        num_around=len(around),
        num_known=int(taken.sum()) + len(empty),
    )


def masked_queries(
    xyz: Float32,
    shown: NDArray[np.int64],
    origins: NDArray,
    settings: OccupancySettings,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], list[QuerySample]]:
    """Mask a sweep and draw the queries of each scale.

    Args:
        xyz: (P, 3) metres, all points of the sweep in the frame of the view.
        shown: ascending rows of the points of the view that is masked. Others are targets, too.
        origins: (P, 3), see `scale_queries`.

    Returns:
        Ascending rows of the points that stay, and the queries by scale, the finest first.
    """
    visible = np.zeros(len(xyz), dtype=np.bool_)
    visible[shown] = True
    visible &= ~settings.mask.masked(xyz, rng)
    scales = [scale_queries(xyz, visible, origins, size, settings, rng) for size in settings.mask.sizes]
    return np.flatnonzero(visible), scales


def twins(first: Sequence[QuerySample], second: Sequence[QuerySample]) -> list[NDArray[np.int64]]:
    """(M, 2) of each scale: rows of the queries of both masks that ask for the same occupied cell."""
    pairs = []
    for a, b in zip(first, second, strict=True):
        _, in_a, in_b = np.intersect1d(a.key[a.occupied], b.key[b.occupied], True, return_indices=True)
        pairs.append(np.stack([in_a, in_b], axis=1).astype(np.int64))
    return pairs


def _drawn(items: Int64, most: int | None, rng: np.random.Generator) -> tuple[Int64, float]:
    """At most so many of the items, evenly drawn, in their order; and how many each stands for."""
    if most is None or len(items) <= most:
        return items, 1.0
    kept = np.sort(rng.choice(len(items), most, replace=False))
    return items[kept], len(items) / max(most, 1)
