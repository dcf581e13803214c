"""TCL for LiDAR and cameras (Yang et al., "Triple Contrastive Learning", CVPR 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.contrast.nce import zero_with_graph
from pc3d.contrast.policy import Part
from pc3d.contrast.queue import FeatureQueue
from pc3d.contrast.similarity.cosine import Learned
from pc3d.contrast.triple import local_mutual_information, soft_contrast
from pc3d.data.batch import Needs
from pc3d.models.following import Following
from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar.base import LidarEncoder
from pc3d.models.lidar.momentum import MomentumEncoder
from pc3d.objectives.base import Objective, contrasted
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.groups import SuperpixelGroups, pool_pixels, superpixel_groups
from pc3d.objectives.matches import feature_index
from pc3d.objectives.superpixel import SuperpixelContrast
from pc3d.objectives.superpixel_heads import SuperpixelHeads
from pc3d.ops.segment import segment_mean


class Queues(Part):
    """Momentum features of both sides of past steps."""

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        self.points, self.pixels = FeatureQueue(length, dim), FeatureQueue(length, dim)

    def see(self, points: Tensor, pixels: Tensor) -> None:
        """Keep the rows of a step for its end."""
        if self.training:
            self.points.push(points)
            self.pixels.push(pixels)

    def commit(self) -> None:
        if self.training:
            self.points.commit()
            self.pixels.commit()


class TripleContrast(Objective):
    """Superpoints and superpixels contrasted across the modalities, within the LiDAR, and with their own
    parts.

    a superpoints of view "a", b superpixels; a' of view "b" and b' by momentum copies of heads and encoder;
    queues.

        across = 1/2 [ CE(a over [b', Qb]) + CE(b over [a', Qa]) ], targets alpha soft + (1 - alpha) own
        within = CE(a over [a', Qa])
        local  = LMI(a, momentum features of points of the group)

    L = mean of the terms, across counting twice (`contrast.triple`). The image teacher is frozen, so that
    what the authors do within the second modality would train its 1x1 head alone: left out (ours).

    Args:
        lidar, image: the encoders. dim: 64 (the authors': 256). temperature: learned from 0.07 in 0.001 to
            0.5.
        alpha: 0.4. queue: rows, 4096 (the authors': 65536). momentum: 0.99 (0.995 there); steps: over which
            it rises to 1 (our option); None: it stays, as there.
        parts: points of a group in `local`, 8. ids, pixel_stride: see `SuperpixelContrast`.
    """

    needs = Needs(images=True, superpixels=True, views=2)
    reads_image = True
    learns_from = SuperpixelContrast.learns_from

    def __init__(
        self,
        lidar: LidarEncoder,
        image: ImageEncoder,
        dim: int = 64,
        temperature: float = 0.07,
        alpha: float = 0.4,
        queue: int = 4096,
        momentum: float = 0.99,
        parts: int = 8,
        ids: str = "superpixels",
        pixel_stride: int = 1,
        steps: int | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= alpha <= 1 or parts < 1:
            raise ValueError(f"alpha {alpha} and parts {parts}: expected 0 to 1, and at least 1")
        self.heads = SuperpixelHeads(lidar, image, dim, ids, True, pixel_stride)
        self.key = MomentumEncoder(lidar, momentum, steps)
        self.key_heads = Following(self.heads, momentum, steps)
        self.queues = Queues(queue, dim)
        self.learned = Learned(temperature, 0.001, 0.5)
        self.alpha, self.parts = alpha, parts

    @classmethod
    def needs_of(cls, config: Mapping[str, Any]) -> Needs:
        ids: dict[str, Any] = {"superpixels": False, config.get("ids", "superpixels"): True}
        return replace(cls.needs, **ids)

    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        if self.training:
            self.key.update(encodings.lidar_encoder)
            self.key_heads.update(self.heads)
        index = feature_index(encodings, "b", key_encoder=self.key)
        frame = encodings.batch.now
        usable = (feature_index(encodings, "a") >= 0) & (index >= 0)
        groups = superpixel_groups(frame, usable, self.heads.pixel_stride, self.heads.ids, encodings.host.now)
        a = self.heads.superpoints(encodings, "t", groups)
        b = self.heads.superpixels(encodings, "t", groups)
        a_key, local, present = self._points(encodings, groups, index)
        with torch.no_grad():
            pixels = self.key_heads.copy.pixel_head(encodings.image()).float()
            b_key = F.normalize(pool_pixels(pixels, groups), dim=1)
        tau, queues = self.learned.tau(), self.queues
        old_a, old_b = queues.points.rows(), queues.pixels.rows()
        terms = {
            "across": (
                soft_contrast(a, b_key, a_key, old_b, tau, self.alpha)
                + soft_contrast(b, a_key, b_key, old_a, tau, self.alpha)
            )
            / 2,
            "within": soft_contrast(a, a_key, a_key, old_a, tau, 0.0),
            "local": local_mutual_information(a, local, present, tau),
        }
        queues.see(a_key, b_key)
        logged = {
            **{name: value.detach() for name, value in terms.items()},
            "examples": contrasted(a, old_b),
            "temperature": tau.detach(),
            "groups": torch.tensor(float(groups.count)),
            "point_share": groups.point_share(frame),
        }
        loss = (2 * terms["across"] + terms["within"] + terms["local"]) / 4 + zero_with_graph(
            a, b, self.learned.scale
        )
        return {"loss": loss, **logged, **encodings.collapse(a, b)}

    @torch.no_grad()
    def _points(
        self, encodings: Encodings, groups: SuperpixelGroups, index: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Momentum superpoints of view "b" (G, D), points of them (G, Q, D), and which of these there are."""
        features = encodings.lidar("b", key_encoder=self.key).points[encodings.here(index[groups.host_rows])]
        points = F.normalize(self.key_heads.copy.point_head(features).float(), dim=1)
        means = F.normalize(segment_mean(points, groups.pair_group, groups.count)[0], dim=1)
        order = torch.randperm(len(points), generator=encodings.generator).to(points.device)
        order = order[groups.pair_group[order].argsort(stable=True)]
        size = torch.bincount(groups.pair_group, minlength=groups.count)
        first = size.cumsum(dim=0) - size
        turn = torch.arange(self.parts, device=points.device)
        place = first[:, None] + turn[None] % size.clamp(min=1)[:, None]  # repeated where there are fewer
        local = (
            points[order[place.clamp(max=max(len(order) - 1, 0))]]
            if len(order)
            else points.new_zeros(groups.count, self.parts, points.shape[1])
        )
        return means, local, (size > 0)[:, None].expand(-1, self.parts)
