"""The momentum (EMA) copy of an encoder that gives the keys of a contrast (He et al., MoCo, CVPR 2020)."""

from __future__ import annotations

from copy import deepcopy

import torch

from pc3d.data.batch import PointView
from pc3d.models.lidar.base import LidarEncoder, LidarFeatures


class MomentumEncoder(LidarEncoder):
    """A copy of `encoder` that follows it: w <- m w + (1 - m) w_encoder. It never has a gradient.

    Its batch-norm statistics are its own.

    Args:
        encoder: the encoder that is trained.
        momentum: m, in 0..1.
    """

    moves_without_gradient = True

    def __init__(self, encoder: LidarEncoder, momentum: float = 0.999) -> None:
        super().__init__()
        if not 0.0 <= momentum <= 1.0:
            raise ValueError(f"momentum must lie in 0..1, got {momentum}")
        self.network = deepcopy(encoder).requires_grad_(False)
        self.momentum = momentum
        self.point_channels, self.bev_channels = encoder.point_channels, encoder.bev_channels
        self.grid = encoder.grid

    @torch.no_grad()
    def update(self, encoder: LidarEncoder) -> None:
        """Follow `encoder` one step."""
        for own, new in zip(self.network.parameters(), encoder.parameters(), strict=True):
            own.lerp_(new, 1 - self.momentum)

    @torch.no_grad()
    def forward(self, view: PointView, want_bev: bool = True) -> LidarFeatures:
        return self.network(view, want_bev)
