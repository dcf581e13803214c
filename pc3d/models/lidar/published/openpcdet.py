"""OpenPCDet (github.com/open-mmlab/OpenPCDet): SECOND and PointPillars of its detectors.

`VoxelBackBone8x` and `VoxelResBackBone8x` of `spconv_backbone.py`, `BaseBEVBackbone`, and the one layer of
`DynPillarVFE` or `PillarVFE`. Coordinates are z, y, x, as ours. Batch norms have epsilon 1e-3.

The residual blocks may have biases before their norms; a norm takes a bias up in its mean. `PillarVFE` pads
pillars with empty points, which its maximum sees; that ours does not is a difference of the two networks.

Published input: x, y, z, intensity (nuScenes: 0..255, then a time lag; KITTI: 0..1; Waymo: tanh, then
elongation); the mean of up to five or ten points of a voxel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pc3d.models.lidar.published.base import (
    Converted,
    PublishedFormat,
    rename,
    scale_intensity,
    split_off,
)
from pc3d.models.lidar.published.detectors import (
    FIRST,
    PILLARS,
    REQUIRED,
    behind,
    bev_architecture,
    bev_backbone,
    bev_neck,
    openpcdet_sparse,
    require,
    sparse_architecture,
    transposed_neck,
)
from pc3d.models.lidar.published.kernels import from_spconv, spconv_layout

MARKERS = ("backbone_3d.conv_input.0.weight", "vfe.pfn_layers.0.linear.weight")
OTHER_PARTS = {
    **dict.fromkeys(("dense_head", "point_head", "roi_head", "pfe"), "head"),
    "global_step": "counts the steps of training",
}
MOST_LEVELS = 4
PFN = {"vfe.pfn_layers.0.linear": "linear", "vfe.pfn_layers.0.norm": "norm"}
PILLAR_OFFSETS = 6
"""Inputs of the pillars' layer behind the points' columns: x y z from the mean, x y z from the centre."""


def modules() -> dict[str, str]:
    """Module names of either network, theirs to ours."""
    sparse = {**openpcdet_sparse("plain"), **openpcdet_sparse("residual")}
    flat = {**bev_backbone(MOST_LEVELS, shift=1), **bev_neck(MOST_LEVELS)}
    return {**behind("backbone_3d.", sparse), **behind("backbone_2d.", flat), **PFN}


def convert(tensors: Mapping[str, Tensor], intensity_scale: float) -> Converted:
    kept, left_out = split_off(tensors, OTHER_PARTS)
    ours = fold_biases(rename(kept, modules()))
    return detector(ours, left_out, intensity_scale, square_neck_is_conv=False)


def detector(
    ours: dict[str, Tensor], left_out: dict[str, str], intensity_scale: float, square_neck_is_conv: bool
) -> Converted:
    """SECOND or PointPillars from tensors by our names, in the layouts of OpenPCDet or mmdetection3d."""
    sparse = FIRST in ours
    if sparse:
        require(ours, REQUIRED)
        layout = spconv_layout(ours[FIRST], len(ours["levels.0.0.norm.weight"]))
        ours = {n: from_spconv(t, layout, "zyx") if t.ndim == 5 else t for n, t in ours.items()}
    else:
        require(ours, (PILLARS, "backbone.levels.0.0.weight"))
        if several := [name for name in ours if "pfn_layers.1." in name]:
            raise ValueError(f"the pillars have a second layer ({several[0]}), which those of pc3d lack")
    for name in [name for name in ours if name.startswith("backbone.necks")]:
        norm = ours.get(name.replace(".0.weight", ".1.weight"))
        ours[name] = transposed_neck(name, ours[name], norm, square_neck_is_conv)
    first = FIRST if sparse else PILLARS
    ours[first] = scale_intensity(ours[first], intensity_scale)
    config = _second(ours) if sparse else _pillars(ours)
    common = {**bev_architecture(ours), "norm_eps": 1e-3, "norm_momentum": 0.01}
    return Converted({**config, **common}, ours, left_out, inputs=(first, config["in_channels"]))


def fold_biases(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the biases of sparse convolutions, which the means of the norms behind them take up."""
    folded = {name: t for name, t in tensors.items() if not name.endswith(".conv.bias")}
    for name in tensors.keys() - folded.keys():
        mean = name.replace(".conv.bias", ".norm.running_mean")
        if mean not in folded:
            raise ValueError(f"the bias {name} has no norm behind it")
        folded[mean] = folded[mean] - tensors[name]
    return folded


def _second(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """nuScenes's grid of 0.075 m for residual blocks, KITTI's of 0.05 m for plain ones."""
    found = sparse_architecture(tensors)
    if found["blocks"] == "residual":
        grid = {"x_min": -54.0, "x_max": 54.0, "y_min": -54.0, "y_max": 54.0, "cell": 0.6}
        space = {"grid": grid, "z_range": [-5.0, 3.0], "voxel_height": 0.2}
    else:
        grid = {"x_min": 0.0, "x_max": 70.4, "y_min": -40.0, "y_max": 40.0, "cell": 0.4}
        space = {"grid": grid, "z_range": [-3.0, 1.0], "voxel_height": 0.1}
    return {"type": "SECOND", **space, **found, "height_layout": "openpcdet"}


def _pillars(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """nuScenes's grid where a fifth column enters, else KITTI's."""
    channels, inputs = tensors[PILLARS].shape
    columns = inputs - PILLAR_OFFSETS
    if columns < 4:
        raise ValueError(f"the pillars' layer has {inputs} inputs, expected x y z intensity and 6 offsets")
    if columns == 4:
        grid = {"x_min": 0.0, "x_max": 69.12, "y_min": -39.68, "y_max": 39.68, "cell": 0.32}
        z_range = [-3.0, 1.0]
    else:
        grid = {"x_min": -51.2, "x_max": 51.2, "y_min": -51.2, "y_max": 51.2, "cell": 0.4}
        z_range = [-5.0, 3.0]
    found = {"pillar_channels": channels, "in_channels": columns, "centre_z": True}
    return {"type": "PointPillars", "grid": grid, "z_range": z_range, **found}


FORMAT = PublishedFormat(
    markers=MARKERS,
    convert=convert,
    intensity_scale=None,
    note="OpenPCDet's other backbones are not in pc3d.",
)
