"""PointContrast (Xie et al., ECCV 2020, arXiv 2007.10985)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pc3d.contrast.build import build_contrast, contrast_needs
from pc3d.contrast.gather import rows_of_other_ranks
from pc3d.data.batch import Needs
from pc3d.models.lidar.base import LidarEncoder
from pc3d.objectives.base import Objective, compared, contrasted
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.facts import POINT_FACTS, point_facts
from pc3d.objectives.matches import matched_points


class PointContrast(Objective):
    """NCE of matched points of two views: each point of view "a" against all sampled ones of view "b".

    The paper matches points of two scans of a room; here the views are two augmentations of one sweep (our
    choice).

    Args:
        lidar: the encoder that is trained.
        num_points: matched points of a batch, 4096 (the authors' code).
        dim: width of the linear head's features, 32 (the authors' code).
        temperature: 0.07 (the default of the authors' code; their script for the NCE sets 0.4).
        gather: points of the other ranks are negatives too (our option).
        contrast: other parts of the contrast than InfoNCE's, see `pc3d.contrast.build` (our option).
    """

    needs = Needs(views=2)
    learns_from = "point that both views show"
    later: ClassVar[Mapping[str, Any]] = {"contrast": None}

    def __init__(
        self,
        lidar: LidarEncoder,
        num_points: int = 4096,
        dim: int = 32,
        temperature: float = 0.07,
        gather: bool = False,
        contrast: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.head = nn.Linear(lidar.point_channels, dim)
        self.num_points, self.gather = num_points, gather
        self.contrast = build_contrast(contrast, temperature, dim, POINT_FACTS, gather)

    @classmethod
    def needs_of(cls, config: Mapping[str, Any]) -> Needs:
        return cls.needs | contrast_needs(config.get("contrast"))

    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        rows, *found = matched_points(encodings, self.num_points)
        index_a, index_b = (encodings.here(index) for index in found)
        f, g = (
            F.normalize(self.head(encodings.lidar(view).points[index]).float(), dim=1)
            for view, index in (("a", index_a), ("b", index_b))
        )
        extra = rows_of_other_ranks(g) if self.gather else None
        facts = compared(self.contrast, lambda: point_facts(encodings, index_a))
        loss = self.contrast.pair(f, g, encodings.generator, extra=extra, facts=facts)
        share = torch.tensor(len(rows) / max(encodings.batch.now.num_points, 1))
        logged = {"examples": contrasted(f, extra), "point_share": share}
        return {"loss": loss, **logged, **self.contrast.logged(), **encodings.collapse(f, g)}
