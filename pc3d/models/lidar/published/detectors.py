"""What the detectors of OpenPCDet, mmdetection3d and BEVFusion have in common: SECOND and PointPillars.

Module names are tables from theirs to ours, without the prefix of the part that they stand in; exports read
the same tables backwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

FIRST = "levels.0.0.conv.weight"
PILLARS = "linear.weight"
REQUIRED = (*(f"levels.{i}.0.conv.weight" for i in range(4)), "flatten.conv.weight", "levels.0.0.norm.weight")
LEVELS = 4
MOST_CONVOLUTIONS = 64
"""Of a level of the 2D backbone."""


def openpcdet_sparse(blocks: str) -> dict[str, str]:
    """`VoxelBackBone8x` (plain) or `VoxelResBackBone8x` (residual) of OpenPCDet."""
    table = {"conv_input": "levels.0.0", "conv_out": "flatten"}
    for level in range(LEVELS):
        stage = f"conv{level + 1}"
        if blocks == "plain":
            first = 1 if level == 0 else 0
            table |= {f"{stage}.{i}": f"levels.{level}.{first + i}" for i in range(3 - first * 2)}
        elif level > 0:
            table[f"{stage}.0"] = f"levels.{level}.0"
    modules = _sequential(table)
    if blocks == "residual":
        for level in range(LEVELS):
            for block in (1, 2):
                theirs = f"conv{level + 1}.{block - 1 if level == 0 else block}"
                modules |= _basic_block(theirs, f"levels.{level}.{block}")
    return modules


def mmdet3d_sparse(blocks: str) -> dict[str, str]:
    """`SparseEncoder` of mmdetection3d, `conv_module` (plain) or `basicblock` (residual)."""
    table = {"conv_input": "levels.0.0", "conv_out": "flatten"}
    modules: dict[str, str] = {}
    for level in range(LEVELS):
        stage = f"encoder_layers.encoder_layer{level + 1}"
        if blocks == "plain":
            first = 1 if level == 0 else 0
            table |= {f"{stage}.{i}": f"levels.{level}.{first + i}" for i in range(3 - first * 2)}
            continue
        for block in (0, 1):
            modules |= _basic_block(f"{stage}.{block}", f"levels.{level}.{block + 1}")
        if level + 1 < LEVELS:  # the strided convolution ends the stage before
            table[f"{stage}.2"] = f"levels.{level + 1}.0"
    return modules | _sequential(table)


def _sequential(table: Mapping[str, str]) -> dict[str, str]:
    """Convolution and norm of `SparseSequential`s by their numbers."""
    return {
        f"{theirs}.{number}": f"{ours}.{part}"
        for theirs, ours in table.items()
        for number, part in enumerate(("conv", "norm"))
    }


def _basic_block(theirs: str, ours: str) -> dict[str, str]:
    return {
        f"{theirs}.{kind}{number}": f"{ours}.conv{number}.{part}"
        for number in (1, 2)
        for kind, part in (("conv", "conv"), ("bn", "norm"))
    }


def bev_backbone(levels: int, shift: int) -> dict[str, str]:
    """The 2D backbone, its modules numbered from `shift` on (1 behind OpenPCDet's padding layer)."""
    return {
        f"blocks.{i}.{j + shift}": f"backbone.levels.{i}.{j}"
        for i in range(levels)
        for j in range(MOST_CONVOLUTIONS)
    }


def bev_neck(levels: int) -> dict[str, str]:
    """The neck over the 2D backbone."""
    return {f"deblocks.{i}.{j}": f"backbone.necks.{i}.{j}" for i in range(levels) for j in (0, 1)}


def behind(prefix: str, table: Mapping[str, str]) -> dict[str, str]:
    """The table with `prefix` before the published names."""
    return {f"{prefix}{theirs}": ours for theirs, ours in table.items()}


def transposed_neck(name: str, tensor: Tensor, norm: Tensor | None, ambiguous_is_conv: bool) -> Tensor:
    """A neck's kernel of size 1 as the transposed convolution (in, out, 1, 1) that ours has at every level.

    Args:
        name: ours. tensor: of the file, a transposed convolution's or a convolution's (out, in, 1, 1).
        norm: weight of the norm behind it. ambiguous_is_conv: what a square one is.

    Raises:
        ValueError: a strided convolution, which brings a fine level down.
    """
    if not name.startswith("backbone.necks") or tensor.ndim != 4 or norm is None:
        return tensor
    out_first, out_second = len(tensor) == len(norm), tensor.shape[1] == len(norm)
    if tensor.shape[2:] == (1, 1):
        swap = ambiguous_is_conv if out_first and out_second else out_first
        return tensor.transpose(0, 1).contiguous() if swap else tensor
    if out_first and not out_second:
        level = name.split(".")[2]
        raise ValueError(
            f"level {level} of the neck is brought down by a strided convolution {tuple(tensor.shape)} "
            "(an upsampling stride below 1), which no neck of pc3d has"
        )
    return tensor


def sparse_architecture(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments of `SECOND`, read from shapes by our names; its blocks from the names."""
    *widths, height = (len(tensors[name]) for name in REQUIRED[:5])
    return {
        "widths": widths,
        "height_channels": height,
        "in_channels": tensors[FIRST].shape[-1],
        "blocks": "residual" if "levels.0.1.conv1.conv.weight" in tensors else "plain",
        "norm_eps": 1e-3,
    }


def bev_architecture(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the 2D backbone, read from shapes by our names; none where the file has no backbone."""
    maps = {name: t for name, t in tensors.items() if t.ndim == 4 and name.startswith("backbone.")}
    flat = {tuple(name.split(".")[1:4]): t for name, t in maps.items()}
    if not flat:
        return {}
    levels = sorted({level for part, level, _ in flat if part == "levels"})
    convs = [
        {int(n): t for (part, i, n), t in flat.items() if (part, i) == ("levels", level)} for level in levels
    ]
    return {
        "bev_widths": [len(level[max(level)]) for level in convs],
        "bev_layers": [max(level) // 3 for level in convs],  # convolution, norm, ReLU each
        "bev_channels": sum(t.shape[1] for (part, _, _), t in flat.items() if part == "necks"),
    }


def require(tensors: Mapping[str, Tensor], names: Sequence[str]) -> None:
    """
    Raises:
        ValueError: a tensor of `names` is absent.
    """
    if absent := [name for name in names if name not in tensors]:
        raise ValueError(f"the checkpoint lacks (by our names) {', '.join(absent)}")
