"""The queries of masked neighbourhood occupancy of a batch, packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pc3d.data.occupancy import QuerySample


@dataclass
class OccupancyQueries:
    """The queries of one masked view at one scale, those of all samples one after the other.

    Attributes:
        centre, occupied, weight, count, centroid: see `QuerySample`.
        neighbours: (Q, K) int32 rows of the V visible cells of the batch, -1 for none.
        cell: (P,) int32 visible cell of each point of the masked view.
        twins: (M, 2) int64 rows of queries, of this mask and of the other, that ask for the same occupied
            cell; none where there is one mask.
        size: side of a cell, metres of the view.
        num_cells, num_around, num_known: of all samples.
    """

    centre: Tensor
    occupied: Tensor
    weight: Tensor
    count: Tensor
    centroid: Tensor
    neighbours: Tensor
    cell: Tensor
    twins: Tensor
    size: float
    num_cells: int
    num_around: int
    num_known: int


def collate_queries(
    samples: Sequence[QuerySample],
    twins: Sequence[NDArray[np.int64]],
    others: Sequence[QuerySample],
    size: float,
) -> OccupancyQueries:
    """Pack the queries of the samples of a batch at one scale.

    Args:
        twins: of each sample, or none at all.
        others: the samples of the other mask, which twins count in too.
    """
    cells = [0, *accumulate(sample.num_cells for sample in samples)]
    own, other = ([0, *accumulate(len(q.key) for q in queries)] for queries in (samples, others))
    pairs = [pair + np.array([own[n], other[n]]) for n, pair in enumerate(twins)]

    def joined(name: str) -> Tensor:
        return torch.from_numpy(np.concatenate([getattr(sample, name) for sample in samples]))

    shifted = [
        np.where(sample.neighbours < 0, -1, sample.neighbours + first)
        for sample, first in zip(samples, cells, strict=False)
    ]
    of_points = [sample.cell + first for sample, first in zip(samples, cells, strict=False)]
    return OccupancyQueries(
        **{name: joined(name) for name in ("centre", "occupied", "weight", "count", "centroid")},
        neighbours=torch.from_numpy(np.concatenate(shifted).astype(np.int32)),
        cell=torch.from_numpy(np.concatenate(of_points).astype(np.int32)),
        twins=torch.from_numpy(np.concatenate([np.zeros((0, 2), np.int64), *pairs])),
        size=size,
        num_cells=cells[-1],
        num_around=sum(sample.num_around for sample in samples),
        num_known=sum(sample.num_known for sample in samples),
    )
