"""Superpixel-driven image-to-LiDAR contrast (SLidR, CVPR 2022, arXiv 2203.16258)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from pc3d.contrast.build import build_contrast, contrast_needs
from pc3d.contrast.gather import rows_of_other_ranks
from pc3d.data.batch import Needs
from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar.base import LidarEncoder
from pc3d.objectives.base import Objective, compared, contrasted
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.facts import GROUP_FACTS, SEMANTIC_FACTS, group_facts
from pc3d.objectives.superpixel_heads import SuperpixelHeads


class SuperpixelContrast(Objective):
    """NCE of superpoints Q against superpixels K, both means of normalised features.

    A group is a negative of every other group of the batch.

    Args:
        lidar, image: the encoders; the image encoder is a frozen teacher in SLidR.
        dim: width of the common space, 64 (SLidR).
        temperature: 0.07 (SLidR).
        ids: `superpixels`, or `semantics` (SLidR's author reports that class-level segments hurt it).
        renormalise, pixel_stride: see `SuperpixelHeads`.
        gather: superpixels of the other ranks are negatives too (our option).
        contrast: other parts of the contrast than InfoNCE's, see `pc3d.contrast.build` (our option).
    """

    needs = Needs(images=True, superpixels=True)
    reads_image = True
    learns_from = "segment of an image that points land in"
    later: ClassVar[Mapping[str, Any]] = {"contrast": None}

    def __init__(
        self,
        lidar: LidarEncoder,
        image: ImageEncoder,
        dim: int = 64,
        temperature: float = 0.07,
        ids: str = "superpixels",
        renormalise: bool = False,
        pixel_stride: int = 1,
        gather: bool = False,
        contrast: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.heads = SuperpixelHeads(lidar, image, dim, ids, renormalise, pixel_stride)
        self.gather = gather
        facts = SEMANTIC_FACTS if ids == "semantics" else GROUP_FACTS
        self.contrast = build_contrast(contrast, temperature, dim, facts, gather, renormalise)

    @classmethod
    def needs_of(cls, config: Mapping[str, Any]) -> Needs:
        ids: dict[str, Any] = {config.get("ids", "superpixels"): True}
        return Needs(images=True, **ids) | contrast_needs(config.get("contrast"))

    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        groups = self.heads.groups(encodings)
        superpoints = self.heads.superpoints(encodings, "t", groups)
        superpixels = self.heads.superpixels(encodings, "t", groups)
        extra = rows_of_other_ranks(superpixels) if self.gather else None
        facts = compared(self.contrast, lambda: group_facts(encodings, groups, self.heads.ids))
        loss = self.contrast.pair(superpoints, superpixels, encodings.generator, extra=extra, facts=facts)
        logged = {
            "examples": contrasted(superpoints, extra),
            "groups": torch.tensor(float(groups.count)),
            "point_share": groups.point_share(encodings.batch.now),
        }
        collapse = encodings.collapse(superpoints, superpixels)
        return {"loss": loss, **logged, **self.contrast.logged(), **collapse}
