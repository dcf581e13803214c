"""PointPillars: a small network over the points of each vertical column (Lang et al., CVPR 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pc3d.data.batch import PointView
from pc3d.geometry.grid import BevGrid
from pc3d.models.lidar.base import LidarEncoder, LidarFeatures
from pc3d.models.lidar.bev_backbone import BevBackbone
from pc3d.models.lidar.inputs import PointInputs, range_of
from pc3d.models.lidar.norms import set_norms
from pc3d.ops.device import constant
from pc3d.ops.interpolate import sample_bev
from pc3d.ops.precision import layer_in_full
from pc3d.ops.segment import segment_max, segment_mean
from pc3d.ops.voxelize import Voxels


class PointPillars(LidarEncoder):
    """Pillars, a linear layer with batch norm and ReLU, the maximum of each pillar, a 2D backbone.

    A point enters with its columns, its offset from the mean of its pillar (x, y, z) and from the pillar's
    centre (x, y, and z where `centre_z` says so). A point's feature is the BEV map, bilinear at the point.

    Args:
        pillar_channels: width of a pillar's feature.
        stride: pillars per BEV cell along x and y.
        bev_widths, bev_layers: see `BevBackbone`.
        bev_channels: width of the BEV map.
        in_channels, columns: see `PointInputs`.
        z_range: lowest and highest z in metres.
        grid: BEV grid of the map.
        norm_eps, norm_momentum: of every batch norm (OpenPCDet, mmdetection3d: 1e-3 and 0.01).
        centre_z: the offset from the pillar's centre along z is an input, too, as OpenPCDet has it. (With z
            itself among the columns it makes no other functions possible.)
    """

    later: ClassVar[dict[str, Any]] = {"norm_eps": 1e-5, "norm_momentum": 0.1, "centre_z": False}

    def __init__(
        self,
        pillar_channels: int = 64,
        stride: int = 2,
        bev_widths: Sequence[int] = (64, 128, 256),
        bev_layers: Sequence[int] = (3, 5, 5),
        bev_channels: int = 384,
        in_channels: int = 4,
        columns: Sequence[int] | None = None,
        z_range: Sequence[float] = (-5.0, 3.0),
        grid: BevGrid | None = None,
        norm_eps: float = 1e-5,
        norm_momentum: float = 0.1,
        centre_z: bool = False,
    ) -> None:
        super().__init__()
        self.grid = grid if grid is not None else BevGrid()
        self.point_channels = self.bev_channels = bev_channels
        size = (self.grid.cell / stride, self.grid.cell / stride, z_range[1] - z_range[0])
        self.inputs = PointInputs(in_channels, columns, "cubic", size, range_of(self.grid, z_range))
        self.centre_z = centre_z
        self.linear = nn.Linear(in_channels + 5 + centre_z, pillar_channels, bias=False)
        self.norm = nn.BatchNorm1d(pillar_channels)
        self.backbone = BevBackbone(pillar_channels, bev_widths, bev_layers, bev_channels, stride)
        set_norms(self, norm_eps, norm_momentum)

    def reach(self, view: PointView) -> Tensor:
        return self.inputs.reach(view)

    def forward(self, view: PointView, want_bev: bool = True) -> LidarFeatures:
        pillars = self.inputs.voxels(view)
        bev = self.backbone(self._canvas(view, pillars))
        points, _ = sample_bev(bev, self.grid, view.points[:, :2], view.batch)
        points = torch.where(pillars.valid.unsqueeze(1), points, torch.zeros_like(points))
        return LidarFeatures(points, pillars.valid, bev if want_bev else None, bev)

    def _canvas(self, view: PointView, pillars: Voxels) -> Tensor:
        """(B, pillar_channels, rows * stride, cols * stride) map of the pillars, zero where empty."""
        inside = pillars.valid.nonzero()[:, 0]  # batch norm must not see the others
        points, index = view.points[inside], pillars.index[inside]
        mean, _ = segment_mean(points[:, :3], index, len(pillars))
        axes = 3 if self.centre_z else 2
        centre = self.inputs.grid.centers(pillars.coords)[:, :axes]
        offsets = (points[:, :3] - mean[index], points[:, :axes] - centre[index])
        decorated = torch.cat((points.index_select(1, constant(self.inputs.columns, index)), *offsets), dim=1)
        features = segment_max(self.norm(layer_in_full(self.linear, decorated)).relu(), index, len(pillars))
        _, rows, cols = pillars.shape
        canvas = features.new_zeros(pillars.batch_size, rows, cols, features.shape[1])
        sample, _, row, col = pillars.coords.unbind(1)
        return canvas.index_put((sample, row, col), features).permute(0, 3, 1, 2).contiguous()
