"""SuperFlow (Xu et al., ECCV 2024; github.com/Xiangxu-0103/SuperFlow): MinkUNet-34 on torchsparse 1.4.

Two namings are known: SuperFlow's own `MinkUNetBackbone` (LiMoE has the same; `conv0`, `block1`, ...), and
that of mmdetection3d 1.x on torchsparse (`conv_input`, `encoder`, `decoder`). Both follow their sources.

Published input: x, y, z, intensity (0..255), cylinder voxels of 0.1 m, 1 degree, 0.1 m, rounded to the
nearest, no range limit, the first point of each voxel.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pc3d.models.lidar.published.base import Converted, PublishedFormat
from pc3d.models.lidar.published.kernels import from_torchsparse
from pc3d.models.lidar.published.slidr import CYLINDER
from pc3d.models.lidar.published.unet import LevelNames, UNetNames, convert_unet

NAMES = UNetNames(
    stem=(("conv0.0.conv", "conv0.0.norm"), ("conv0.1.conv", "conv0.1.norm")),
    levels=tuple(LevelNames(f"conv{i}.conv", f"conv{i}.norm", f"block{i}") for i in range(1, 9)),
    block={
        "conv1": "conv1.conv",
        "norm1": "conv1.norm",
        "conv2": "conv2.conv",
        "norm2": "conv2.norm",
        "conv3": "conv3.conv",
        "norm3": "conv3.norm",
        "downsample.conv": "shortcut.0",
        "downsample.norm": "shortcut.1",
    },
)
MMDET3D = UNetNames(
    stem=(
        ("conv_input.0.net.0", "conv_input.0.net.1"),
        ("conv_input.1.net.0", "conv_input.1.net.1"),
    ),
    levels=(
        *(LevelNames(f"encoder.{i}.0.net.0", f"encoder.{i}.0.net.1", f"encoder.{i}", 1) for i in range(4)),
        *(LevelNames(f"decoder.{i}.0.net.0", f"decoder.{i}.0.net.1", f"decoder.{i}.1") for i in range(4)),
    ),
    block={
        "net.0": "conv1.conv",
        "net.1": "conv1.norm",
        "net.3": "conv2.conv",
        "net.4": "conv2.norm",
        "net.6": "conv3.conv",
        "net.7": "conv3.norm",
        "downsample.0": "shortcut.0",
        "downsample.1": "shortcut.1",
    },
)
MARKERS = ("conv0.0.conv.kernel", "conv_input.0.net.0.kernel")


def convert(tensors: Mapping[str, Tensor], intensity_scale: float) -> Converted:
    names = NAMES if MARKERS[0] in tensors else MMDET3D
    return convert_unet(tensors, names, from_torchsparse, intensity_scale, CYLINDER, others={})


FORMAT = PublishedFormat(MARKERS, convert, intensity_scale=255.0)
