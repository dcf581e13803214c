"""BECLR's loss (Poulakakis-Daktylidis & Jamali-Rad, ICLR 2024): closeness of pairs, spread of the rest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.contrast.comparison import NOTHING
from pc3d.contrast.nce import _float, zero_with_graph


def align_uniform(
    predictions: Sequence[Tensor], teachers: Sequence[Tensor], students: Sequence[Tensor], weight: float = 0.1
) -> Tensor:
    """[ -cos(p1, sg t2) - cos(p2, sg t1) ] / 2 + weight * log mean_i mean_{j not i, nor its mate}
    e^(z_i.z_j / 2).

    Args:
        predictions, teachers, students: of two views each, (N, D); p, t and z. Teachers carry no gradient.
        weight: of the spread, 0.1 in the authors' code.

    Returns:
        Scalar, 0 with a graph where N is 0; without the spread where N is 1.
    """
    (p1, p2), (t1, t2), (z1, z2) = (
        tuple(_float(x) for x in pair) for pair in (predictions, teachers, students)
    )
    if not len(p1):
        return zero_with_graph(p1, p2, z1, z2)
    with torch.autocast(p1.device.type, enabled=False):
        near = F.cosine_similarity(p1, t2.detach()).mean() + F.cosine_similarity(p2, t1.detach()).mean()
        return weight * spread(z1, z2) - near / 2


def spread(z1: Tensor, z2: Tensor, temperature: float = 2.0) -> Tensor:
    """log of the mean over the rows of both views of mean e^(z_i.z_j / T), j neither i nor its mate."""
    count = len(z1)
    if count < 2:
        return zero_with_graph(z1, z2)
    rows = torch.cat([z1, z2])
    own = torch.eye(count, dtype=torch.bool, device=rows.device).repeat(2, 2)
    logits = (rows @ rows.T / temperature).masked_fill(own, NOTHING)
    total = logits.flatten().logsumexp(dim=0)
    return total - torch.tensor(2 * count * (2 * count - 2), dtype=total.dtype).log()
