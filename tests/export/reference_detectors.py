"""The backbones of OpenPCDet and mmdetection3d, dense and in float64, by the names of their files.

Written from the projects' sources, apart from the exports: a sparse map is a volume (1, C, Z, Y, X) that is
zero where nothing is active, beside the mask (1, 1, Z, Y, X) of what is; a submanifold convolution is a dense
one that is masked, and a strided one is active wherever an active voxel lies under its kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d, conv3d, conv_transpose2d, linear, pad

State = dict[str, Tensor]
Size = tuple[int, int, int]
EPS = 1e-3
LEAVES = ("running_mean", "running_var", "weight", "bias")


@dataclass
class Sparse:
    """A volume and its mask."""

    volume: Tensor
    mask: Tensor


def _norm(state: State, name: str, x: Tensor) -> Tensor:
    return batch_norm(x, *(state[f"{name}.{leaf}"].double() for leaf in LEAVES), eps=EPS)


class SparseLayers:
    """Layers of a file whose sparse kernels are KRSC (out, z, y, x, in) or RSCK (z, y, x, in, out)."""

    def __init__(self, state: State, prefix: str, layout: str) -> None:
        self.state, self.prefix, self.layout = state, prefix, layout

    def _conv(self, x: Tensor, name: str, stride: Size | int, padding: Size | int) -> Tensor:
        order = {"KRSC": (0, 4, 1, 2, 3), "RSCK": (4, 3, 0, 1, 2)}[self.layout]
        weight = self.state[f"{self.prefix}{name}.weight"].double().permute(order)
        bias = self.state.get(f"{self.prefix}{name}.bias")
        return conv3d(x, weight, None if bias is None else bias.double(), stride, padding)

    def submanifold(self, x: Sparse, conv: str, norm: str, relu: bool = True) -> Sparse:
        y = _norm(self.state, f"{self.prefix}{norm}", self._conv(x.volume, conv, 1, 1))
        return Sparse((y.relu() if relu else y) * x.mask, x.mask)

    def strided(self, x: Sparse, name: str, stride: Size, padding: Size, size: Size = (3, 3, 3)) -> Sparse:
        """Convolution and norm `NAME.0` and `NAME.1`."""
        y = self._conv(x.volume, f"{name}.0", stride, padding)
        mask = (conv3d(x.mask, torch.ones(1, 1, *size).double(), None, stride, padding) > 0).double()
        return Sparse(_norm(self.state, f"{self.prefix}{name}.1", y).relu() * mask, mask)

    def block(self, x: Sparse, name: str) -> Sparse:
        """A residual block with `conv1`, `bn1`, `conv2`, `bn2`."""
        y = self.submanifold(x, f"{name}.conv1", f"{name}.bn1")
        y = self.submanifold(y, f"{name}.conv2", f"{name}.bn2", relu=False)
        return Sparse((x.volume + y.volume).relu(), x.mask)

    def plain(self, x: Sparse, name: str) -> Sparse:
        return self.submanifold(x, f"{name}.0", f"{name}.1")

    def flat(self, x: Sparse) -> Tensor:
        """(1, C * D, Y, X): the last strided convolution, then the height collapsed."""
        return self.strided(x, "conv_out", (2, 1, 1), (0, 0, 0), (3, 1, 1)).volume.flatten(1, 2)


HALF = (2, 2, 2)
PADDING = {2: (1, 1, 1), 3: (1, 1, 1), 4: (0, 1, 1)}


def openpcdet_sparse(state: State, x: Sparse, residual: bool) -> Tensor:
    """`VoxelResBackBone8x` or `VoxelBackBone8x`, then `HeightCompression`."""
    layers = SparseLayers(state, "backbone_3d.", "KRSC")
    x = layers.plain(x, "conv_input")
    for stage in (1, 2, 3, 4):
        names = [f"conv{stage}.{i}" for i in range(3)]
        if stage > 1:
            x = layers.strided(x, names.pop(0), HALF, PADDING[stage])
        elif residual:
            names = names[:2]
        else:
            names = names[:1]
        for name in names:
            x = layers.block(x, name) if residual else layers.plain(x, name)
    return layers.flat(x)


def mmdet3d_sparse(state: State, x: Sparse, residual: bool, prefix: str) -> Tensor:
    """`SparseEncoder`: basic blocks end a stage with its strided convolution, plain ones begin with it."""
    layers = SparseLayers(state, f"{prefix}middle_encoder.", "RSCK")
    x = layers.plain(x, "conv_input")
    for stage in (1, 2, 3, 4):
        name = f"encoder_layers.encoder_layer{stage}"
        if residual:
            for i in (0, 1):
                x = layers.block(x, f"{name}.{i}")
            if stage < 4:
                x = layers.strided(x, f"{name}.2", HALF, PADDING[stage + 1])
            continue
        first = 0
        if stage > 1:
            x, first = layers.strided(x, f"{name}.0", HALF, PADDING[stage]), 1
        for i in range(first, 1 if stage == 1 else 3):
            x = layers.plain(x, f"{name}.{i}")
    return layers.flat(x)


def _map_norm(state: State, name: str, x: Tensor) -> Tensor:
    return _norm(state, name, x).relu()


def bev_forward(
    state: State, x: Tensor, backbone: str, neck: str, first: int, stride: int, conv_neck: bool
) -> Tensor:
    """The 2D backbone and neck of both projects; `first` is the number of a level's first convolution."""
    outputs = []
    for level in range(10):
        number = first
        if f"{backbone}blocks.{level}.{number}.weight" not in state:
            break
        while f"{backbone}blocks.{level}.{number}.weight" in state:
            name = f"{backbone}blocks.{level}"
            step = (stride if level == 0 else 2) if number == first else 1
            x = conv2d(pad(x, (1, 1, 1, 1)), state[f"{name}.{number}.weight"].double(), stride=step)
            x, number = _map_norm(state, f"{name}.{number + 1}", x), number + 3
        kernel = state[f"{neck}deblocks.{level}.0.weight"].double()
        if level == 0 and conv_neck:
            up = conv2d(x, kernel)
        else:
            up = conv_transpose2d(x, kernel, stride=2**level)
        outputs.append(_map_norm(state, f"{neck}deblocks.{level}.1", up))
    return torch.cat(outputs, dim=1)


def pillars_forward(
    state: State, linear_name: str, norm_name: str, points: Tensor, corner: Tensor, size: Tensor, shape: Size
) -> Tensor:
    """A pillar network without padding: (1, C, rows, cols) of points (N, C) within the range.

    Args:
        corner: lowest x, y, z. size: of a pillar. shape: pillars along z (one), y, x.
    """
    points = points.double()
    cells = ((points[:, :2] - corner[:2]) / size[:2]).floor().long()
    centre = torch.cat(
        ((cells + 0.5) * size[:2] + corner[:2], (corner[2] + size[2] / 2).expand(len(cells), 1)), 1
    )
    weight = state[f"{linear_name}.weight"].double()
    canvas = torch.zeros(len(weight), shape[1], shape[2]).double()
    for cell in cells.unique(dim=0):
        own = (cells == cell).all(dim=1)
        xyz = points[own, :3]
        inputs = torch.cat((points[own], xyz - xyz.mean(dim=0), xyz - centre[own]), dim=1)
        features = _norm(state, norm_name, linear(inputs, weight)).relu()
        canvas[:, cell[1], cell[0]] = features.amax(dim=0)
    return canvas[None]


def scene(points: Tensor, corner: Tensor, size: Tensor, shape: Size) -> Sparse:
    """Means of the points (N, C) of each voxel, and an empty layer of voxels on top.

    Args:
        shape: voxels along z, y, x without that layer.
    """
    points = points.double()
    x, y, z = ((points[:, :3] - corner) / size).floor().long().T
    volume = torch.zeros(shape[0] + 1, shape[1], shape[2], points.shape[1]).double()
    count = torch.zeros(shape[0] + 1, shape[1], shape[2], 1).double()
    volume.index_put_((z, y, x), points, accumulate=True)
    count.index_put_((z, y, x), torch.ones(len(points), 1).double(), accumulate=True)
    volume = volume / count.clamp(min=1)
    return Sparse(volume.permute(3, 0, 1, 2)[None], (count > 0).double().permute(3, 0, 1, 2)[None])
