"""The two losses of CALICO's point-region contrast (arXiv 2306.00349): PLRC and RAPC."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.contrast.nce import _float, check_extra, check_pair, zero_with_graph
from pc3d.ops.device import to_device

SEMANTIC_LESS = -1


@dataclass(frozen=True)
class RegionRows:
    """Which of K rows belong to a region: known in the host's memory, so that nobody waits for a GPU.

    Attributes:
        front, back: (A,) and (K - A,) int64 rows of a region and of none.
        size: (A,) int64 rows of the region of each of `front`. count: number of regions.
    """

    front: Tensor
    back: Tensor
    size: Tensor
    count: int


def region_rows(regions: Tensor, device: torch.device | None = None) -> RegionRows:
    """Of (K,) region ids, -1 for none; the rows are on `device`, by default that of the ids."""
    device = regions.device if device is None else device
    front, back = (regions != SEMANTIC_LESS).nonzero()[:, 0], (regions == SEMANTIC_LESS).nonzero()[:, 0]
    _, region, size = torch.unique(regions[front], return_inverse=True, return_counts=True)
    front, back, sizes = (to_device(rows, device) for rows in (front, back, size[region]))
    return RegionRows(front, back, sizes, len(size))


def _logits(
    features: Tensor, others: Tensor, regions: Tensor, temperature: float, extra: Tensor | None = None
) -> Tensor:
    """(K, K + M) of each point with the K of the other view, then with the M of `extra`."""
    check_pair(features, others, temperature)
    check_extra(features, extra)
    if regions.shape != features.shape[:1]:
        raise ValueError(f"regions must have shape ({len(features)},), got {tuple(regions.shape)}")
    candidates = others if extra is None else torch.cat([others, extra])
    with torch.autocast(features.device.type, enabled=False):
        return _float(features) @ _float(candidates).T / temperature


def plrc(
    features: Tensor,
    others: Tensor,
    regions: Tensor,
    temperature: float = 0.07,
    extra: Tensor | None = None,
    known: RegionRows | None = None,
) -> Tensor:
    """Point-level region contrast: a region point is drawn to all points of its region.

    -1/N sum_{i<=N} 1/|P(i)| sum_{j in P(i)} log( exp(f_i.f'_j/tau) / sum_k exp(f_i.f'_k/tau) )
    with P(i) the points of i's region; k runs over all points, region points and semantic-less
    ones. With several positives in one denominator the minimum is about log(region size), not 0.

    Args:
        features, others: (K, D) L2-normalised features of the same K points in the two views.
        regions: (K,) int64 region id, -1 for semantic-less points, which are only negatives.
        temperature: tau; 0.07 is this project's choice, CALICO's prototype used 0.1.
        extra: (M, D) more points k of no region of these, negatives of every point: those of other ranks.
        known: `region_rows` of `regions`, where the caller has them.

    Returns:
        float32 scalar, 0 with a graph where no point has a region.
    """
    anchors = (known or region_rows(regions)).front
    logits = _logits(features, others, regions, temperature, extra)
    if not len(anchors):
        return zero_with_graph(features, others, extra)
    log_probability = logits[anchors].log_softmax(dim=1)[:, : len(others)]
    positive = regions[anchors, None] == regions[None, :]
    return -(log_probability * positive).sum(1).div(positive.sum(1)).mean()


def rapc(
    features: Tensor,
    others: Tensor,
    regions: Tensor,
    temperature: float = 0.07,
    extra: Tensor | None = None,
) -> Tensor:
    """Region-aware point contrast: a point is drawn to itself and away from other regions only.

    -1/(N+M) sum_i log( exp(f_i.f'_i/tau) / ( exp(f_i.f'_i/tau) + sum_{k in A(i)} exp(f_i.f'_k/tau) ) )
    with A(i) = { k != i : region(k) != region(i), or k semantic-less }: the points of i's own
    region are neither positives nor negatives.

    Args and returns: as `plrc`; 0 with a graph where there is no point.
    """
    logits = _logits(features, others, regions, temperature, extra)
    if len(logits) == 0:
        return zero_with_graph(features, others, extra)
    same_region = (regions[:, None] == regions[None, :]) & (regions[None, :] != SEMANTIC_LESS)
    same_region.fill_diagonal_(False)
    beyond = logits.shape[1] - len(others)
    denominator = logits.masked_fill(F.pad(same_region, (0, beyond)), -torch.inf).logsumexp(dim=1)
    return (denominator - logits.diagonal()).mean()
