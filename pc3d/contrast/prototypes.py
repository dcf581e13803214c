"""Centroids of a queue of features, made anew every so many steps: what several policies look up."""

from __future__ import annotations

import torch
from torch import Tensor

from pc3d.contrast.comparison import Facts
from pc3d.contrast.policy import Part
from pc3d.contrast.queue import FeatureQueue, spherical_kmeans


class Clustering(Part):
    """Spherical k-means centroids of the newest rows of the other side.

    Args:
        dim: of a row. counts: number of centroids of each clustering.
        length: rows of the queue. every: steps between two clusterings; the first comes with the full queue.
    """

    def __init__(self, dim: int, counts: tuple[int, ...], length: int = 2048, every: int = 10) -> None:
        super().__init__()
        if every < 1 or any(count < 1 or count > length for count in counts):
            raise ValueError(
                f"counts {counts} of a queue of {length} rows, every {every} steps: expected at least 1 "
                "each, and no more centroids than rows"
            )
        self.queue, self.counts, self.every = FeatureQueue(length, dim), tuple(counts), every
        self.register_buffer("centroids", torch.zeros(sum(counts), dim))
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        self.register_buffer("made", torch.zeros((), dtype=torch.bool))
        self.centroids: Tensor
        self.step: Tensor
        self.made: Tensor

    @property
    def ready(self) -> bool:
        """Whether there are centroids."""
        return bool(self.made)

    def of(self, number: int) -> Tensor:
        """(K, D) centroids of one of the clusterings."""
        # A copy: the buffer changes before the backward pass.
        return self.centroids.split(list(self.counts))[number].clone()

    def observe(self, anchors: Tensor, others: Tensor, facts: Facts, other_facts: Facts) -> None:
        self.queue.push(torch.nn.functional.normalize(others.to(self.centroids), dim=1))

    @torch.no_grad()
    def commit(self) -> None:
        if not self.training:
            return
        self.queue.commit()
        if self.queue.full and (not self.made or int(self.step) % self.every == 0):
            rows = self.queue.rows()
            self.centroids.copy_(torch.cat([spherical_kmeans(rows, count) for count in self.counts]))
            self.made.fill_(True)
        self.step += 1
