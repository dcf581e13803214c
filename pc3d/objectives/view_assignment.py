"""SwAV for sweeps, with crops (Caron et al., NeurIPS 2020, arXiv 2006.09882)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.contrast.swav import Prototypes, ViewQueues, view_assignment
from pc3d.data.batch import CROPS, Needs
from pc3d.models.lidar.base import LidarEncoder
from pc3d.objectives.base import Objective, projector
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.matches import feature_index, matched_points
from pc3d.ops.precision import full_precision


class ViewAssignment(Objective):
    """Points of views "a" and "b" get balanced codes over shared prototypes, which every other view predicts.

    L = `contrast.swav.view_assignment`: whole views give codes, crops "c", "d", ... only predict, and a
    pair of views is compared at the points that both show. Points, in place of images, and crops that are
    sectors of the sweep are ours. Codes are balanced over all ranks, as in the authors' public code.

    With fewer points and queued ones than prototypes the codes of like points are forced apart: then
    `rows_per_prototype` in the log is below 1.

    Args:
        lidar: the encoder that is trained.
        num_points: of a batch, that "a" and "b" both show, 4096 (ours).
        crops: how many, 2 (ours; the authors': 6). See `data.view_crop` for what they show.
        num_prototypes: K, 256 (ours; the authors': 3000). dim: 128.
        temperature: 0.1. epsilon, rounds: of Sinkhorn, 0.05 and 3.
        queue: rows of each of two queues of past features, 0 for none (the authors': 3840).
        freeze: steps in which the prototypes have no gradient, 0 (the authors': 313).
    """

    needs = Needs(views=2, crops=2)
    learns_from = "point that both views show"

    def __init__(
        self,
        lidar: LidarEncoder,
        num_points: int = 4096,
        crops: int = 2,
        num_prototypes: int = 256,
        dim: int = 128,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        rounds: int = 3,
        queue: int = 0,
        freeze: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= crops <= len(CROPS) or queue < 0 or min(num_points, rounds) < 1:
            raise ValueError(
                f"crops {crops}, queue {queue}, num_points {num_points}, rounds {rounds}: expected 0 to "
                f"{len(CROPS)} crops, a queue of 0 or more, and at least 1"
            )
        if min(temperature, epsilon) <= 0:
            raise ValueError(f"temperature {temperature} and epsilon {epsilon}: expected above 0")
        self.head = projector(lidar.point_channels, dim)
        self.prototypes = Prototypes(num_prototypes, dim, freeze)
        self.queues = ViewQueues(queue, dim) if queue else None
        self.num_points, self.crops = num_points, CROPS[:crops]
        self.temperature, self.epsilon, self.rounds = temperature, epsilon, rounds

    @classmethod
    def needs_of(cls, config: Mapping[str, Any]) -> Needs:
        return Needs(views=2, crops=config.get("crops", cls.needs.crops))

    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        rows, index_a, index_b = matched_points(encodings, self.num_points)
        shown, index = [torch.arange(len(rows))] * 2, [index_a, index_b]
        for crop in self.crops:
            place = feature_index(encodings, crop)[rows]
            shown.append((place >= 0).nonzero()[:, 0])
            index.append(place[shown[-1]])
        shown, index = [[encodings.here(part) for part in parts] for parts in (shown, index)]
        views = [
            F.normalize(self.head(encodings.lidar(view).points[place]).float(), dim=1)
            for view, place in zip(("a", "b", *self.crops), index, strict=True)
        ]
        prototypes = self.prototypes()
        past = None if self.queues is None else self.queues.past()
        loss = view_assignment(
            views,
            prototypes,
            shown,
            queues=past,
            temperature=self.temperature,
            epsilon=self.epsilon,
            rounds=self.rounds,
            across_ranks=True,
        )
        if self.queues is not None:
            self.queues.see(*views[:2])
        return {
            "loss": loss,
            "examples": torch.tensor(float(len(rows))),
            "point_share": torch.tensor(len(rows) / max(encodings.batch.now.num_points, 1)),
            **self._logged(views, prototypes, past),
            **encodings.collapse(views[0], views[1]),
        }

    @torch.no_grad()
    @full_precision
    def _logged(
        self, views: list[Tensor], prototypes: Tensor, past: list[Tensor | None] | None
    ) -> dict[str, Tensor]:
        whole, count = views[0].detach(), len(prototypes)
        queued = 0 if past is None or past[0] is None else len(past[0])
        nearest = (whole @ prototypes.to(whole).T).argmax(dim=1)
        logged = {
            "rows_per_prototype": torch.tensor((len(whole) + queued) / count),
            "prototype_share": torch.tensor(len(nearest.unique()) / count),
        }
        if self.crops:
            seen = sum(len(view) for view in views[2:]) / len(self.crops)
            logged["crop_share"] = torch.tensor(seen / max(len(whole), 1))
        return logged
