"""Foreground-aware feature contrast (FAC, CVPR 2023, arXiv 2303.06388)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pc3d.contrast.build import build_contrast, contrast_needs
from pc3d.contrast.by_region import contrast_feature, contrast_geometric
from pc3d.contrast.contrast import Contrasts
from pc3d.contrast.nce import zero_with_graph
from pc3d.contrast.point_region import region_rows
from pc3d.data.batch import FrameBatch, Needs
from pc3d.data.frame_types import NOT_LOOKED_AT
from pc3d.models.build import require_weight
from pc3d.models.lidar.base import LidarEncoder
from pc3d.models.lidar.momentum import MomentumEncoder
from pc3d.objectives.base import Objective, compared
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.facts import REGION_FACTS, region_facts
from pc3d.objectives.matches import feature_index
from pc3d.objectives.segments import segments_field, segments_of, with_segments
from pc3d.ops.sampling import balanced_sample, spans


class FAC(Objective):
    """L_FAC = geo L_Geo + fea L_Fea between view a and the momentum encoder's view b.

    View a gives D_a, view b, through the momentum (EMA) encoder and without gradient, D_b. A gate per
    channel S = sigmoid(linear(D)) gives F = S * D. L_Geo compares D by segment, L_Fea compares F by
    likeness. Read from the paper's framework figure: the two branches, the gates, which features and
    pairs; our choice: the forms, and every default here.

    Args:
        lidar: the encoder that is trained.
        segments: `clusters` (the regions of CALICO), `supervoxels` or `objects`.
        num_anchors: foreground points of a sweep, balanced over its segments; they are also the keys of
            view b.
        num_background: background points of a sweep.
        temperature: 0.07. matches: 16, of L_Fea. momentum: 0.999, of the key encoder.
        geo, fea: weights, 1 and 1.
        contrast: other parts of the contrast than InfoNCE's, see `pc3d.contrast.build` (our option).
    """

    needs = Needs(views=2, regions=True)
    learns_from = "point of a segment that both views show"
    later: ClassVar[Mapping[str, Any]] = {"contrast": None}

    def __init__(
        self,
        lidar: LidarEncoder,
        segments: str = "clusters",
        num_anchors: int = 4096,
        num_background: int = 4096,
        temperature: float = 0.07,
        matches: int = 16,
        momentum: float = 0.999,
        geo: float = 1.0,
        fea: float = 1.0,
        contrast: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        require_weight(geo=geo, fea=fea)
        self.key = MomentumEncoder(lidar, momentum)
        self.gate = nn.Linear(lidar.point_channels, lidar.point_channels)
        self.segments, self.num_points = segments_field(segments), (num_anchors, num_background)
        self.temperature, self.matches, self.weights = temperature, matches, (geo, fea)
        width = lidar.point_channels
        self.contrasts = Contrasts(
            {
                name: build_contrast(contrast, temperature, width, REGION_FACTS, several=True, form=form)
                for name, form in (("geo", "each"), ("fea", "in"))
            }
        )

    @classmethod
    def needs_of(cls, config: Mapping[str, Any]) -> Needs:
        return with_segments(Needs(views=2), config) | contrast_needs(config.get("contrast"))

    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        if self.training:
            self.key.update(encodings.lidar_encoder)
        frame = encodings.host.now
        queries = encodings.lidar("a").points
        keys = encodings.lidar("b", key_encoder=self.key).points
        in_a, in_b = feature_index(encodings, "a"), feature_index(encodings, "b", key_encoder=self.key)
        chosen = self._sample(frame, (in_a >= 0) & (in_b >= 0), encodings.generator)
        d_a, f_a = self._features(queries[encodings.here(in_a[chosen])])
        with torch.no_grad():
            d_b, f_b = self._features(keys[encodings.here(in_b[chosen])])
        segments = segments_of(frame, self.segments, "FAC")[chosen]

        by_segment, by_likeness = self.contrasts.of("geo"), self.contrasts.of("fea")
        facts = compared(by_segment, lambda: region_facts(encodings, chosen, segments))
        geo, fea = [], []
        for of in spans(frame.row_batch[chosen], len(encodings.batch)):
            ids, known = encodings.here(segments[of]), region_rows(segments[of], d_a.device)
            rest = ({key: value[of] for key, value in facts.items()}, encodings.generator, known)
            geo.append(contrast_geometric(by_segment, self.temperature, d_a[of], d_b[of], ids, *rest))
            sides = (f_a[of], f_b[of], ids, self.matches)
            fea.append(contrast_feature(by_likeness, self.temperature, *sides, *rest))
        l_geo, l_fea = torch.stack(geo).mean(), torch.stack(fea).mean()
        logged = {
            "geo": l_geo.detach(),
            "fea": l_fea.detach(),
            "examples": (segments >= 0).sum().float(),
            "point_share": torch.tensor(len(chosen) / max(frame.num_points, 1)),
        }
        loss = self.weights[0] * l_geo + self.weights[1] * l_fea + zero_with_graph(f_a)
        return {"loss": loss, **logged, **self.contrasts.logged(), **encodings.collapse(f_a, f_b)}

    def _features(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised D and F = S * D."""
        points = points.float()
        gated = self.gate(points).sigmoid() * points
        return F.normalize(points, dim=1), F.normalize(gated, dim=1)

    def _sample(self, frame: FrameBatch, usable: Tensor, generator: torch.Generator) -> Tensor:
        """Rows that are compared: anchors balanced over segments, and background, of each sweep.

        In the host's memory, as `frame` is.
        """
        segments = segments_of(frame, self.segments, "FAC")
        usable = usable & (segments != NOT_LOOKED_AT)
        chosen = []
        for b in range(frame.views["a"].size):
            here = usable & (frame.row_batch == b)
            back = torch.where(here & (segments < 0), 0, -1)
            chosen.append(balanced_sample(torch.where(here, segments, -1), self.num_points[0], generator))
            chosen.append(balanced_sample(back, self.num_points[1], generator))
        return torch.cat(chosen)
