"""MinkUNet: the sparse convolutional U-Net of Choy et al. (CVPR 2019), as used by SLidR and SuperFlow."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pc3d.data.batch import PointView
from pc3d.geometry.grid import BevGrid
from pc3d.models.lidar.base import LidarEncoder, LidarFeatures
from pc3d.models.lidar.bev_backbone import bev_convolutions
from pc3d.models.lidar.inputs import PointInputs
from pc3d.ops.bev import scatter_bev
from pc3d.ops.sparse import (
    ConvNormReLU,
    SparseTensor,
    concatenate,
    inverse_conv,
    sparse_tensor,
    strided_conv,
    submanifold_conv,
)
from pc3d.ops.voxelize import Voxels

LAYERS = {18: (2, 2, 2, 2, 2, 2, 2, 2), 34: (2, 3, 4, 6, 2, 2, 2, 2)}


class BasicBlock(nn.Module):
    """Two submanifold 3x3x3 convolutions and a shortcut (He et al., CVPR 2016, basic block)."""

    def __init__(self, in_channels: int, channels: int, key: str) -> None:
        super().__init__()
        self.conv1 = ConvNormReLU(submanifold_conv(in_channels, channels, key), channels)
        self.conv2 = ConvNormReLU(submanifold_conv(channels, channels, key), channels, relu=False)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != channels:
            linear = nn.Linear(in_channels, channels, bias=False)
            self.shortcut = nn.Sequential(linear, nn.BatchNorm1d(channels))

    def forward(self, x: SparseTensor) -> SparseTensor:
        y = self.conv2(self.conv1(x))
        return y.replace_feature((y.features + self.shortcut(x.features)).relu())


def _blocks(in_channels: int, channels: int, count: int, key: str) -> nn.Sequential:
    return nn.Sequential(
        *(BasicBlock(in_channels if i == 0 else channels, channels, key) for i in range(count))
    )


class Down(nn.Module):
    """Halve the resolution, then basic blocks."""

    def __init__(self, in_channels: int, channels: int, count: int, level: int) -> None:
        super().__init__()
        conv = strided_conv(in_channels, in_channels, key=f"down{level}")
        self.conv = ConvNormReLU(conv, in_channels)
        self.blocks = _blocks(in_channels, channels, count, key=f"level{level}")

    def forward(self, x: SparseTensor) -> SparseTensor:
        return self.blocks(self.conv(x))


class Up(nn.Module):
    """Back to the voxels of the level above, joined with its encoder features, then basic blocks."""

    def __init__(self, in_channels: int, skip_channels: int, channels: int, count: int, level: int) -> None:
        super().__init__()
        conv = inverse_conv(in_channels, channels, key=f"down{level}")
        self.conv = ConvNormReLU(conv, channels)
        self.blocks = _blocks(channels + skip_channels, channels, count, key=f"level{level - 1}")

    def forward(self, x: SparseTensor, skip: SparseTensor) -> SparseTensor:
        return self.blocks(concatenate(self.conv(x), skip))


class MinkUNet(LidarEncoder):
    """Sparse U-Net over voxels; a point takes the decoder output of its voxel.

    Args:
        depth: 18 or 34; sets the number of basic blocks of each level.
        widths: channels of the eight levels, four down and four up.
        stem: channels of the two convolutions before the first level.
        in_channels: number of point columns that enter.
        columns: which columns of the view's points enter, by default the first `in_channels`
            (x y z intensity; SLidR: intensity only).
        voxel: `cubic` or `cylinder`.
        voxel_size: see `VoxelGrid.size`; by default 0.1 m, cylinder 0.1 m, 1 degree, 0.1 m.
        point_range: see `VoxelGrid.point_range`.
        grid: BEV grid of the map.
        bev_channels: width of the BEV map.
    """

    def __init__(
        self,
        depth: int = 34,
        widths: Sequence[int] = (32, 64, 128, 256, 256, 128, 96, 96),
        stem: int = 32,
        in_channels: int = 4,
        columns: Sequence[int] | None = None,
        voxel: str = "cubic",
        voxel_size: Sequence[float] | None = None,
        point_range: Sequence[float] = (-54.0, -54.0, -5.0, 54.0, 54.0, 3.0),
        grid: BevGrid | None = None,
        bev_channels: int = 128,
    ) -> None:
        super().__init__()
        if depth not in LAYERS:
            raise ValueError(f"MinkUNet has no depth {depth}; known: {', '.join(map(str, LAYERS))}")
        if len(widths) != 8:
            raise ValueError(f"widths needs 8 numbers, four levels down and four up, got {tuple(widths)}")
        self.inputs = PointInputs(in_channels, columns, voxel, voxel_size, point_range)
        self.grid = grid if grid is not None else BevGrid()
        self.point_channels = widths[-1]
        self.bev_channels = bev_channels
        self._build_unet(stem, list(widths), LAYERS[depth], in_channels)
        self.bev_head = bev_convolutions(self.point_channels, bev_channels)

    def _build_unet(self, stem: int, widths: list[int], layers: Sequence[int], in_channels: int) -> None:
        self.stem = nn.Sequential(
            ConvNormReLU(submanifold_conv(in_channels, stem, "level0"), stem),
            ConvNormReLU(submanifold_conv(stem, stem, "level0"), stem),
        )
        down = [stem, *widths[:4]]
        self.down = nn.ModuleList(Down(down[i], down[i + 1], layers[i], level=i + 1) for i in range(4))
        up = [widths[3], *widths[4:]]
        self.up = nn.ModuleList(
            Up(up[i], down[3 - i], up[i + 1], layers[4 + i], level=4 - i) for i in range(4)
        )

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
        x = self.stem(sparse_tensor(features, voxels.coords, voxels.shape, voxels.batch_size))
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
