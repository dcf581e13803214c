"""OpenPCDet: `VoxelResBackBone8x`, `VoxelBackBone8x` or `DynPillarVFE`, and `BaseBEVBackbone`.

Names and shapes follow its source as of commit 8caccce, `published/openpcdet.py` has them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pc3d.export.base import Exported, Options, Source, Target
from pc3d.export.detectors import Detector, detector, renamed, require_widths
from pc3d.export.heads import openpcdet_head, openpcdet_lacks, openpcdet_snippet
from pc3d.models.lidar.published.detectors import behind, bev_backbone, bev_neck, openpcdet_sparse
from pc3d.models.lidar.published.openpcdet import MOST_LEVELS, PFN
from pc3d.models.lidar.second import SECOND

NAME = "OpenPCDet"
WIDTHS = {"plain": (16, 32, 64, 64, 128), "residual": (16, 32, 64, 128, 128)}
NETWORKS = {"plain": "VoxelBackBone8x", "residual": "VoxelResBackBone8x"}


def export(source: Source, options: Options) -> Exported:
    """SECOND or PointPillars by OpenPCDet's names.

    Raises:
        DataError: its networks cannot be equal, and why.
    """
    found = detector(source, options, NAME)
    flat = {**bev_backbone(MOST_LEVELS, shift=1), **bev_neck(MOST_LEVELS)}
    table = behind("backbone_2d.", flat)
    if isinstance(found.encoder, SECOND):
        require_widths(found, source, NAME, WIDTHS)
        table |= behind("backbone_3d.", openpcdet_sparse(found.encoder.blocks))
    else:
        table |= PFN
    tensors = renamed(found.state, table)
    tensors |= _zero_biases(tensors)
    snippet = _second(found) if isinstance(found.encoder, SECOND) else _pillars(found)
    left_out, notes = dict(found.left_out), (*found.notes, *_conditions(found))
    if found.head is not None and (lack := openpcdet_lacks(found.head)):
        left_out["head"] = lack
    elif found.head is not None:
        tensors |= openpcdet_head(found.head)
        snippet += openpcdet_snippet(found.head, found.map_stride)
        notes = (*notes, "The head's rotation is cosine, then sine there: its two rows are swapped.")
    return Exported(tensors, snippet, left_out, notes)


def _zero_biases(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Its residual blocks have biases where `USE_BIAS` is not set, as in its own configs."""
    ends = (".conv1.weight", ".conv2.weight")
    return {
        f"{name.removesuffix('.weight')}.bias": torch.zeros(len(tensor))
        for name, tensor in tensors.items()
        if name.startswith("backbone_3d.") and name.endswith(ends)
    }


def _conditions(found: Detector) -> tuple[str, ...]:
    if isinstance(found.encoder, SECOND):
        return (
            "Equal for equal voxels: DynMeanVFE takes the mean of all points of a voxel, as pc3d does; "
            "MeanVFE stops at MAX_POINTS_PER_VOXEL points.",
        )
    return (
        "Equal with DynPillarVFE, where no point is below or above POINT_CLOUD_RANGE: OpenPCDet cuts at x "
        "and y only, pc3d at z, too. PillarVFE pads pillars with empty points, and is another function.",
    )


def _data(found: Detector, voxel_z: float) -> str:
    names = ["timestamp" if name == "time" else name for name in found.points.names]
    x, y, _ = found.voxel_size
    return f"""\
DATA_CONFIG:
    POINT_CLOUD_RANGE: {found.point_range}
    POINT_FEATURE_ENCODING:
        encoding_type: absolute_coordinates_encoding
        used_feature_list: {_quoted(names)}
        src_feature_list: {_quoted(names)}
    DATA_PROCESSOR:
        - NAME: mask_points_and_boxes_outside_range
          REMOVE_OUTSIDE_BOXES: True
        - NAME: shuffle_points
          SHUFFLE_ENABLED: {{'train': True, 'test': False}}
        - NAME: transform_points_to_voxels_placeholder
          VOXEL_SIZE: [{x}, {y}, {voxel_z}]
"""


def _bev(found: Detector) -> str:
    bev = found.bev
    return f"""\
    BACKBONE_2D:
        NAME: BaseBEVBackbone
        LAYER_NUMS: {bev["layers"]}
        LAYER_STRIDES: {bev["strides"]}
        NUM_FILTERS: {bev["widths"]}
        UPSAMPLE_STRIDES: {bev["up"]}
        NUM_UPSAMPLE_FILTERS: {bev["necks"]}
"""


def _second(found: Detector) -> str:
    assert isinstance(found.encoder, SECOND)
    return f"""\
{_data(found, found.voxel_size[2])}
MODEL:
    VFE:
        NAME: DynMeanVFE
    BACKBONE_3D:
        NAME: {NETWORKS[found.encoder.blocks]}
    MAP_TO_BEV:
        NAME: HeightCompression
        NUM_BEV_FEATURES: {found.sparse_out * found.flat_layers}
{_bev(found)}"""


def _pillars(found: Detector) -> str:
    return f"""\
{_data(found, found.voxel_size[2])}
MODEL:
    VFE:
        NAME: DynPillarVFE
        WITH_DISTANCE: False
        USE_ABSLOTE_XYZ: True
        USE_NORM: True
        NUM_FILTERS: [{found.sparse_out}]
    MAP_TO_BEV:
        NAME: PointPillarScatter
        NUM_BEV_FEATURES: {found.sparse_out}
{_bev(found)}"""


def _quoted(names: list[str]) -> str:
    return f"[{', '.join(repr(name) for name in names)}]"


TARGET = Target(
    title="OpenPCDet: VoxelResBackBone8x, VoxelBackBone8x or DynPillarVFE, BaseBEVBackbone",
    part="lidar",
    export=export,
    suffix="yaml",
    wrap=lambda tensors: {"model_state": tensors},
    loading=(
        "python train.py --cfg_file YOURS.yaml --pretrained_model {file}; it logs each tensor that was not "
        "loaded ('Not updated weight'): only those of the head may be among them"
    ),
)
