"""The order in which frames are read: endless, seeded, resumable at any step in constant time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class StreamSampler(Sampler[tuple[int, int]]):
    """An endless stream of (pass, index): one seeded permutation of the data after the other.

    The pass number travels with the index so that augmentation differs from pass to pass in every
    worker. The same seed gives the same stream, whatever the number of workers; with several
    ranks, rank r reads every `world`-th element from the r-th on.

    Args:
        length: number of frames. seed: of the permutations. rank, world: of the process.

    Attributes:
        start: elements of this rank's stream to leave out, set when a run resumes.
    """

    def __init__(self, length: int, seed: int = 0, rank: int = 0, world: int = 1) -> None:
        if length < 1:
            raise ValueError("no frame to sample from: the split or the label fraction is empty")
        self.length, self.seed, self.rank, self.world = length, seed, rank, world
        self.start = 0

    def __len__(self) -> int:
        """Elements of one pass over the data, of this rank."""
        return max(self.length // self.world, 1)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        position = self.rank + self.start * self.world
        number = -1
        while True:
            if position // self.length != number:
                number = position // self.length
                order = np.random.default_rng((self.seed, number)).permutation(self.length)
            yield number, int(order[position % self.length])
            position += self.world
