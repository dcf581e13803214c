"""Orders of a pass whose batches are of frames that are alike: Sample4Geo's and MCL's.

A pass is whole batches of all ranks: position = block * (B * world) + b * world + rank, so that a block is
what all ranks read in one step, and a run resumes in constant time as with any other order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pc3d.data.samplers import StreamSampler

Ints = NDArray[np.int64]


class NeighbourSampler(StreamSampler):
    """Batches of neighbours (Sample4Geo, Deuser et al., ICCV 2023, after the authors' public code).

    Of a random order the next unused frame enters, then of its neighbours the first half of `select` and as
    many random ones of the rest, those that are unused; so until the batch is full. Each frame comes once a
    pass; what is left for less than a batch is left out.

    Args:
        neighbours: of each position of the data (n,) positions, the nearest first.
        batch_size: of a rank. select: neighbours of a frame that are tried, None for a batch less one (ours;
            the authors': 64 of a batch of 128). seed, rank, world: see `StreamSampler`.

    Raises:
        ValueError: fewer frames than a batch of all ranks.
    """

    def __init__(
        self,
        neighbours: Sequence[Ints],
        batch_size: int,
        select: int | None = None,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.block = batch_size * world
        if len(neighbours) < self.block:
            raise ValueError(
                f"data.sampler: {len(neighbours)} frames are fewer than a batch of {batch_size} on {world} "
                "processes: set a smaller data.batch_size"
            )
        super().__init__(len(neighbours) // self.block * self.block, seed, rank, world)
        self.neighbours = neighbours
        self.select = self.block - 1 if select is None else select

    def permutation(self, number: int) -> Ints:
        rng = np.random.default_rng((self.seed, number))
        order = rng.permutation(len(self.neighbours))
        return neighbour_order(order, self.neighbours, self.block, self.select, rng)[: self.length]


def neighbour_order(
    order: Ints, neighbours: Sequence[Ints], block: int, select: int, rng: np.random.Generator
) -> Ints:
    """(n,) frames, batch after batch; see `NeighbourSampler`.

    Args:
        order: (n,) a permutation. block: frames of a batch. rng: which of the farther neighbours are tried.
    """
    used = np.zeros(len(order), dtype=np.bool_)
    laid: list[int] = []
    near = (select + 1) // 2
    for frame in order.tolist():
        if used[frame]:
            continue
        used[frame] = True
        laid.append(frame)
        if len(laid) % block == 0:
            continue
        own = neighbours[frame]
        rest, count = own[near:], select - near
        far = rng.permutation(rest)[:count] if count and len(rest) else rest[:0]
        for other in (*own[:near].tolist(), *far.tolist()):
            if not used[other]:
                used[other] = True
                laid.append(other)
                if len(laid) % block == 0:
                    break
    return np.array(laid, dtype=np.int64)


class ClusterSampler(StreamSampler):
    """Batches of one label each (MCL, Zhang et al., ECCV 2024, after the authors' public code).

    The frames of a label, shuffled, are cut into batches, what is left for less than one is left out, and the
    labels take turns. A frame comes at most once a pass.

    Args:
        labels: of each position of the data, below 0 for none. batch_size, seed, rank, world: see
            `NeighbourSampler`.

    Raises:
        ValueError: no label has as many frames as a batch of all ranks.
    """

    def __init__(self, labels: Ints, batch_size: int, seed: int = 0, rank: int = 0, world: int = 1) -> None:
        self.block = batch_size * world
        self.groups = [np.flatnonzero(labels == label) for label in np.unique(labels[labels >= 0])]
        blocks = sum(len(group) // self.block for group in self.groups)
        if not blocks:
            most = max(map(len, self.groups), default=0)
            raise ValueError(
                f"data.sampler: the largest of {len(self.groups)} labels has {most} frames, fewer than a "
                f"batch of {batch_size} on {world} processes: use fewer labels or a smaller data.batch_size"
            )
        super().__init__(blocks * self.block, seed, rank, world)

    def permutation(self, number: int) -> Ints:
        rng = np.random.default_rng((self.seed, number))
        stacks = []
        for group in self.groups:
            count = len(group) // self.block
            stacks.append(rng.permutation(group)[: count * self.block].reshape(count, self.block))
        turns = [stacks[label] for label in rng.permutation(len(stacks))]
        most = max(map(len, turns))
        return np.concatenate([stack[turn] for turn in range(most) for stack in turns if turn < len(stack)])
