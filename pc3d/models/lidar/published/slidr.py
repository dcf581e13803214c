"""SLidR (Sautier et al., CVPR 2022; github.com/valeoai/SLidR): Res16UNet34C on MinkowskiEngine 0.5.3.

Names and shapes follow `model/res16unet.py`; OLIVINE and the other heirs of that code share them. The
stem is one convolution of size `kernel_size`, 3 in the published configs (5 in PointContrast's).

Published input: intensity only (0..255), cylinder voxels of 0.1 m, 1 degree, 0.1 m, no range limit, one
point's intensity per voxel. Without a range our levels cut space where the published network's did.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pc3d.models.lidar.published.base import Converted, PublishedFormat
from pc3d.models.lidar.published.kernels import from_minkowski
from pc3d.models.lidar.published.unet import LevelNames, UNetNames, convert_unet

NAMES = UNetNames(
    stem=(("conv0p1s1", "bn0.bn"),),
    levels=(
        LevelNames("conv1p1s2", "bn1.bn", "block1"),
        LevelNames("conv2p2s2", "bn2.bn", "block2"),
        LevelNames("conv3p4s2", "bn3.bn", "block3"),
        LevelNames("conv4p8s2", "bn4.bn", "block4"),
        LevelNames("convtr4p16s2", "bntr4.bn", "block5"),
        LevelNames("convtr5p8s2", "bntr5.bn", "block6"),
        LevelNames("convtr6p4s2", "bntr6.bn", "block7"),
        LevelNames("convtr7p2s2", "bntr7.bn", "block8"),
    ),
    block={
        "conv1": "conv1.conv",
        "norm1.bn": "conv1.norm",
        "conv2": "conv2.conv",
        "norm2.bn": "conv2.norm",
        "conv3": "conv3.conv",
        "norm3.bn": "conv3.norm",
        "downsample.0": "shortcut.0",
        "downsample.1.bn": "shortcut.1",
    },
)
HEADS = {"final": "head", "final_class_level": "head"}
CYLINDER = {
    "voxel": "cylinder",
    "voxel_size": [0.1, 1.0, 0.1],
    "point_range": None,
    "voxel_feature": "first",
}


def convert(tensors: Mapping[str, Tensor], intensity_scale: float) -> Converted:
    return convert_unet(tensors, NAMES, from_minkowski, intensity_scale, CYLINDER, HEADS)


FORMAT = PublishedFormat(
    markers=("conv0p1s1.kernel",),
    convert=convert,
    intensity_scale=255.0,
    note="SLidR's VoxelNet is not in pc3d, its MinkUNet is.",
)
