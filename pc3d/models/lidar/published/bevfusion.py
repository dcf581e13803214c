"""BEVFusion (Liu et al., ICRA 2023; github.com/mit-han-lab/bevfusion): the LiDAR branch of its detectors.

`SparseEncoder` with basic blocks, then SECOND's 2D backbone and neck; names follow
`mmdet3d/models/backbones/sparse_encoder.py`, `second.py` and `necks/second.py` there. mmdetection3d's port
(`projects/BEVFusion`) has the same network behind other prefixes.

Its voxelisation gives coordinates x, y, z, not z, y, x: kernels are (kx, ky, kz, ...), the BEV map is
(x, y), and so are the kernels over it. Batch norms have epsilon 1e-3.

In a camera-LiDAR checkpoint the 2D backbone reads the fused map; the LiDAR's own map is another input, so
that part is left out, and the BEV backbone starts afresh.

Published input: ten sweeps, x, y, z, intensity (0..255), time lag; the mean of up to ten points per voxel.
In a single sweep the time lag is zero everywhere, and the network without its fifth input is the same
function; so the fifth input is left out.
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
    REQUIRED,
    behind,
    bev_architecture,
    mmdet3d_sparse,
    require,
    sparse_architecture,
    transposed_neck,
)
from pc3d.models.lidar.published.kernels import from_spconv, spconv_layout

SPARSE = ("encoders.lidar.backbone", "pts_middle_encoder")
DECODER = (("decoder.backbone", "decoder.neck"), ("pts_backbone", "pts_neck"))
OTHER_PARTS = {
    **dict.fromkeys(
        ("encoders.camera", "img_backbone", "img_neck", "vtransform", "view_transform"), "camera branch"
    ),
    **dict.fromkeys(("heads", "bbox_head", "seg_head"), "head"),
}
FUSERS = ("fuser", "fusion_layer")


def convert(tensors: Mapping[str, Tensor], intensity_scale: float) -> Converted:
    fused = any(name.startswith(FUSERS) for name in tensors)
    lidar = _inputs(for_maps=any(name.startswith("heads.map.") for name in tensors))
    parts = {**OTHER_PARTS, **dict.fromkeys(FUSERS, "reads the camera")}
    if fused:
        parts |= {part: "reads the fused map" for pair in DECODER for part in pair}
    kept, left_out = split_off(tensors, parts)
    ours = rename(kept, _modules())
    require(ours, REQUIRED)
    layout = spconv_layout(ours[FIRST], len(ours["levels.0.0.norm.weight"]))
    ours = {name: _laid_out(name, tensor, ours, layout) for name, tensor in ours.items()}
    first = scale_intensity(ours[FIRST], intensity_scale)
    if first.shape[-1] == 5:
        left_out[f"{SPARSE[0]}.conv_input.0.weight, fifth input"] = "time lag, zero in a single sweep"
    ours[FIRST] = first[..., :4].contiguous()
    return Converted(
        {**lidar, **sparse_architecture(ours), **bev_architecture(ours)},
        ours,
        left_out,
        ("backbone.",) if fused else (),
    )


def _modules() -> dict[str, str]:
    table: dict[str, str] = {}
    for there in SPARSE:
        table |= behind(f"{there}.", mmdet3d_sparse("residual"))
    for backbone, neck in DECODER:
        table |= {f"{backbone}.blocks": "backbone.levels", f"{neck}.deblocks": "backbone.necks"}
    return table


def _laid_out(name: str, tensor: Tensor, ours: Mapping[str, Tensor], layout: str) -> Tensor:
    """Sparse kernels by their layout, kernels over the map transposed from (x, y) to (row y, column x)."""
    if tensor.ndim == 5:
        return from_spconv(tensor, layout)
    if tensor.ndim != 4:
        return tensor
    norm = ours.get(name.replace(".0.weight", ".1.weight"))
    return transposed_neck(name, tensor, norm, ambiguous_is_conv=True).transpose(2, 3).contiguous()


def _inputs(for_maps: bool) -> dict[str, Any]:
    """Grid of the map segmenters (voxels of 0.1 m), or of the detectors (0.075 m)."""
    reach, cell = (51.2, 0.8) if for_maps else (54.0, 0.6)
    grid = {"x_min": -reach, "x_max": reach, "y_min": -reach, "y_max": reach, "cell": cell}
    return {"type": "SECOND", "grid": grid, "z_range": [-5.0, 3.0], "voxel_height": 0.2}


FORMAT = PublishedFormat(
    markers=tuple(f"{there}.conv_input.0.weight" for there in SPARSE),
    convert=convert,
    intensity_scale=255.0,
)
