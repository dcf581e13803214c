"""Pointcept (github.com/Pointcept/Pointcept): SpUNet-v1m1, a MinkUNet on spconv 2.

`SpUNetBase` of `spconv_unet_v1m1_base.py`: one stem convolution of size 5, strided convolutions that widen,
basic blocks; levels of its decoder count from the finest. Its coordinates are x, y, z. Batch norms have
epsilon 1e-3 and momentum 0.01.

Published input: x, y, z, intensity (0..1), cubes of 0.05 m counted from the lowest point, one point's columns
per voxel.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pc3d.models.lidar.published.base import Converted, PublishedFormat
from pc3d.models.lidar.published.kernels import from_spconv_pointwise, swap_axes
from pc3d.models.lidar.published.unet import LevelNames, UNetNames, convert_unet

NAMES = UNetNames(
    stem=(("conv_input.0", "conv_input.1"),),
    levels=(
        *(LevelNames(f"down.{i}.0", f"down.{i}.1", f"enc.{i}", block="block") for i in range(4)),
        *(LevelNames(f"up.{i}.0", f"up.{i}.1", f"dec.{i}", block="block") for i in (3, 2, 1, 0)),
    ),
    block={
        "conv1": "conv1.conv",
        "bn1": "conv1.norm",
        "conv2": "conv2.conv",
        "bn2": "conv2.norm",
        "proj.0": "shortcut.0",
        "proj.1": "shortcut.1",
    },
)
INPUTS = {"voxel": "cubic", "voxel_size": [0.05] * 3, "point_range": None, "voxel_feature": "first"}
NORMS = {"norm_eps": 1e-3, "norm_momentum": 0.01}


def kernel(weight: Tensor) -> Tensor:
    """Kernel of spconv 2 over x, y, z in our layout; one of size 1 as a linear layer's."""
    if weight.shape[1:4] == (1, 1, 1):
        return from_spconv_pointwise(weight)
    return swap_axes(weight)


def convert(tensors: Mapping[str, Tensor], intensity_scale: float) -> Converted:
    kernels = {  # told from weights of norms, as other libraries name theirs
        f"{name.removesuffix('.weight')}.kernel" if tensor.ndim == 5 else name: tensor
        for name, tensor in tensors.items()
    }
    found = convert_unet(kernels, NAMES, kernel, intensity_scale, INPUTS, {"final": "head"})
    found.lidar.update(NORMS)
    return found


FORMAT = PublishedFormat(
    markers=("conv_input.0.weight",),
    convert=convert,
    intensity_scale=1.0,
    note="of Pointcept's networks, pc3d has SpUNet-v1m1.",
)
