"""Regression of hand-made statistics of each point's surroundings: a target without labels and images."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pc3d.data.batch import Needs, PointView
from pc3d.data.local_statistics import LENGTHS, NAMES
from pc3d.models.lidar.base import LidarEncoder
from pc3d.objectives.base import Objective
from pc3d.objectives.encodings import Encodings

HEADS = ("linear", "mlp")
FLOOR = 1e-3
"""Least deviation that a statistic is divided by: one that is the same everywhere stays 0."""


class LocalStatistics(Objective):
    """Smooth L1 between a head on the point features and the standardised statistics of view "a" (ours).

    The statistics (`pc3d.data.local_statistics`, 13 columns) are those of the sweep as loaded, from all its
    points, whatever the view shows of it; lengths are times the view's scale, because no network can see
    what the view was scaled by. Lengths have long tails (a centimetre on a wall, metres far out), so they are
    taken as log(1 + length / `unit`).

    Each column is standardised by the mean and deviation of all points that training has seen (buffers,
    summed in float64, saved and resumed with the run). Those of a batch alone would move the target of one
    and the same place with what else is in the batch, and a mean that forgets would never settle. Each
    process has its own.

    Args:
        lidar: the encoder that is trained.
        head: `linear`, or `mlp`, two layers with a ReLU between.
        hidden: width between the layers of an MLP.
        unit: metres, see above.
        beta: where smooth L1 turns from square to absolute, in deviations.

    Raises:
        ValueError: an unknown head, or a unit or beta that is not positive.
    """

    needs = Needs(statistics=True)
    learns_from = "point within the encoder's range"

    mean: Tensor
    squares: Tensor
    count: Tensor
    lengths: Tensor

    def __init__(
        self,
        lidar: LidarEncoder,
        head: Literal["linear", "mlp"] = "mlp",
        hidden: int = 128,
        unit: float = 0.1,
        beta: float = 1.0,
    ) -> None:
        super().__init__()
        if head not in HEADS:
            raise ValueError(f"unknown head {head!r}; known: {', '.join(HEADS)}")
        if not (unit > 0 and beta > 0):
            raise ValueError(f"unit {unit} and beta {beta} must be above 0")
        self.unit, self.beta = unit, beta
        width, columns = lidar.point_channels, len(NAMES)
        self.head: nn.Module = nn.Linear(width, columns)
        if head == "mlp":
            layers = nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, columns)
            self.head = nn.Sequential(*layers)
        self.register_buffer("mean", torch.zeros(columns, dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(columns, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("lengths", torch.from_numpy(LENGTHS.copy()), persistent=False)

    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        now, output = encodings.batch.now, encodings.lidar("a")
        if now.statistics is None:
            raise ValueError("the frames have no statistics; ask for them in `Objective.needs`")
        view = now.views["a"]
        valid = output.valid
        target = self._target(now.statistics[view.row[valid]], view, view.batch[valid])
        if self.training:
            self._count(target)
        predicted = self.head(output.points[valid]).float()
        expected = self._standardised(target).float()
        # A mean over nothing would not be finite.
        columns = F.smooth_l1_loss(predicted, expected, reduction="none", beta=self.beta).sum(dim=0)
        columns = columns / max(len(predicted), 1)
        missed = (predicted.detach() - expected).square().sum()
        explained = 1 - missed / expected.square().sum().clamp(min=1e-6)
        share = torch.tensor(len(predicted) / max(now.num_points, 1))
        logged = {
            "examples": torch.tensor(float(len(predicted))),
            "explained": explained,
            "point_share": share,
        }
        return {"loss": columns.mean(), **logged}

    def _target(self, statistics: Tensor, view: PointView, sample: Tensor) -> Tensor:
        """(M, 13) float64 statistics in the view, lengths on a logarithmic scale."""
        scale = torch.linalg.det(view.lidar_SE3[:, :3, :3].double()).abs().pow(1 / 3)
        lengths = torch.log1p(statistics.double() * scale[sample, None] / self.unit)
        return torch.where(self.lengths, lengths, statistics.double())

    def _count(self, target: Tensor) -> None:
        """Join (M, 13) rows to what was seen (Chan et al., 1979)."""
        rows = len(target)
        if not rows:
            return
        mean = target.mean(dim=0)
        total, apart = self.count + rows, mean - self.mean
        self.squares += (target - mean).square().sum(dim=0) + apart.square() * (self.count * rows / total)
        self.mean += apart * (rows / total)
        self.count.copy_(total)

    def _standardised(self, target: Tensor) -> Tensor:
        """(M, 13) float64; before anything was counted as it is."""
        deviation = (self.squares / self.count.clamp(min=1)).sqrt()
        deviation = torch.where(self.count > 0, deviation.clamp(min=FLOOR), torch.ones_like(deviation))
        return (target - self.mean) / deviation
