"""What every LiDAR encoder gives: features at the points and a bird's-eye-view map."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from pc3d.data.batch import PointView
from pc3d.geometry.grid import BevGrid


@dataclass
class LidarFeatures:
    """Features of one encoder pass over one view.

    Attributes:
        points: (P, point_channels), a row per point of the view; points outside the encoder's
            range get zeros, and `valid` is False there.
        valid: (P,) bool.
        bev: (B, bev_channels, rows, cols) on the encoder's `grid`, or None where not asked for.
        trunk: the last tensor that both outputs are computed from, where gradients of objectives meet;
            None where the outputs share nothing.
    """

    points: Tensor
    valid: Tensor
    bev: Tensor | None
    trunk: Tensor | None = None


class LidarEncoder(nn.Module):
    """Base of the LiDAR encoders.

    Attributes:
        point_channels, bev_channels: widths of the two outputs.
        grid: the BEV grid of the map.
    """

    point_channels: int
    bev_channels: int
    grid: BevGrid

    def reach(self, view: PointView) -> Tensor | None:
        """(P,) bool: which points of a view have a feature; None where the view alone does not tell."""
        return None

    @abstractmethod
    def forward(self, view: PointView, want_bev: bool = True) -> LidarFeatures:
        """Encode one view. `want_bev=False` saves the BEV map where nobody reads it."""
