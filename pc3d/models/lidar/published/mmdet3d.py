"""mmdetection3d 1.x (github.com/open-mmlab/mmdetection3d): SECOND and PointPillars of its detectors.

`SparseEncoder` with `basicblock` or `conv_module`, `SECOND`, `SECONDFPN`, and the one layer of
`DynamicPillarFeatureNet` or `PillarFeatureNet`. Coordinates are z, y, x, as ours (its BEVFusion project feeds
x, y, z: the format `bevfusion` reads that). Batch norms have epsilon 1e-3.

`PillarFeatureNet` pads pillars with empty points, and `legacy=True` writes offsets over x and y: other
networks than ours, whose weights are a start all the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pc3d.models.lidar.published.base import Converted, PublishedFormat, rename, split_off
from pc3d.models.lidar.published.detectors import behind, bev_backbone, bev_neck, mmdet3d_sparse
from pc3d.models.lidar.published.openpcdet import MOST_LEVELS, detector

STYLES = {"centerpoint": "pts_", "voxelnet": ""}
"""Detectors, and what the names of their parts begin with."""
HEADS = ("bbox_head", "roi_head", "rpn_head")
OTHER_PARTS = {
    **dict.fromkeys([f"{style}{head}" for style in STYLES.values() for head in HEADS], "head"),
    **dict.fromkeys(("img_backbone", "img_neck"), "camera branch"),
}
PFN = {
    "pfn_layers.0.linear": "linear",
    "pfn_layers.0.norm": "norm",
    "pfn_layers.0.0": "linear",
    "pfn_layers.0.1": "norm",
}


def modules(style: str, blocks: str) -> dict[str, str]:
    """Module names of either network with the blocks of SECOND, theirs to ours."""
    return {
        **behind(f"{style}middle_encoder.", mmdet3d_sparse(blocks)),
        **behind(f"{style}backbone.", bev_backbone(MOST_LEVELS, shift=0)),
        **behind(f"{style}neck.", bev_neck(MOST_LEVELS)),
        **behind(f"{style}voxel_encoder.", PFN),
    }


def square_neck_is_conv(blocks: str) -> bool:
    """Whether a neck's kernel of size 1 is a convolution where its shape does not tell.

    CenterPoint, whose blocks are residual, sets `use_conv_for_no_stride`; the configs of SECOND and
    PointPillars do not.
    """
    return blocks == "residual"


def convert(tensors: Mapping[str, Tensor], intensity_scale: float) -> Converted:
    kept, left_out = split_off(tensors, OTHER_PARTS)
    # The kinds of blocks share names for other layers.
    blocks = "residual" if any("encoder_layer1.0.conv1." in name for name in kept) else "plain"
    table = {theirs: ours for style in STYLES.values() for theirs, ours in modules(style, blocks).items()}
    return detector(rename(kept, table), left_out, intensity_scale, square_neck_is_conv(blocks))


FORMAT = PublishedFormat(
    markers=tuple(
        f"{style}{marker}"
        for style in STYLES.values()
        for marker in (
            "middle_encoder.conv_input.0.weight",
            "voxel_encoder.pfn_layers.0.linear.weight",
            "voxel_encoder.pfn_layers.0.0.weight",
        )
    ),
    convert=convert,
    intensity_scale=None,
    note="its MinkUNets on torchsparse have the format superflow.",
)
