"""Pixel-to-point knowledge transfer (PPKT; Liu et al., arXiv 2104.04687)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from pc3d.contrast.build import build_contrast, contrast_needs
from pc3d.contrast.gather import rows_of_other_ranks
from pc3d.data.batch import Needs
from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar.base import LidarEncoder
from pc3d.objectives.base import Objective, compared, contrasted
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.facts import POINT_FACTS, point_facts
from pc3d.objectives.matches import matched_pixels, pixels_at


class PPKT(Objective):
    """NCE of random point-pixel pairs of the batch: each point against the pixels of all of them.

    A linear point head and a 1x1 pixel head lead to the common space; the pixel head's map is read at
    the points by bilinear interpolation, and both sides are normalised.

    Args:
        lidar, image: the encoders; the image encoder is a frozen teacher in the paper.
        num_pairs: pairs of a batch, 4096 (SLidR's code for PPKT).
        dim: width of the common space, 64 (SLidR's code for PPKT).
        temperature: 0.07.
        gather: pixels of the other ranks are negatives too (our option).
        contrast: other parts of the contrast than InfoNCE's, see `pc3d.contrast.build` (our option).
    """

    needs = Needs(images=True)
    reads_image = True
    learns_from = "point-pixel pair"
    later: ClassVar[Mapping[str, Any]] = {"contrast": None}

    def __init__(
        self,
        lidar: LidarEncoder,
        image: ImageEncoder,
        num_pairs: int = 4096,
        dim: int = 64,
        temperature: float = 0.07,
        gather: bool = False,
        contrast: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.point_head = nn.Linear(lidar.point_channels, dim)
        self.pixel_head = nn.Conv2d(image.channels, dim, kernel_size=1)
        self.num_pairs, self.gather = num_pairs, gather
        self.contrast = build_contrast(contrast, temperature, dim, POINT_FACTS, gather)

    @classmethod
    def needs_of(cls, config: Mapping[str, Any]) -> Needs:
        return cls.needs | contrast_needs(config.get("contrast"))

    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        pairs, index, share = matched_pixels(encodings, self.num_pairs)
        points = F.normalize(self.point_head(encodings.lidar("a").points[index]).float(), dim=1)
        maps = self.pixel_head(encodings.image()).float()
        pixels = F.normalize(pixels_at(maps, pairs, encodings), dim=1)
        extra = rows_of_other_ranks(pixels) if self.gather else None
        facts = compared(self.contrast, lambda: point_facts(encodings, index))
        loss = self.contrast.pair(points, pixels, encodings.generator, extra=extra, facts=facts)
        logged = {"examples": contrasted(points, extra), "point_share": share}
        return {"loss": loss, **logged, **self.contrast.logged(), **encodings.collapse(points, pixels)}
