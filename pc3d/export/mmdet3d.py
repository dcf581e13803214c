"""mmdetection3d: `SparseEncoder` or `DynamicPillarFeatureNet`, `SECOND` and `SECONDFPN`.

Names and shapes follow its source as of commit fe25f7a (1.4.0), `published/mmdet3d.py` has them. Sparse
kernels have the layout of spconv 1.x: without the metadata of a spconv 2 module, mmdetection3d takes every
kernel for one of those and permutes it.
"""

from __future__ import annotations

from torch import Tensor

from pc3d.data.errors import did_you_mean
from pc3d.export.base import Exported, Options, Source, Target
from pc3d.export.detectors import Detector, detector, renamed
from pc3d.export.heads import mmdet3d_head, mmdet3d_snippet
from pc3d.models.lidar.published import mmdet3d as published
from pc3d.models.lidar.published.detectors import behind, bev_backbone, bev_neck, mmdet3d_sparse
from pc3d.models.lidar.published.kernels import to_spconv_1
from pc3d.models.lidar.second import SECOND

NAME = "mmdetection3d"
DYNAMIC_PFN = {"pfn_layers.0.0": "linear", "pfn_layers.0.1": "norm"}
BLOCKS = {"plain": "conv_module", "residual": "basicblock"}


def export(source: Source, options: Options) -> Exported:
    """SECOND or PointPillars by mmdetection3d's names.

    Raises:
        DataError: its networks cannot be equal, and why.
        ValueError: an unknown style.
    """
    found = detector(source, options, NAME)
    blocks = found.encoder.blocks if isinstance(found.encoder, SECOND) else "plain"
    style = options.style or ("centerpoint" if blocks == "residual" else "voxelnet")
    if style not in published.STYLES:
        near, known = did_you_mean(style, published.STYLES), ", ".join(published.STYLES)
        raise ValueError(f"unknown style {style!r}{near}; known: {known}")
    prefix = published.STYLES[style]
    table = {
        **behind(f"{prefix}backbone.", bev_backbone(published.MOST_LEVELS, shift=0)),
        **behind(f"{prefix}neck.", bev_neck(published.MOST_LEVELS)),
    }
    if isinstance(found.encoder, SECOND):
        table |= behind(f"{prefix}middle_encoder.", mmdet3d_sparse(blocks))
    else:
        table |= behind(f"{prefix}voxel_encoder.", DYNAMIC_PFN)
    conv_neck = published.square_neck_is_conv(blocks)
    tensors = {n: _laid_out(n, t, conv_neck) for n, t in renamed(found.state, table).items()}
    part = _second(found, prefix) if isinstance(found.encoder, SECOND) else _pillars(found, prefix)
    head = ""
    if found.head is not None:
        tensors |= mmdet3d_head(found.head, prefix)
        head = mmdet3d_snippet(found.head, prefix, sum(found.bev["necks"]), found.map_stride)
    snippet = f"model = dict(\n{part}{_bev(found, prefix, conv_neck)}{head})\n"
    return Exported(tensors, snippet, found.left_out, (*found.notes, *_conditions(found)))


def _laid_out(name: str, tensor: Tensor, conv_neck: bool) -> Tensor:
    if tensor.ndim == 5:
        return to_spconv_1(tensor)
    if conv_neck and ".deblocks." in f".{name}" and tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
        return tensor.transpose(0, 1).contiguous()
    return tensor


def _conditions(found: Detector) -> tuple[str, ...]:
    if isinstance(found.encoder, SECOND):
        return (
            "Equal for equal voxels: DynamicSimpleVFE takes the mean of all points of a voxel, as pc3d does; "
            "HardSimpleVFE stops at max_num_points. Coordinates are z, y, x, not those of its BEVFusion "
            "project.",
        )
    return (
        "Equal with legacy=False; PillarFeatureNet pads pillars with empty points, and legacy=True "
        "overwrites x and y: other functions.",
    )


def _voxels(found: Detector, size: list[float]) -> str:
    return f"""\
    data_preprocessor=dict(
        type='Det3DDataPreprocessor',
        voxel=True,
        voxel_type='dynamic',
        voxel_layer=dict(
            max_num_points=-1,
            point_cloud_range={found.point_range},
            voxel_size={size},
            max_voxels=(-1, -1))),
"""


def _second(found: Detector, prefix: str) -> str:
    assert isinstance(found.encoder, SECOND)
    z, y, x = found.cells
    c0, c1, c2, c3 = found.widths
    if found.encoder.blocks == "residual":
        channels = f"(({c0}, {c0}, {c1}), ({c1}, {c1}, {c2}), ({c2}, {c2}, {c3}), ({c3}, {c3}))"
        paddings = "((0, 0, 1), (0, 0, 1), (0, 0, [0, 1, 1]), (0, 0))"
    else:
        channels = f"(({c0}, ), ({c1}, {c1}, {c1}), ({c2}, {c2}, {c2}), ({c3}, {c3}, {c3}))"
        paddings = "((1, ), (1, 1, 1), (1, 1, 1), ((0, 1, 1), 1, 1))"
    return f"""\
{_voxels(found, found.voxel_size)}\
    {prefix}voxel_encoder=dict(
        type='DynamicSimpleVFE',
        voxel_size={found.voxel_size},
        point_cloud_range={found.point_range}),
    {prefix}middle_encoder=dict(
        type='SparseEncoder',
        in_channels={len(found.points.names)},
        sparse_shape=[{z + 1}, {y}, {x}],
        base_channels={c0},
        output_channels={found.sparse_out},
        order=('conv', 'norm', 'act'),
        encoder_channels={channels},
        encoder_paddings={paddings},
        block_type='{BLOCKS[found.encoder.blocks]}'),
"""


def _pillars(found: Detector, prefix: str) -> str:
    _, rows, cols = found.cells
    return f"""\
{_voxels(found, found.voxel_size)}\
    {prefix}voxel_encoder=dict(
        type='DynamicPillarFeatureNet',
        in_channels={len(found.points.names)},
        feat_channels=[{found.sparse_out}],
        with_distance=False,
        with_cluster_center=True,
        with_voxel_center=True,
        voxel_size={found.voxel_size},
        point_cloud_range={found.point_range},
        legacy=False),
    {prefix}middle_encoder=dict(
        type='PointPillarsScatter',
        in_channels={found.sparse_out},
        output_shape=[{rows}, {cols}]),
"""


def _bev(found: Detector, prefix: str, conv_neck: bool) -> str:
    bev = found.bev
    return f"""\
    {prefix}backbone=dict(
        type='SECOND',
        in_channels={found.sparse_out * found.flat_layers},
        out_channels={bev["widths"]},
        layer_nums={bev["layers"]},
        layer_strides={bev["strides"]},
        norm_cfg=dict(type='BN', eps=1e-3, momentum=0.01),
        conv_cfg=dict(type='Conv2d', bias=False)),
    {prefix}neck=dict(
        type='SECONDFPN',
        in_channels={bev["widths"]},
        out_channels={bev["necks"]},
        upsample_strides={bev["up"]},
        norm_cfg=dict(type='BN', eps=1e-3, momentum=0.01),
        upsample_cfg=dict(type='deconv', bias=False),
        use_conv_for_no_stride={conv_neck}),
"""


TARGET = Target(
    title="mmdetection3d: SparseEncoder or DynamicPillarFeatureNet, SECOND, SECONDFPN",
    part="lidar",
    export=export,
    suffix="py",
    wrap=lambda tensors: {"state_dict": tensors, "meta": {}},
    loading=(
        "load_from = '{file}' in its config; mmengine only warns of what does not fit: its log must name "
        "keys of the head alone"
    ),
)
