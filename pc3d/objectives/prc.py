"""Point-region contrast, stage 1 of CALICO (arXiv 2306.00349)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import and_
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.contrast.build import build_contrast, contrast_needs
from pc3d.contrast.by_region import contrast_plrc, contrast_rapc
from pc3d.contrast.contrast import Contrasts
from pc3d.contrast.gather import rows_of_other_ranks
from pc3d.contrast.nce import zero_with_graph
from pc3d.contrast.point_region import region_rows
from pc3d.data.batch import FrameBatch, Needs
from pc3d.data.frame_types import NOT_LOOKED_AT
from pc3d.models.lidar.base import LidarEncoder
from pc3d.objectives.base import Objective, compared, projector
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.facts import REGION_FACTS, region_facts
from pc3d.objectives.segments import segments_field, segments_of, with_segments
from pc3d.ops.interpolate import on_grid, sample_bev
from pc3d.ops.sampling import spans


class PRC(Objective):
    """L_PRC = alpha PLRC + (1 - alpha) RAPC between two augmented views of a sweep.

    N region points and M semantic-less points of each sweep, the same physical points in both
    views, are read from the two BEV maps by bilinear interpolation and projected. A sweep with
    fewer points of a kind gives what it has, without repeats; points that leave the BEV range in
    either view do not take part.

    Args:
        lidar: the encoder that is trained.
        num_region_points, num_background_points: N and M, 1024 each (reviews of CALICO).
        dim: width of the projection, 128 (our choice).
        temperature: 0.07 (our choice; CALICO's prototype used 0.1).
        alpha: weight of PLRC, 0.5.
        across_batch: contrast over all sweeps of the batch at once, region ids offset by sweep
            (our option); by default the loss is computed per sweep and averaged.
        gather: with `across_batch`, the points of the other ranks are negatives too (our option).
        segments: `clusters` (the regions of CALICO), `objects` or `supervoxels` (our option).
        contrast: other parts of the contrast than InfoNCE's, see `pc3d.contrast.build` (our option).
    """

    needs = Needs(views=2, regions=True)
    reads_bev = True
    learns_from = "point of a region that both views show on their map"
    later: ClassVar[Mapping[str, Any]] = {"segments": "clusters", "contrast": None}

    def __init__(
        self,
        lidar: LidarEncoder,
        num_region_points: int = 1024,
        num_background_points: int = 1024,
        dim: int = 128,
        temperature: float = 0.07,
        alpha: float = 0.5,
        across_batch: bool = False,
        gather: bool = False,
        segments: str = "clusters",
        contrast: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if gather and not across_batch:
            raise ValueError("gather contrasts with the sweeps of other ranks: set across_batch=True, too")
        if not 0.0 <= alpha <= 1.0:
            raise ValueError(f"alpha must lie in 0..1, got {alpha}")
        self.projector = projector(lidar.bev_channels, dim)
        self.num_points = (num_region_points, num_background_points)
        self.temperature = temperature
        self.alpha = alpha
        self.across_batch, self.gather = across_batch, gather
        self.segments = segments_field(segments)
        self.contrasts = Contrasts(
            {
                name: build_contrast(contrast, temperature, dim, REGION_FACTS, gather, several=several)
                for name, several in (("plrc", True), ("rapc", False))
            }
        )

    @classmethod
    def needs_of(cls, config: Mapping[str, Any]) -> Needs:
        return with_segments(Needs(views=2), config) | contrast_needs(config.get("contrast"))

    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        frame = encodings.host.now
        rows = self._sample_rows(frame, encodings)
        index = {view: frame.views[view].index_of_row(frame.num_points)[rows] for view in ("a", "b")}
        places = (frame.views[view].points[of, :2] for view, of in index.items())
        kept = reduce(and_, (on_grid(encodings.grid, xy) for xy in places))
        rows = rows[kept]
        f, g = (self._features(encodings, view, encodings.here(of[kept])) for view, of in index.items())
        regions = segments_of(frame, self.segments, "PRC")[rows]

        # No region goes on in the sweep of another rank, so that its ids need not come along.
        extra = rows_of_other_ranks(g) if self.gather else None
        by_region, by_point = self.contrasts.of("plrc"), self.contrasts.of("rapc")
        facts = compared(by_region, lambda: region_facts(encodings, rows, regions))
        terms = []
        for of, ids in self._groups(regions, frame.row_batch[rows], len(encodings.batch)):
            known = {key: value[of] for key, value in facts.items()}
            args = (self.temperature, f[of], g[of], encodings.here(ids), extra, known, encodings.generator)
            in_region = contrast_plrc(by_region, *args, region_rows(ids, f.device))
            terms.append((in_region, contrast_rapc(by_point, *args)))
        plrc_mean, rapc_mean = (torch.stack(t).mean() for t in zip(*terms, strict=True))
        loss = self.alpha * plrc_mean + (1 - self.alpha) * rapc_mean + zero_with_graph(f, g)
        logged = {
            "plrc": plrc_mean.detach(),
            "rapc": rapc_mean.detach(),
            "examples": ((regions >= 0) | (self.alpha == 0)).sum().float(),
            "point_share": torch.tensor(len(rows) / max(frame.num_points, 1)),
        }
        return {"loss": loss, **logged, **self.contrasts.logged(), **encodings.collapse(f, g)}

    def _groups(self, regions: Tensor, sample: Tensor, size: int) -> list[tuple[slice, Tensor]]:
        """(rows, region ids) of each set of points that is contrasted together; they lie by sample."""
        if self.across_batch:
            width = int(regions.max()) + 1 if len(regions) else 1
            return [(slice(None), torch.where(regions >= 0, regions + sample * width, regions))]
        return [(of, regions[of]) for of in spans(sample, size)]

    def _features(self, encodings: Encodings, view: str, index: Tensor) -> Tensor:
        """Normalised projections of the BEV map of a view at its points `index`."""
        cloud, bev = encodings.batch.now.views[view], encodings.lidar(view).bev
        assert bev is not None
        sampled, _ = sample_bev(bev, encodings.grid, cloud.points[index, :2], cloud.batch[index])
        return F.normalize(self.projector(sampled).float(), dim=1)

    def _sample_rows(self, frame: FrameBatch, encodings: Encodings) -> Tensor:
        """Rows that are compared: at most N region points and M others of a sweep, in the host's memory."""
        regions = segments_of(frame, self.segments, "PRC")
        present = torch.zeros(frame.num_points, dtype=torch.long)
        for view in ("a", "b"):
            present[frame.views[view].row] += 1
        order = torch.randperm(frame.num_points, generator=encodings.generator)
        order = order[(present[order] == 2) & (regions[order] != NOT_LOOKED_AT)]
        sample, of_region = frame.row_batch[order], regions[order] >= 0
        chosen = [
            order[(sample == b) & (of_region == wanted)][:count]
            for b in range(len(encodings.batch))
            for wanted, count in zip((True, False), self.num_points, strict=True)
        ]
        return torch.cat(chosen)
