"""MinkUNet: the sparse convolutional U-Net of Choy et al. (CVPR 2019), as used by SLidR and SuperFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from torch import Tensor, nn

from pc3d.data.batch import PointView
from pc3d.geometry.grid import BevGrid
from pc3d.models.lidar.base import LidarEncoder, LidarFeatures
from pc3d.models.lidar.bev_backbone import bev_convolutions
from pc3d.models.lidar.inputs import PointInputs
from pc3d.models.lidar.norms import set_norms
from pc3d.ops.bev import scatter_bev
from pc3d.ops.sparse import (
    ConvNormReLU,
    concatenate,
    inverse_conv,
    sparse_tensor,
    strided_conv,
    submanifold_conv,
)
from pc3d.ops.voxelize import Voxels

if TYPE_CHECKING:
    from pc3d.ops.sparse import SparseTensor

LAYERS = {
    18: (2, 2, 2, 2, 2, 2, 2, 2),
    34: (2, 3, 4, 6, 2, 2, 2, 2),
    50: (2, 3, 4, 6, 2, 2, 2, 2),
    101: (2, 3, 4, 23, 2, 2, 2, 2),
}
BOTTLENECK_DEPTHS = (50, 101)
WIDENED_BY = ("blocks", "down")
STRIDE = 16
"""Voxels along a side of a voxel of the coarsest level."""


def _shortcut(in_channels: int, channels: int) -> nn.Module:
    """What the input of a block passes before it is added to the block's output."""
    if in_channels == channels:
        return nn.Identity()
    return nn.Sequential(nn.Linear(in_channels, channels, bias=False), nn.BatchNorm1d(channels))


class BasicBlock(nn.Module):
    """Two submanifold 3x3x3 convolutions and a shortcut (He et al., CVPR 2016, basic block)."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, key: str) -> None:
        super().__init__()
        self.conv1 = ConvNormReLU(submanifold_conv(in_channels, channels, key), channels)
        self.conv2 = ConvNormReLU(submanifold_conv(channels, channels, key), channels, relu=False)
        self.shortcut = _shortcut(in_channels, channels)

    def forward(self, x: SparseTensor) -> SparseTensor:
        y = self.conv2(self.conv1(x))
        return y.replace_feature((y.features + self.shortcut(x.features)).relu())


class _Pointwise(nn.Linear):
    """Convolution of size 1. (spconv's own reads its weight as (in, out) but stores it as (out, in).)"""

    def forward(self, x: SparseTensor) -> SparseTensor:
        return x.replace_feature(super().forward(x.features))


class Bottleneck(nn.Module):
    """Convolutions of 1, 3x3x3 and 1 to `4 * channels`, and a shortcut (He et al., CVPR 2016)."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, key: str) -> None:
        super().__init__()
        wide = self.expansion * channels
        self.conv1 = ConvNormReLU(_Pointwise(in_channels, channels, bias=False), channels)
        self.conv2 = ConvNormReLU(submanifold_conv(channels, channels, key), channels)
        self.conv3 = ConvNormReLU(_Pointwise(channels, wide, bias=False), wide, relu=False)
        self.shortcut = _shortcut(in_channels, wide)

    def forward(self, x: SparseTensor) -> SparseTensor:
        y = self.conv3(self.conv2(self.conv1(x)))
        return y.replace_feature((y.features + self.shortcut(x.features)).relu())


Block: TypeAlias = type[BasicBlock] | type[Bottleneck]


def _blocks(block: Block, in_channels: int, channels: int, count: int, key: str) -> nn.Sequential:
    wide = block.expansion * channels
    return nn.Sequential(*(block(in_channels if i == 0 else wide, channels, key) for i in range(count)))


class Down(nn.Module):
    """Halve the resolution, to `between` channels, then residual blocks."""

    def __init__(
        self, block: Block, in_channels: int, between: int, channels: int, count: int, level: int
    ) -> None:
        super().__init__()
        conv = strided_conv(in_channels, between, key=f"down{level}")
        self.conv = ConvNormReLU(conv, between)
        self.blocks = _blocks(block, between, channels, count, key=f"level{level}")

    def forward(self, x: SparseTensor) -> SparseTensor:
        return self.blocks(self.conv(x))


class Up(nn.Module):
    """Back to the voxels of the level above, joined with its encoder features, then residual blocks."""

    def __init__(
        self, block: Block, in_channels: int, skip_channels: int, channels: int, count: int, level: int
    ) -> None:
        super().__init__()
        conv = inverse_conv(in_channels, channels, key=f"down{level}")
        self.conv = ConvNormReLU(conv, channels)
        self.blocks = _blocks(block, channels + skip_channels, channels, count, key=f"level{level - 1}")

    def forward(self, x: SparseTensor, skip: SparseTensor) -> SparseTensor:
        return self.blocks(concatenate(self.conv(x), skip))


class MinkUNet(LidarEncoder):
    """Sparse U-Net over voxels; a point takes the decoder output of its voxel.

    Args:
        depth: 18 or 34 (basic blocks), 50 or 101 (bottleneck blocks); sets the number of blocks of each
            level.
        widths: channels of the eight levels, four down and four up; the outputs of a level of bottleneck
            blocks have four times as many.
        stem: channels of the convolutions before the first level.
        stem_kernels: size of each of these convolutions (SuperFlow, SPVNAS: 3, 3; SLidR: 3).
        in_channels: number of point columns that enter.
        columns: which columns of the view's points enter, by default the first `in_channels`
            (x y z intensity; SLidR: intensity only).
        voxel: `cubic` or `cylinder`.
        voxel_size: see `VoxelGrid.size`; by default 0.1 m, cylinder 0.1 m, 1 degree, 0.1 m.
        point_range: see `VoxelGrid.point_range`; None for all points.
        voxel_feature, column_scales: see `PointInputs`.
        norm_momentum: of the running statistics of batch norm (SLidR, SuperFlow: 0.05; Pointcept: 0.01).
        norm_eps: of every batch norm (Pointcept: 1e-3).
        widen: what widens the features on the way down: the first of a level's `blocks`, or its strided
            convolution `down`, as in Pointcept's SpUNet.
        grid: BEV grid of the map.
        bev_channels: width of the BEV map.
    """

    later: ClassVar[dict[str, Any]] = {"norm_eps": 1e-5, "widen": "blocks"}

    def __init__(
        self,
        depth: int = 34,
        widths: Sequence[int] = (32, 64, 128, 256, 256, 128, 96, 96),
        stem: int = 32,
        in_channels: int = 4,
        columns: Sequence[int] | None = None,
        voxel: str = "cubic",
        voxel_size: Sequence[float] | None = None,
        point_range: Sequence[float] | None = (-54.0, -54.0, -5.0, 54.0, 54.0, 3.0),
        grid: BevGrid | None = None,
        bev_channels: int = 128,
        stem_kernels: Sequence[int] = (3, 3),
        voxel_feature: str = "mean",
        column_scales: Sequence[float] | None = None,
        norm_momentum: float = 0.1,
        norm_eps: float = 1e-5,
        widen: str = "blocks",
    ) -> None:
        super().__init__()
        if widen not in WIDENED_BY:
            raise ValueError(f"unknown widen {widen!r}; known: {', '.join(WIDENED_BY)}")
        if depth not in LAYERS:
            raise ValueError(f"MinkUNet has no depth {depth}; known: {', '.join(map(str, LAYERS))}")
        if len(widths) != 8:
            raise ValueError(f"widths needs 8 numbers, four levels down and four up, got {tuple(widths)}")
        if not stem_kernels or any(size % 2 == 0 for size in stem_kernels):
            raise ValueError(f"stem_kernels needs odd sizes, at least one, got {tuple(stem_kernels)}")
        self.inputs = PointInputs(
            in_channels, columns, voxel, voxel_size, point_range, voxel_feature, column_scales
        )
        self.grid = grid if grid is not None else BevGrid()
        block = Bottleneck if depth in BOTTLENECK_DEPTHS else BasicBlock
        self.point_channels = block.expansion * widths[-1]
        self.bev_channels = bev_channels
        self.stem = self._stem(in_channels, stem, stem_kernels)
        self._build_levels(block, stem, list(widths), LAYERS[depth], widen)
        self.bev_head = bev_convolutions(self.point_channels, bev_channels)
        set_norms(self, norm_eps, norm_momentum)

    @staticmethod
    def _stem(in_channels: int, channels: int, kernels: Sequence[int]) -> nn.Sequential:
        layers = []
        for kernel in kernels:
            # Only kernels of one size share their neighbours.
            key = "level0" if kernel == 3 else f"stem{kernel}"
            conv = submanifold_conv(in_channels, channels, key, kernel)
            layers.append(ConvNormReLU(conv, channels))
            in_channels = channels
        return nn.Sequential(*layers)

    def _build_levels(
        self, block: Block, stem: int, widths: list[int], layers: Sequence[int], widen: str
    ) -> None:
        wide = [block.expansion * width for width in widths]
        down = [stem, *wide[:4]]
        between = down[1:] if widen == "down" else down[:4]
        self.down = nn.ModuleList(
            Down(block, down[i], between[i], widths[i], layers[i], level=i + 1) for i in range(4)
        )
        up = wide[3:]
        self.up = nn.ModuleList(
            Up(block, up[i], down[3 - i], widths[4 + i], layers[4 + i], level=4 - i) for i in range(4)
        )

    def reach(self, view: PointView) -> Tensor:
        return self.inputs.reach(view)

    def forward(self, view: PointView, want_bev: bool = True) -> LidarFeatures:
        voxels, features = self.inputs(view)
        decoded = self._unet(voxels, features)
        valid = voxels.valid
        # Row 0 stands in for points out of range, then is masked; it always exists beside them.
        points = decoded.index_select(0, voxels.index.clamp(min=0)) * valid.unsqueeze(1)
        bev = self._bev(voxels, decoded) if want_bev else None
        return LidarFeatures(points, valid, bev, decoded)

    def _unet(self, voxels: Voxels, features: Tensor) -> Tensor:
        """(N, point_channels) decoder output of each voxel."""
        # Whole voxels of the coarsest level: none at the far side is left without its coarser one.
        shape = [-(-side // STRIDE) * STRIDE for side in voxels.shape]
        x = self.stem(sparse_tensor(features, voxels.coords, shape, voxels.batch_size))
        skips = [x]
        for stage in self.down:
            skips.append(stage(skips[-1]))
        x = skips.pop()
        for stage in self.up:
            x = stage(x, skips.pop())
        return x.features

    def _bev(self, voxels: Voxels, decoded: Tensor) -> Tensor:
        xy = self.inputs.grid.centers(voxels.coords)[:, :2]
        cells = scatter_bev(decoded, xy, voxels.coords[:, 0], voxels.batch_size, self.grid)
        return self.bev_head(cells)
