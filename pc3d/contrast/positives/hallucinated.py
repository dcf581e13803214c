"""Positives made on the sphere (HaLP, Shah et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.contrast.comparison import Comparison, logits_with
from pc3d.contrast.policy import Policy, draw, row_keys
from pc3d.contrast.prototypes import Clustering

NEAR = 1e-6


class Hallucinated(Policy):
    """Draws an anchor to points between its key and other prototypes, within the key's own cluster.

    z is the key, p0 its nearest prototype, p another one; g lies (1 - u) t_max of the way along the arc from
    z to p, where t_max is the point that is as like p0 as p, u ~ U(0, share). Kept where its nearest
    prototype is p0. The mean over all kept of -weight a.g / tau is added; z, p and g carry no gradient. The
    branch of the arc's angle is that of atan2 (the authors' arctan is wrong beyond 90 degrees).

    Args:
        prototypes: 20. count: made for each anchor; 100 in the authors' code, 16 here. weight: 1 to 2 there.
        share: 0.8. queue: rows that are clustered, 256. every: steps between, 5 to 10. dim: of the features.
    """

    unit_rows = True
    neutral: ClassVar[Mapping[str, Any] | None] = MappingProxyType({"weight": 0.0})

    def __init__(
        self,
        dim: int,
        prototypes: int = 20,
        count: int = 16,
        weight: float = 1.0,
        share: float = 0.8,
        queue: int = 256,
        every: int = 5,
    ) -> None:
        super().__init__()
        if prototypes < 2 or count < 1 or weight < 0 or not 0 <= share <= 1:
            raise ValueError(
                f"prototypes {prototypes}, count {count}, weight {weight}, share {share}: expected at "
                "least 2, 1, 0, and 0 to 1"
            )
        self.clustering = Clustering(dim, (prototypes,), queue, every)
        self.count, self.weight, self.share = count, weight, share

    def forward(self, c: Comparison, generator: torch.Generator) -> Comparison:
        keys = row_keys(c.facts, len(c.anchors), c.anchors.device)
        numbers = draw(generator, keys, 2 * self.count).to(c.anchors.dtype)
        if not self.clustering.ready or c.partner is None or not len(c.candidates):
            return c
        which, u = numbers.split(self.count, dim=1)
        with torch.no_grad():
            centroids = self.clustering.of(0).to(c.anchors)
            z = c.candidates[c.partner.clamp(min=0)].detach()
            made, kept = hallucinate(z, centroids, which, u * self.share)
            kept &= (c.partner >= 0)[:, None]
        pulls = logits_with(c, made)
        return replace(c, added=(-self.weight * (pulls * kept).sum(dim=1), kept.sum(dim=1)))


def hallucinate(z: Tensor, prototypes: Tensor, which: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    """Points on the arcs from keys to prototypes, and which of them to keep.

    Args:
        z: (N, D) unit keys. prototypes: (K, D) unit.
        which: (N, C) numbers in [0, 1) that choose the other prototype, evenly.
        back: (N, C) u: 1 leaves the key where it is, 0 goes as far as its cluster reaches.

    Returns:
        (N, C, D) unit points, (N, C) bool.
    """
    likeness = z @ prototypes.T
    own = likeness.argmax(dim=1, keepdim=True)
    other = (which * (len(prototypes) - 1)).long().clamp(max=len(prototypes) - 2)
    other = other + (other >= own)  # any but the own one
    p0, p = prototypes[own], prototypes[other]  # (N, 1, D), (N, C, D)
    cosine = likeness.gather(1, other).clamp(-1, 1)
    angle = cosine.arccos()
    reach = farthest(z[:, None], p0, p, angle)
    t = (1 - back) * reach
    sine = angle.sin()
    usable = sine > NEAR
    safe = torch.where(usable, sine, 1.0)
    made = ((1 - t) * angle).sin()[..., None] * z[:, None] + (t * angle).sin()[..., None] * p
    made = F.normalize(made / safe[..., None], dim=2)
    near = made @ prototypes.T
    kept = usable & (
        near.gather(2, own[:, None].expand(-1, near.shape[1], 1))[..., 0] >= near.amax(dim=2) - NEAR
    )
    return torch.where(usable[..., None], made, z[:, None]), kept


def farthest(z: Tensor, p0: Tensor, p: Tensor, angle: Tensor) -> Tensor:
    """t_max: the share of the arc from z to p at which a point is as like p0 as p."""
    across = (z * (p0 - p)).sum(dim=-1)
    beyond = 1 - (p * p0).sum(dim=-1)
    # K = beyond / across; atan2(sin, K + cos) without the division, across >= 0 as p0 is the nearest.
    reach = torch.atan2(angle.sin() * across, beyond + angle.cos() * across)
    return torch.where(across > 0, reach / angle.clamp(min=NEAR), 0.0)
