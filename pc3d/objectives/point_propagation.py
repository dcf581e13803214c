"""PixPro for points (Xie et al., "Propagate Yourself", CVPR 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pc3d.contrast.nce import zero_with_graph
from pc3d.contrast.propagation import near_agreement, near_in_metres, propagate
from pc3d.data.batch import Needs
from pc3d.models.lidar.base import LidarEncoder
from pc3d.objectives.base import Objective
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.views_of_points import MomentumPoints, normed_projector, places_of


class PointPropagation(Objective):
    """Features of one view, smoothed among alike points, agree with the momentum features of near points of
    the other.

    L = sum over both ways of -2 mean over sweeps of the mean cosine of near pairs, y_i = propagation of
    view "a" (`contrast.propagation`), x'_j of view "b" by momentum networks, without gradient.

    Args:
        lidar: the encoder that is trained.
        num_points: of a sweep, that both views hold, 1024 (ours; the paper has 7 x 7 cells).
        radius: metres between near points, in the frame of the loaded sweep, 0.5 (ours; the paper: 0.7 of a
            cell's diagonal).
        hidden, dim: widths of the projector, 256 and 64 (the paper: 4096 and 256).
        sharpness: of the propagation, 2. momentum: 0.99; steps: over which it rises to 1, as in the authors'
            code; None: it stays.
    """

    needs = Needs(views=2)
    learns_from = "point that both views show"

    def __init__(
        self,
        lidar: LidarEncoder,
        num_points: int = 1024,
        radius: float = 0.5,
        hidden: int = 256,
        dim: int = 64,
        sharpness: float = 2.0,
        momentum: float = 0.99,
        steps: int | None = None,
    ) -> None:
        super().__init__()
        if radius < 0 or sharpness <= 0:
            raise ValueError(f"radius {radius} and sharpness {sharpness}: expected 0 or more, and above 0")
        self.head = normed_projector(lidar.point_channels, hidden, dim)
        self.transform = nn.Linear(dim, dim)
        self.momentum_points = MomentumPoints(lidar, self.head, momentum, num_points, steps)
        self.radius, self.sharpness = radius, sharpness

    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        points = self.momentum_points
        if self.training:
            points.follow(encodings.lidar_encoder, self.head)
        rows, places = points.rows(encodings)
        xyz, sample = places_of(encodings, places["a"])
        if len(rows) < 2:  # batch norm has no statistics of one row
            learned = [p for p in self.parameters() if p.requires_grad]
            loss = zero_with_graph(encodings.lidar("a").points, encodings.lidar("b").points, *learned)
            return {"loss": loss, "examples": torch.tensor(0.0)}
        student, teacher = points.student(encodings, self.head, places), points.teacher(encodings, places)
        terms, pairs = [], 0
        for b in range(len(encodings.batch)):
            of = sample == b
            near = near_in_metres(xyz[of], self.radius)
            pairs += int(near.sum())
            for view, other in (("a", "b"), ("b", "a")):
                x = student[view][of]
                smoothed = propagate(x, self.transform(x), self.sharpness)
                terms.append(near_agreement(smoothed, teacher[other][of], near))
        loss = torch.stack(terms).sum() / len(encodings.batch)
        logged = {
            "examples": torch.tensor(float(len(rows))),
            "near_pairs": torch.tensor(pairs / max(len(rows), 1)),
            "point_share": torch.tensor(len(rows) / max(encodings.batch.now.num_points, 1)),
        }
        return {"loss": loss, **logged, **encodings.collapse(student["a"], teacher["b"])}
