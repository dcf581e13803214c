"""CenterPoint's head for OpenPCDet and mmdetection3d, which have the same maps under other names.

OpenPCDet's `CenterHead` (`dense_heads/center_head.py`) predicts cosine, then sine of the yaw; that of
mmdetection3d (`dense_heads/centerpoint_head.py`) sine, then cosine, as pc3d. Both read offsets in cells, the
height of the centre, logarithms of length, width, height, and velocities, as pc3d.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pc3d.models.heads.center_point import CenterHead

OPENPCDET = {
    "heatmap": "hm",
    "reg": "center",
    "height": "center_z",
    "dim": "dim",
    "rot": "rot",
    "vel": "vel",
}
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def openpcdet_head(head: CenterHead) -> dict[str, Tensor]:
    """The head by OpenPCDet's names, with zero biases before its norms, for `USE_BIAS_BEFORE_NORM`."""
    state = _state(head)
    found = _norm(state, "shared.1", "dense_head.shared_conv.1")
    found["dense_head.shared_conv.0.weight"] = state["shared.0.weight"]
    found["dense_head.shared_conv.0.bias"] = torch.zeros(len(state["shared.0.weight"]))
    for group, branch, hidden, norm in _branches(head, state):
        name = f"dense_head.heads_list.{group}.{OPENPCDET[branch]}"
        found |= {f"{name}.0.0.weight": hidden, f"{name}.0.0.bias": torch.zeros(len(hidden))}
        found |= {f"{name}.0.1.{leaf}": tensor for leaf, tensor in norm.items()}
        for leaf in ("weight", "bias"):
            tensor = state[f"branches.{group}.outputs.{branch}.{leaf}"]
            found[f"{name}.1.{leaf}"] = tensor.flip(0) if branch == "rot" else tensor
    return found


def mmdet3d_head(head: CenterHead, prefix: str) -> dict[str, Tensor]:
    """The head by mmdetection3d's names."""
    state, there = _state(head), f"{prefix}bbox_head"
    found = _norm(state, "shared.1", f"{there}.shared_conv.bn")
    found[f"{there}.shared_conv.conv.weight"] = state["shared.0.weight"]
    for group, branch, hidden, norm in _branches(head, state):
        name = f"{there}.task_heads.{group}.{branch}"
        found[f"{name}.0.conv.weight"] = hidden
        found |= {f"{name}.0.bn.{leaf}": tensor for leaf, tensor in norm.items()}
        found |= {
            f"{name}.1.{leaf}": state[f"branches.{group}.outputs.{branch}.{leaf}"]
            for leaf in ("weight", "bias")
        }
    return found


def class_names(head: CenterHead) -> list[list[str]]:
    """Names of the classes of each group."""
    return [[head.detection[label] for label in group] for group in head.groups]


def _state(head: CenterHead) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in head.state_dict().items()}


def _norm(state: dict[str, Tensor], ours: str, theirs: str) -> dict[str, Tensor]:
    return {f"{theirs}.{leaf}": state[f"{ours}.{leaf}"] for leaf in NORM}


def _branches(
    head: CenterHead, state: dict[str, Tensor]
) -> Iterator[tuple[int, str, Tensor, dict[str, Tensor]]]:
    """Group, branch, its first convolution and its norm: ours are one wide convolution of all branches."""
    for group, branches in enumerate(head.branches):
        names = list(branches.outputs)  # type: ignore[arg-type]
        wide = f"branches.{group}.hidden"
        parts = state[f"{wide}.0.weight"].chunk(len(names))
        norms = {leaf: state[f"{wide}.1.{leaf}"] for leaf in NORM}
        for i, name in enumerate(names):
            own = {leaf: t.chunk(len(names))[i] if t.ndim else t for leaf, t in norms.items()}
            yield group, name, parts[i].clone(), {leaf: t.clone() for leaf, t in own.items()}


def openpcdet_snippet(head: CenterHead, stride: int) -> str:
    """`DENSE_HEAD` of OpenPCDet, but for what only its training and suppression read."""
    groups = class_names(head)
    return f"""\
    DENSE_HEAD:
        NAME: CenterHead
        CLASS_AGNOSTIC: False
        CLASS_NAMES_EACH_HEAD: {groups}
        SHARED_CONV_CHANNEL: {_shared(head)}
        USE_BIAS_BEFORE_NORM: True
        NUM_HM_CONV: 2
        SEPARATE_HEAD_CFG:
            HEAD_ORDER: ['center', 'center_z', 'dim', 'rot', 'vel']
            HEAD_DICT: {{
                'center': {{'out_channels': 2, 'num_conv': 2}},
                'center_z': {{'out_channels': 1, 'num_conv': 2}},
                'dim': {{'out_channels': 3, 'num_conv': 2}},
                'rot': {{'out_channels': 2, 'num_conv': 2}},
                'vel': {{'out_channels': 2, 'num_conv': 2}},
            }}
        TARGET_ASSIGNER_CONFIG:
            FEATURE_MAP_STRIDE: {stride}
            NUM_MAX_OBJS: 500
            GAUSSIAN_OVERLAP: {head.min_overlap}
            MIN_RADIUS: {head.min_radius}
"""


def mmdet3d_snippet(head: CenterHead, prefix: str, in_channels: int, stride: int) -> str:
    """`bbox_head` of mmdetection3d, but for what only its training and suppression read."""
    tasks = [{"num_class": len(names), "class_names": names} for names in class_names(head)]
    return f"""\
    {prefix}bbox_head=dict(
        type='CenterHead',
        in_channels={in_channels},
        tasks={tasks},
        common_heads=dict(reg=(2, 2), height=(1, 2), dim=(3, 2), rot=(2, 2), vel=(2, 2)),
        share_conv_channel={_shared(head)},
        bbox_coder=dict(out_size_factor={stride}),  # and the rest of CenterPointBBoxCoder
        separate_head=dict(
            type='SeparateHead', init_bias=-2.19, final_kernel=3, head_conv={branch_width(head)}),
        norm_bbox=True),
"""


def _shared(head: CenterHead) -> int:
    return len(_state(head)["shared.0.weight"])


def branch_width(head: CenterHead) -> int:
    """Channels of a branch, which are all alike."""
    return len(next(_branches(head, _state(head)))[2])


def openpcdet_lacks(head: CenterHead) -> str | None:
    """Why OpenPCDet cannot have the head: its branches are as wide as the shared layer; None where it can."""
    wide, shared = branch_width(head), _shared(head)
    return (
        None if wide == shared else f"branches of {wide} channels, the target's have the {shared} shared ones"
    )
