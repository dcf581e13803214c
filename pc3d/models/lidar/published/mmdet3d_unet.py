"""mmdetection3d's `MinkUNetBackbone`, on spconv, MinkowskiEngine or torchsparse.

Names follow `backbones/minkunet_backbone.py`, `layers/sparse_block.py`, `layers/torchsparse_block.py` and
`layers/minkowski_engine_block.py`, whose blocks are MinkowskiEngine's own. Coordinates are x, y, z. Kernels
of spconv 1.x are read as mmdetection3d does with spconv 2, which permutes them, those of size 1 too.

Published input: x, y, z, intensity (SemanticKITTI, 0..1), cubes of 0.05 m counted from the lowest point, the
first point of each.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pc3d.models.lidar.published.base import Converted, PublishedFormat
from pc3d.models.lidar.published.kernels import (
    from_minkowski,
    from_spconv,
    from_spconv_pointwise,
    from_torchsparse,
    spconv_layout,
)
from pc3d.models.lidar.published.superflow import MMDET3D as TORCHSPARSE
from pc3d.models.lidar.published.unet import LevelNames, UNetNames, convert_unet


def _names(net: str, bn: str, norm: str, shortcut: str) -> UNetNames:
    """The form whose convolutions stand in `net`, and their norms behind `bn`; `norm` is that of a block."""

    def layer(name: str) -> tuple[str, str]:
        return f"{name}{net}.0", f"{name}{net}.1{bn}"

    block = {f"conv{i}": f"conv{i}.conv" for i in (1, 2)}
    block |= {f"{norm}{i}{bn}": f"conv{i}.norm" for i in (1, 2)}
    block |= {f"{shortcut}.0": "shortcut.0", f"{shortcut}.1{bn}": "shortcut.1"}
    return UNetNames(
        stem=(layer("conv_input.0"), layer("conv_input.1")),
        levels=(
            *(LevelNames(*layer(f"encoder.{i}.0"), f"encoder.{i}", 1) for i in range(4)),
            *(LevelNames(*layer(f"decoder.{i}.0"), f"decoder.{i}.1") for i in range(4)),
        ),
        block=block,
    )


SPCONV = _names(net="", bn="", norm="bn", shortcut="downsample")
MINKOWSKI = _names(net=".net", bn=".bn", norm="norm", shortcut="downsample.net")
MARKERS = ("conv_input.0.0.weight", "conv_input.0.net.0.kernel")
INPUTS = {"voxel": "cubic", "voxel_size": [0.05] * 3, "point_range": None, "voxel_feature": "first"}


def convert(tensors: Mapping[str, Tensor], intensity_scale: float) -> Converted:
    if MARKERS[0] in tensors:
        return _from_spconv(tensors, intensity_scale)
    on_minkowski = any(".bn." in name for name in tensors)
    names, layout = (MINKOWSKI, from_minkowski) if on_minkowski else (TORCHSPARSE, from_torchsparse)
    return convert_unet(tensors, names, layout, intensity_scale, INPUTS, others={})


def _from_spconv(tensors: Mapping[str, Tensor], intensity_scale: float) -> Converted:
    layout = spconv_layout(tensors[MARKERS[0]], len(tensors["conv_input.0.1.weight"]))

    def kernel(weight: Tensor) -> Tensor:
        if layout == "KRSC":
            pointwise, of_spconv_2 = weight.shape[1:4] == (1, 1, 1), weight
        else:
            pointwise, of_spconv_2 = weight.shape[:3] == (1, 1, 1), weight.permute(4, 0, 1, 2, 3)
        return from_spconv_pointwise(of_spconv_2) if pointwise else from_spconv(weight, layout)

    kernels = {
        f"{name.removesuffix('.weight')}.kernel" if tensor.ndim == 5 else name: tensor
        for name, tensor in tensors.items()
    }
    return convert_unet(kernels, SPCONV, kernel, intensity_scale, INPUTS, others={})


FORMAT = PublishedFormat(MARKERS, convert, intensity_scale=1.0)
