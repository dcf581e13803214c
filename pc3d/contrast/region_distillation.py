"""The loss of CALICO's region-aware distillation (arXiv 2306.00349): camera against LiDAR features."""

from __future__ import annotations

import torch
from torch import Tensor

from pc3d.contrast.nce import zero_with_graph
from pc3d.contrast.point_region import RegionRows, _logits, region_rows


def region_distillation(
    students: Tensor,
    teachers: Tensor,
    regions: Tensor,
    temperature: float = 0.07,
    mask_own_region: bool = False,
    known: RegionRows | None = None,
) -> Tensor:
    """Each point's camera feature is drawn to its own LiDAR feature; each region weighs the same.

    -1/R sum_{s=1..R} 1/N_s sum_{i: r_i = s} log( exp(c_i.l_i/tau) / sum_k exp(c_i.l_k/tau) )
    with N_s the points of region s; k runs over all points (the form as reviews of CALICO report it).
    One direction; detach `teachers` where they must not learn.

    Args:
        students, teachers: (K, D) L2-normalised camera features c and LiDAR features l of the same K points.
        regions: (K,) int64 region id, -1 for semantic-less points, which are only negatives.
        temperature: tau, 0.07 (our choice, as for PRC).
        mask_own_region: the other points of i's own region are no negatives (our option).
        known: `region_rows` of `regions`, where the caller has them.

    Returns:
        float32 scalar, 0 with a graph where no point has a region.
    """
    logits = _logits(students, teachers, regions, temperature)
    known = known or region_rows(regions)
    anchors = known.front
    if not len(anchors):
        return zero_with_graph(students, teachers)
    positive = logits.diagonal()[anchors]
    if mask_own_region:
        own = regions[:, None] == regions[None, :]
        logits = logits.masked_fill(own.fill_diagonal_(False), -torch.inf)
    terms = logits[anchors].logsumexp(dim=1) - positive
    return (terms / known.size).sum() / known.count
