"""The one seam to spconv: sparse tensors and convolutions that run on the CPU and on CUDA.

On the CPU only the `Native` algorithm is right, forward and backward; on CUDA the implicit GEMM is
faster. Both read the same weight layout (out, kz, ky, kx, in), so that a layer picks its algorithm at
each call, by where its input lies, and one checkpoint serves both devices.

spconv is imported with the first layer or tensor that is made (`spconv_layers.py`), not with this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from pc3d.ops.spconv_layers import InverseConv, SparseTensor, StridedConv, SubmanifoldConv

Size: TypeAlias = int | Sequence[int]


def __getattr__(name: str) -> Any:
    """The names of `spconv_layers`, which is imported when one is asked for."""
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("pc3d.ops.spconv_layers"), name)


def sparse_tensor(features: Tensor, coords: Tensor, shape: Sequence[int], batch_size: int) -> SparseTensor:
    """A sparse map of N active voxels.

    Args:
        features: (N, C) floating point.
        coords: (N, 4) integers (sample, z, y, x), each row once.
        shape: number of voxels along z, y, x.
        batch_size: number of samples.

    Raises:
        ValueError: no voxel at all, or lengths that differ.
    """
    if len(coords) == 0:
        raise ValueError("no active voxel in the whole batch: are the points within the encoder's range?")
    if coords.ndim != 2 or coords.shape[1] != 4 or len(features) != len(coords):
        raise ValueError(
            f"features {tuple(features.shape)} and coords {tuple(coords.shape)} do not fit: "
            "expected (N, C) and (N, 4)"
        )
    from pc3d.ops.spconv_layers import SparseTensor

    return SparseTensor(features.contiguous(), coords.int().contiguous(), list(shape), batch_size)


def active_pairs(layer: nn.Module, out: SparseTensor) -> int:
    """How many (input voxel, output voxel, kernel cell) a sparse convolution multiplied on the CPU.

    Args:
        layer: one of `SPARSE_LAYERS`. out: what it returned.
    """
    if layer.conv1x1:
        return len(out.features)
    number = out.find_indice_pair(layer.indice_key).indice_pair_num
    if not layer.subm:
        return int(number.sum())
    # Of a symmetric kernel one half is listed; the middle pairs each voxel with itself.
    return len(out.features) + 2 * int(number[: len(number) // 2].sum())


def submanifold_conv(in_channels: int, out_channels: int, key: str, kernel: Size = 3) -> SubmanifoldConv:
    """Submanifold convolution without bias; layers at one level share `key` and with it the neighbours."""
    from pc3d.ops.spconv_layers import SubmanifoldConv

    return SubmanifoldConv(
        in_channels, out_channels, kernel, padding=_half(kernel), bias=False, indice_key=key
    )


def strided_conv(
    in_channels: int, out_channels: int, key: str, kernel: Size = 2, stride: Size = 2, padding: Size = 0
) -> StridedConv:
    """Strided convolution without bias; `key` names it for its inverse."""
    from pc3d.ops.spconv_layers import StridedConv

    return StridedConv(in_channels, out_channels, kernel, stride, padding, bias=False, indice_key=key)


def inverse_conv(in_channels: int, out_channels: int, key: str, kernel: Size = 2) -> InverseConv:
    """Inverse, without bias, of the strided convolution named `key` (which has the same `kernel`)."""
    from pc3d.ops.spconv_layers import InverseConv

    return InverseConv(in_channels, out_channels, kernel, bias=False, indice_key=key)


def _half(kernel: Size) -> Size:
    return kernel // 2 if isinstance(kernel, int) else [k // 2 for k in kernel]


def concatenate(a: SparseTensor, b: SparseTensor) -> SparseTensor:
    """Features of `a` and `b`, which have the same voxels in the same order, side by side."""
    return a.replace_feature(torch.cat((a.features, b.features), dim=1))


class ConvNormReLU(nn.Module):
    """A sparse convolution, batch norm and ReLU; float32 under autocast, as spconv knows no bfloat16.

    Attributes:
        half_precision: whether the convolution runs in float16 on CUDA, to which spconv casts by itself under
            autocast.
    """

    half_precision = False

    def __init__(self, conv: nn.Module, channels: int, relu: bool = True) -> None:
        super().__init__()
        self.conv = conv
        self.norm = nn.BatchNorm1d(channels)
        self.relu = relu

    def forward(self, x: SparseTensor) -> SparseTensor:
        half = self.half_precision and x.features.is_cuda
        with torch.autocast(x.features.device.type, enabled=False):
            with torch.autocast(x.features.device.type, torch.float16, enabled=half):
                x = self.conv(x.replace_feature(x.features.float()))
            features = self.norm(x.features.float())
        return x.replace_feature(features.relu() if self.relu else features)


def dense(x: SparseTensor) -> Tensor:
    """(B, C, Z, Y, X) dense map, zero where no voxel is active."""
    out = x.features.new_zeros(x.batch_size, *x.spatial_shape, x.features.shape[1])
    return out.index_put(x.indices.long().unbind(1), x.features).permute(0, 4, 1, 2, 3)
