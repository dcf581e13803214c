"""SECOND: a sparse 3D encoder, its height collapsed into a BEV map (Yan et al., Sensors 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from pc3d.data.batch import PointView
from pc3d.geometry.grid import BevGrid
from pc3d.models.lidar.base import LidarEncoder, LidarFeatures
from pc3d.models.lidar.bev_backbone import BevBackbone
from pc3d.models.lidar.inputs import PointInputs, range_of
from pc3d.models.lidar.minkunet import BasicBlock
from pc3d.models.lidar.norms import set_norms
from pc3d.ops.device import constant
from pc3d.ops.interpolate import sample_bev, sample_voxels
from pc3d.ops.sparse import ConvNormReLU, dense, sparse_tensor, strided_conv, submanifold_conv
from pc3d.ops.voxelize import Voxels

if TYPE_CHECKING:
    from pc3d.ops.sparse import SparseTensor

STRIDE = 8
POINT_SOURCES = ("bev", "trilinear")
BLOCKS = ("plain", "residual")
HEIGHT_LAYOUTS = {"pc3d": (1, 0), "openpcdet": (0, 1)}
"""Padding along z of the last strided convolution, and empty layers of voxels on top."""


def _level(in_channels: int, channels: int, level: int, blocks: str, last_padding: int) -> nn.Sequential:
    """A strided convolution (none at level 0), then submanifold ones."""
    if level == 0:
        first = submanifold_conv(in_channels, channels, "level0")
    else:
        padding = (last_padding, 1, 1) if level == 3 else 1
        first = strided_conv(in_channels, channels, f"down{level}", kernel=3, stride=2, padding=padding)
    layers: list[nn.Module] = [ConvNormReLU(first, channels)]
    if blocks == "residual":
        layers += [BasicBlock(channels, channels, f"level{level}") for _ in range(2)]
    else:
        count = 1 if level == 0 else 2
        convs = (submanifold_conv(channels, channels, f"level{level}") for _ in range(count))
        layers += [ConvNormReLU(conv, channels) for conv in convs]
    return nn.Sequential(*layers)


class SECOND(LidarEncoder):
    """Sparse 3D encoder at strides 1, 2, 4, 8, a BEV map at stride 8, a 2D backbone and neck.

    Voxels measure an eighth of a BEV cell in x and y, so that the map lies on `grid` exactly
    (0.075 m for cells of 0.6 m).

    Args:
        widths: channels of the four sparse levels.
        height_channels: channels of the last sparse convolution, before the height is collapsed.
        bev_widths, bev_layers: see `BevBackbone`.
        bev_channels: width of the BEV map.
        in_channels, columns: see `PointInputs`.
        z_range: lowest and highest z in metres.
        voxel_height: height of a voxel in metres.
        grid: BEV grid of the map.
        point_source: `bev`: a point's feature is the BEV map, bilinear at the point; `trilinear`: it is a
            linear map of the sparse levels, each trilinear among its active voxels around the point.
        blocks: `plain`: one submanifold convolution at level 0, two at each other level; `residual`: two
            basic blocks at each level, as BEVFusion's sparse encoder (Liu et al., ICRA 2023) has it.
        norm_eps: of every batch norm (OpenPCDet, mmdetection3d and BEVFusion: 1e-3).
        norm_momentum: of the running statistics of every batch norm (OpenPCDet, mmdetection3d: 0.01).
        height_layout: `pc3d`: padding of 1 along z in the last strided convolution; `openpcdet`, which
            mmdetection3d and BEVFusion share: none there, and an empty layer of voxels on top. None: `pc3d`
            with plain blocks, `openpcdet` with residual ones.
    """

    later: ClassVar[dict[str, Any]] = {"norm_momentum": 0.1, "height_layout": None}

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 64, 128),
        height_channels: int = 128,
        bev_widths: Sequence[int] = (128, 256),
        bev_layers: Sequence[int] = (5, 5),
        bev_channels: int = 512,
        in_channels: int = 4,
        columns: Sequence[int] | None = None,
        z_range: Sequence[float] = (-5.0, 3.0),
        voxel_height: float = 0.2,
        grid: BevGrid | None = None,
        point_source: str = "bev",
        blocks: str = "plain",
        norm_eps: float = 1e-5,
        norm_momentum: float = 0.1,
        height_layout: str | None = None,
    ) -> None:
        super().__init__()
        if len(widths) != 4:
            raise ValueError(f"widths needs 4 numbers, one per sparse level, got {tuple(widths)}")
        if point_source not in POINT_SOURCES:
            raise ValueError(f"unknown point_source {point_source!r}; known: {', '.join(POINT_SOURCES)}")
        if blocks not in BLOCKS:
            raise ValueError(f"unknown blocks {blocks!r}; known: {', '.join(BLOCKS)}")
        layout = height_layout or ("openpcdet" if blocks == "residual" else "pc3d")
        if layout not in HEIGHT_LAYOUTS:
            raise ValueError(f"unknown height_layout {layout!r}; known: {', '.join(HEIGHT_LAYOUTS)}")
        self.grid = grid if grid is not None else BevGrid()
        self.blocks = blocks
        self.height_layout = layout
        self._last_padding, self._empty_layers = HEIGHT_LAYOUTS[layout]
        self.point_source = point_source
        self.point_channels = self.bev_channels = bev_channels
        size = (self.grid.cell / STRIDE, self.grid.cell / STRIDE, voxel_height)
        self.inputs = PointInputs(in_channels, columns, "cubic", size, range_of(self.grid, z_range))
        before = [in_channels, *widths]
        self.levels = nn.ModuleList(
            _level(before[i], widths[i], i, blocks, self._last_padding) for i in range(4)
        )
        flat = strided_conv(widths[3], height_channels, "flat", kernel=(3, 1, 1), stride=(2, 1, 1))
        self.flatten = ConvNormReLU(flat, height_channels)
        layers = self._flat_layers()
        self.backbone = BevBackbone(height_channels * layers, bev_widths, bev_layers, bev_channels)
        if point_source == "trilinear":
            self.point_head = nn.Linear(sum(widths), bev_channels)
        set_norms(self, norm_eps, norm_momentum)

    @property
    def _shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x that enter the sparse levels."""
        z, y, x = self.inputs.grid.shape
        return z + self._empty_layers, y, x

    def _flat_layers(self) -> int:
        """Layers along z that are left before the height is collapsed."""
        layers = self._shape[0]
        for padding in (1, 1, self._last_padding):
            layers = (layers + 2 * padding - 3) // 2 + 1
        if layers < 3:
            raise ValueError(
                f"{self.inputs.grid.shape[0]} voxels along z are too few: lower voxel_height or widen z_range"
            )
        return (layers - 3) // 2 + 1

    def reach(self, view: PointView) -> Tensor:
        return self.inputs.reach(view)

    def forward(self, view: PointView, want_bev: bool = True) -> LidarFeatures:
        voxels, features = self.inputs(view)
        x = sparse_tensor(features, voxels.coords, self._shape, voxels.batch_size)
        levels = []
        for level in self.levels:
            x = level(x)
            levels.append(x)
        if self.point_source == "trilinear":
            points = self._trilinear(view, voxels, levels)
            return LidarFeatures(points, voxels.valid, self._bev(x) if want_bev else None, x.features)
        bev = self._bev(x)
        points, _ = sample_bev(bev, self.grid, view.points[:, :2], view.batch)
        points = torch.where(voxels.valid.unsqueeze(1), points, torch.zeros_like(points))
        return LidarFeatures(points, voxels.valid, bev if want_bev else None, bev)

    def _bev(self, x: SparseTensor) -> Tensor:
        return self.backbone(dense(self.flatten(x)).flatten(1, 2))

    def _trilinear(self, view: PointView, voxels: Voxels, levels: list[SparseTensor]) -> Tensor:
        xyz, batch = view.points[voxels.valid, :3], view.batch[voxels.valid]
        low, _ = self.inputs.grid.bounds
        cells = (xyz - constant(low, xyz)) / constant(self.inputs.grid.size, xyz)
        # A convolution of kernel 3, stride 2 and padding 1 centres output i on input 2 i, without padding
        # on input 2 i + 1.
        samples = []
        for k, level in enumerate(levels):
            centred = (cells - 0.5) / 2**k + 0.5
            if k == 3:
                centred = centred - constant([0.0, 0.0, (1 - self._last_padding) / 2], centred)
            samples.append(sample_voxels(level.features, level.indices, level.spatial_shape, centred, batch))
        found = self.point_head(torch.cat(samples, dim=1))
        points = found.new_zeros(len(view.points), self.point_channels)  # float32, or as autocast has it
        return points.index_put((voxels.valid,), found)
