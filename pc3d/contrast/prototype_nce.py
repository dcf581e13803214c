"""ProtoNCE: anchors against centroids, each with its own temperature (as in MEOW, Yu et al., 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from pc3d.contrast.comparison import Facts
from pc3d.contrast.nce import _float, zero_with_graph
from pc3d.contrast.policy import Regularizer
from pc3d.contrast.prototypes import Clustering

SMOOTH = 5
"""Added to the size of a cluster in its concentration, as in the authors' code."""


class ProtoNCE(Regularizer):
    """mean over clusterings, mean_i [ log sum_c e^(z_i.c / phi_c) - z_i.c_k(i) / phi_k(i) ], z the anchors.

    k(i) is the cluster of i's positive. phi_k = mean distance / log(n_k + 5) of the rows of the queue in the
    cluster, clipped at the 10th and 90th percentile and scaled to a mean of `temperature`; that of a cluster
    of one is the largest. The authors' value has log(N / K) more.

    Args:
        weight: 0.1 to 1 in the authors' code. counts: centroids of each clustering.
        temperature: mean of phi, 0.9 there. queue, every: see `Clustering`. dim: of the features.
    """

    unit_rows = True
    neutral: ClassVar[Mapping[str, Any] | None] = MappingProxyType({"weight": 0.0})

    def __init__(
        self,
        dim: int,
        weight: float = 1.0,
        counts: Sequence[int] = (50, 200),
        temperature: float = 0.9,
        queue: int = 2048,
        every: int = 20,
    ) -> None:
        super().__init__(weight)
        if not counts or temperature <= 0:
            raise ValueError(f"counts {counts} and temperature {temperature}: expected some, and above 0")
        self.temperature = temperature
        self.clustering = Clustering(dim, tuple(counts), queue, every)

    def forward(self, anchors: Tensor, others: Tensor, facts: Facts) -> Tensor:
        if not self.clustering.ready or not len(anchors):
            return zero_with_graph(anchors, others)
        z, keys = _float(anchors), _float(others).detach()
        rows = self.clustering.queue.rows().to(z)
        terms = []
        for number in range(len(self.clustering.counts)):
            centroids = self.clustering.of(number).to(z)
            phi = concentration(rows, centroids, self.temperature)
            own = (keys @ centroids.T).argmax(dim=1)
            terms.append(prototype_nce(z, centroids, own, phi))
        return torch.stack(terms).mean()


def prototype_nce(z: Tensor, centroids: Tensor, own: Tensor, phi: Tensor) -> Tensor:
    """mean_i [ log sum_c e^(z_i.c / phi_c) - z_i.c_own / phi_own ] of (N, D) rows and (K, D) centroids."""
    return torch.nn.functional.cross_entropy(z @ centroids.T / phi, own)


@torch.no_grad()
def concentration(rows: Tensor, centroids: Tensor, mean: float) -> Tensor:
    """(K,) phi of the clusters of (M, D) rows, of the given mean."""
    likeness = rows @ centroids.T
    own = likeness.argmax(dim=1)
    distance = (2 - 2 * likeness.gather(1, own[:, None])[:, 0]).clamp(min=0).sqrt()
    count = torch.bincount(own, minlength=len(centroids)).to(rows.dtype)
    total = torch.zeros_like(count).index_add_(0, own, distance)
    phi = total / count.clamp(min=1) / (count + SMOOTH).log()
    phi = torch.where(count > 1, phi, phi.max())
    low, high = torch.quantile(phi, 0.1), torch.quantile(phi, 0.9)
    phi = phi.clamp(low, high).clamp(min=1e-6)
    return phi * mean / phi.mean()
