"""A clustered memory (DyCE of BECLR, Poulakakis-Daktylidis & Jamali-Rad, ICLR 2024)."""

from __future__ import annotations

import torch
from torch import Tensor

from pc3d.contrast.policy import Part
from pc3d.contrast.queue import FeatureQueue, means, spherical_kmeans
from pc3d.contrast.sinkhorn import sinkhorn


class ClusteredMemory(Part):
    """Unit rows of past steps, first in, first out, and prototypes of them.

    The prototypes are k-means centroids when it is first full, then the means of the rows that bear their
    labels. Rows get balanced labels when they enter, by Sinkhorn on likeness (a public version of the
    authors' code gives it distances of the wrong sign). The balance is that of the whole memory with them
    (our choice: the authors' is that of a batch, in which few rows are spread over many prototypes). An empty
    prototype stays where it is; where all rows are in one cluster the memory is clustered anew; a cluster of
    no more than `neighbours` rows is too small, and the whole memory is looked at.

    Args:
        dim: of the features. prototypes: 200 in the authors' code. rows: that it holds, 8,000 there.
        neighbours: that are looked up, 5 there, 3 for the larger network. start: steps before any is, 0.
        epsilon: of Sinkhorn, 0.05 (our choice). keep: at most so many rows of a step enter, None for all.
    """

    def __init__(
        self,
        dim: int,
        prototypes: int = 50,
        rows: int = 2048,
        neighbours: int = 5,
        start: int = 0,
        epsilon: float = 0.05,
        keep: int | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= prototypes <= rows or not 1 <= neighbours <= rows or start < 0 or epsilon <= 0:
            raise ValueError(
                f"prototypes {prototypes}, neighbours {neighbours} of {rows} rows, start {start}, epsilon "
                f"{epsilon}: expected at least 1, no more than rows, 0 or more, above 0"
            )
        self.queue = FeatureQueue(rows, dim, ("label",), keep)
        self.neighbours, self.start, self.epsilon = neighbours, start, epsilon
        self.register_buffer("prototypes", torch.zeros(prototypes, dim))
        self.register_buffer("made", torch.zeros((), dtype=torch.bool))
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        self.prototypes: Tensor
        self.made: Tensor
        self.step: Tensor

    @property
    def ready(self) -> bool:
        """Whether rows are looked up."""
        return bool(self.made) and int(self.step) >= self.start

    @torch.no_grad()
    def nearest(self, key: Tensor) -> Tensor:
        """(N, k, D) rows most like each of (N, D) unit keys within its cluster, the nearest first."""
        rows = self.queue.rows().to(key)
        place = neighbours(key, rows, self.queue.fact("label"), self.prototypes.to(key), self.neighbours)
        return rows[place]

    @torch.no_grad()
    def see(self, rows: Tensor) -> None:
        """Keep (N, D) rows for the end of the step, while training."""
        if not self.training:
            return
        rows = torch.nn.functional.normalize(rows.to(self.prototypes), dim=1)
        # Labels come in `commit`: a rank that has nothing to compare does not come here.
        self.queue.push(rows, label=torch.full((len(rows),), -1, device=rows.device))

    @torch.no_grad()
    def commit(self) -> None:
        if not self.training:
            return
        self.queue.commit()
        self.step += 1
        if not self.queue.full:
            return
        rows, label = self.queue.rows(), self.queue.fact("label")
        if self.made:
            codes = sinkhorn(rows @ self.prototypes.T, self.epsilon)
            label = torch.where(label < 0, codes.argmax(dim=1), label)
        if not self.made or (len(self.prototypes) > 1 and len(label.unique()) == 1):
            self.prototypes.copy_(spherical_kmeans(rows, len(self.prototypes)))
            label = (rows @ self.prototypes.T).argmax(dim=1)
            self.made.fill_(True)
        self.queue.label("label", label)
        self.prototypes.copy_(means(rows, label, self.prototypes))


def neighbours(key: Tensor, rows: Tensor, label: Tensor, prototypes: Tensor, count: int) -> Tensor:
    """(N, count) places of the rows most like each key, of the cluster of its nearest prototype."""
    own = (key @ prototypes.T).argmax(dim=1)
    size = torch.bincount(label, minlength=len(prototypes))[own]
    outside = (label[None, :] != own[:, None]) & (size > count)[:, None]
    return (key @ rows.T).masked_fill(outside, -torch.inf).topk(count, dim=1).indices
