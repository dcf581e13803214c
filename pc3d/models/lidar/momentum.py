"""The momentum (EMA) copy of an encoder that gives the keys of a contrast (He et al., MoCo, CVPR 2020)."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor

from pc3d.data.batch import PointView
from pc3d.models.following import Pace
from pc3d.models.lidar.base import LidarEncoder, LidarFeatures


class MomentumEncoder(LidarEncoder):
    """A copy of `encoder` that follows it: w <- m w + (1 - m) w_encoder. It never has a gradient.

    Its batch-norm statistics are its own.

    Args:
        encoder: the encoder that is trained.
        momentum, steps: m, and over how many steps it rises to 1 if at all, see `Pace`.
    """

    moves_without_gradient = True

    def __init__(self, encoder: LidarEncoder, momentum: float = 0.999, steps: int | None = None) -> None:
        super().__init__()
        self.pace = Pace(momentum, steps)
        self.network = deepcopy(encoder).requires_grad_(False)
        self.point_channels, self.bev_channels = encoder.point_channels, encoder.bev_channels
        self.grid = encoder.grid

    def update(self, encoder: LidarEncoder) -> None:
        """Follow `encoder` one step."""
        self.pace.move(self.network, encoder)

    def reach(self, view: PointView) -> Tensor | None:
        return self.network.reach(view)

    @torch.no_grad()
    def forward(self, view: PointView, want_bev: bool = True) -> LidarFeatures:
        return self.network(view, want_bev)
