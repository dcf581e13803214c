"""The projects with a MinkUNet, and the snippets of their configs.

Names and shapes follow Pointcept d74c646, mmdetection3d fe25f7a, SLidR 14729d0, SuperFlow and SPVNAS, as the
files of `published/` have them.
"""

from __future__ import annotations

from collections.abc import Callable

from pc3d.export.base import Target
from pc3d.export.points import TargetPoints
from pc3d.export.unet import LAYOUTS, UNetShape, UNetTarget
from pc3d.models.lidar.published import mmdet3d_unet, pointcept, scalr, slidr, superflow

CELLS = (
    "Equal for equal voxels: the target cuts voxels from the lowest point of each cloud, pc3d from a fixed "
    "corner, so that coarse voxels may be cut elsewhere."
)
SIZES_34 = (34, (32, 64, 128, 256, 256, 128, 96, 96))


def _pointcept(shape: UNetShape, points: TargetPoints) -> str:
    size = shape.voxel.size[0]
    return f"""\
# input columns: {points}
model = dict(
    type="DefaultSegmentor",
    backbone=dict(
        type="SpUNet-v1m1",
        in_channels={len(points.names)},
        num_classes=16,  # yours
        base_channels={shape.stem},
        channels={shape.widths},
        layers={shape.blocks},
    ),
)
grid_sample = dict(type="GridSample", grid_size={size:g}, return_grid_coord=True)
"""


def _mmdet3d(backend: str) -> Callable[[UNetShape, TargetPoints], str]:
    def snippet(shape: UNetShape, points: TargetPoints) -> str:
        widths, blocks = list(shape.widths), list(shape.blocks)
        return f"""\
# input columns: {points}
model = dict(
    data_preprocessor=dict(
        type='Det3DDataPreprocessor',
        voxel=True,
        voxel_type='minkunet',
        batch_first={backend != "torchsparse"},
        voxel_layer=dict(
            max_num_points=-1,
            point_cloud_range={list(shape.voxel.limits)},
            voxel_size={list(shape.voxel.size)},
            max_voxels=(-1, -1))),
    backbone=dict(
        type='MinkUNetBackbone',
        in_channels={len(points.names)},
        num_stages=4,
        base_channels={shape.stem},
        encoder_channels={widths[:4]},
        encoder_blocks={blocks[:4]},
        decoder_channels={widths[4:]},
        decoder_blocks={blocks[4:]},
        block_type='basic',
        sparseconv_backend='{backend}'))
"""

    return snippet


def _slidr(shape: UNetShape, points: TargetPoints) -> str:
    kind, size = shape.voxel.kind, shape.voxel.size[0]
    return f"""\
# input columns: {points}
model_points: "minkunet"
cylindrical_coordinates: {kind == "cylinder"}
voxel_size: {size:g}
kernel_size: {shape.kernels[0]}
normalize_features: False
"""


def _facts(shape: UNetShape, points: TargetPoints) -> str:
    grid = shape.voxel
    return f"""\
# input columns: {points}
minkunet = dict(
    in_channels={len(points.names)},
    base_channels={shape.stem},
    channels={list(shape.widths)},
    blocks={list(shape.blocks)},
    voxel="{grid.kind}",
    voxel_size={list(grid.size)},
)
"""


POINTCEPT = UNetTarget(
    "Pointcept",
    pointcept.NAMES,
    LAYOUTS["spconv 2"],
    _pointcept,
    prefix="backbone.",
    leaf="weight",
    stem=(5,),
    points="x,y,z,intensity",
    eps=1e-3,
    widen="down",
    notes=(CELLS,),
)
MMDET3D = {
    "spconv": UNetTarget(
        "mmdetection3d's MinkUNet",
        mmdet3d_unet.SPCONV,
        LAYOUTS["spconv 1"],
        _mmdet3d("spconv"),
        prefix="backbone.",
        leaf="weight",
        notes=(
            CELLS,
            "For mmdetection3d with spconv 2; mmcv's own spconv 1.x reads kernels of size 1 in another way.",
            "Its spatial shape ends at the last voxel: where that is no multiple of 16, voxels at the far "
            "side lose their coarser ones, and differ.",
        ),
    ),
    "torchsparse": UNetTarget(
        "mmdetection3d's MinkUNet",
        superflow.MMDET3D,
        LAYOUTS["torchsparse"],
        _mmdet3d("torchsparse"),
        prefix="backbone.",
        notes=(CELLS,),
    ),
    "minkowski": UNetTarget(
        "mmdetection3d's MinkUNet",
        mmdet3d_unet.MINKOWSKI,
        LAYOUTS["MinkowskiEngine"],
        _mmdet3d("minkowski"),
        prefix="backbone.",
        notes=(CELLS,),
    ),
}
SLIDR = UNetTarget(
    "SLidR's Res16UNet34C",
    slidr.NAMES,
    LAYOUTS["MinkowskiEngine"],
    _slidr,
    stem=None,
    points="intensity*255",
    cylinder=True,
    sizes=SIZES_34,
)
SUPERFLOW = UNetTarget(
    "SuperFlow's MinkUNet",
    superflow.NAMES,
    LAYOUTS["torchsparse"],
    _facts,
    points="x,y,z,intensity*255",
    bottleneck=True,
    cylinder=True,
    notes=(CELLS,),
)
SPVNAS = UNetTarget(
    "SPVNAS's MinkUNet",
    scalr.NAMES,
    LAYOUTS["torchsparse"],
    _facts,
    stem=None,
    bottleneck=True,
    notes=(CELLS,),
)

_STATE_DICT = "state_dict"
_MMENGINE = "load_from = '{file}' in its config; its log must name keys of the head alone"


def _target(target: UNetTarget, title: str, key: str, loading: str, suffix: str = "py") -> Target:
    return Target(title, "lidar", target.export, suffix, lambda tensors: {key: tensors}, loading)


TARGETS: dict[str, Target] = {
    **{
        f"mmdet3d-{backend}": _target(
            target, f"mmdetection3d: MinkUNetBackbone on {backend}", _STATE_DICT, _MMENGINE
        )
        for backend, target in MMDET3D.items()
    },
    "pointcept": _target(
        POINTCEPT,
        "Pointcept: SpUNet-v1m1",
        _STATE_DICT,
        "weight = '{file}' in its config; the log must name `backbone.final` alone as missing",
    ),
    "slidr": _target(
        SLIDR,
        "SLidR: Res16UNet34C on MinkowskiEngine",
        "model_points",
        "--pretraining_path {file}; it says which layers it loaded, `final` is the head",
        "yaml",
    ),
    "superflow": _target(SUPERFLOW, "SuperFlow: MinkUNet on torchsparse", _STATE_DICT, _MMENGINE),
    "spvnas": _target(
        SPVNAS, "SPVNAS's names (ALSO, BEVContrast): MinkUNet on torchsparse", _STATE_DICT, "load_state_dict"
    ),
}
