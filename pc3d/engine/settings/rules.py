"""What a type cannot say of a setting: its range, its choices, its length. By name, whatever reads it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from pc3d.data.frame_types import MAX_SWEEPS
from pc3d.data.sweeps import FEATURES as COLUMNS
from pc3d.data.sweeps import STATISTICS, TIME
from pc3d.models.heads.segmentation import POINT_HEADS
from pc3d.models.image.efficientnet import CHANNELS
from pc3d.models.lidar.inputs import DEFAULT_SIZES, VOXEL_FEATURES
from pc3d.models.lidar.minkunet import LAYERS, WIDENED_BY
from pc3d.models.lidar.second import BLOCKS, HEIGHT_LAYOUTS, POINT_SOURCES
from pc3d.objectives.bev_distill import DISTANCES
from pc3d.objectives.groups import IDS
from pc3d.objectives.rad import TEACHER_HEADS
from pc3d.objectives.segments import SEGMENTS
from pc3d.objectives.superflow import D2S_FORMS

FEATURES = (*COLUMNS, TIME, STATISTICS)


@dataclass(frozen=True)
class Rule:
    """A range.

    Attributes:
        text: what is expected, after the type.
        holds: of a value, or of each item of a list.
        whole: whether it is of the list instead.
        length: of the list.
        alone: whether the text says the type, too.
    """

    text: str
    holds: Callable[[Any], bool]
    whole: bool = False
    length: int | None = None
    alone: bool = False

    def broken_by(self, value: Any) -> bool:
        """Whether a value of the right type breaks it."""
        if self.length is not None and isinstance(value, list | tuple) and len(value) != self.length:
            return True
        listed = isinstance(value, list | tuple)
        items = [value] if listed == self.whole else list(value) if listed else []
        try:
            return not all(self.holds(item) for item in items if item is not None)
        except TypeError:  # another setting of that name, of another type
            return False


def _choice(names: Collection[Any], more: str = "") -> Rule:
    return Rule(f"one of {', '.join(map(repr, names))}{more}", lambda value: value in names, alone=True)


def _ascending(value: Sequence[float]) -> bool:
    return value[0] <= value[1]


def _is_box(value: Sequence[float]) -> bool:
    return all(low < high for low, high in zip(value[:3], value[3:], strict=True))


_POSITIVE = Rule("> 0", lambda value: value > 0)
_AT_LEAST_0 = Rule(">= 0", lambda value: value >= 0)
_AT_LEAST_1 = Rule(">= 1", lambda value: value >= 1)
_SHARE = Rule("from 0 to 1", lambda value: 0 <= value <= 1)
_BELOW_1 = Rule("from 0 to below 1", lambda value: 0 <= value < 1)
_RANGE = Rule("(low, high)", _ascending, whole=True, length=2)
_POSITIVE_RANGE = Rule("(low, high) above 0", lambda value: 0 < value[0] <= value[1], whole=True, length=2)
_BOX = Rule("(x_min, y_min, z_min, x_max, y_max, z_max)", _is_box, whole=True, length=6)


_LEVELS = _choice(tuple(CHANNELS))


def _names(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RULES: dict[str, Rule] = {
    **_names(
        _POSITIVE,
        "lr eps clip_norm head_lr_scale temperature epsilon norm_eps voxel_height radius save_minutes "
        "min_depth",
    ),
    **_names(
        _AT_LEAST_0,
        "workers gradients_every weight weight_decay dense_sweeps columns smooth geo fea spatial d2s "
        "temporal cross assignment lovasz_weight box_weight class_weight heatmap_weight code_weights "
        "centre_weight iou_weight gamma min_radius num_background num_background_points "
        "ego_x ego_y cuboid_min_pairs min_pairs scene_weight",
    ),
    **_names(
        _AT_LEAST_1,
        "iterations epochs batch_size repeat cameras image_size log_every save_every keep_checkpoints "
        "non_finite_patience in_channels widths stem stem_kernels bev_channels pillar_channels stride "
        "bev_widths bev_layers height_channels channels levels downsample fused_channels layers "
        "shared_channels head_channels queries heads feedforward hidden num_classes num_anchors matches "
        "num_region_points num_pairs num_points num_proposals num_neighbours candidates num_prototypes "
        "rounds dim pixel_stride output_stride max_points top_k max_kept peak_window tries tall",
    ),
    **_names(
        _SHARE,
        "image_flip flip cuboid min_share momentum norm_momentum dampening alpha probability min_overlap "
        "iou_threshold",
    ),
    **_names(_BELOW_1, "warmup dropout score_threshold betas bad_samples"),
    **_names(_RANGE, "rotation z_range"),
    **_names(_POSITIVE_RANGE, "scale ratio"),
    **_names(_BOX, "point_range centre_range"),
    "crop": Rule("above 0 to 1", lambda value: 0 < value <= 1),
    "pairing.window": Rule("above 0 to below 0.5", lambda value: 0 < value < 0.5),
    "pairing.tolerance": Rule("above 0 to below 1", lambda value: 0 < value < 1),
    "fraction": Rule("in percent, above 0 to 100", lambda value: 0 < value <= 100),
    "fraction_draw": _AT_LEAST_0,
    "sweeps": Rule(f"from 1 to {MAX_SWEEPS}", lambda value: 1 <= value <= MAX_SWEEPS),
    "seed": Rule("from 0 to 4294967295", lambda value: 0 <= value < 2**32),
    "voxel_size": Rule("> 0", lambda value: value > 0, length=3),
    "column_scales": Rule("other than 0", lambda value: value != 0),
    "features": Rule(
        f"of {', '.join(map(repr, FEATURES))}, each once",
        lambda value: set(value) <= set(FEATURES) and len(set(value)) == len(value),
        whole=True,
    ),
    "image.levels": _LEVELS,
    "backbone.levels": _LEVELS,
    "lidar.depth": _choice(tuple(LAYERS)),
    "lidar.voxel": _choice(tuple(DEFAULT_SIZES)),
    "voxel_feature": _choice(VOXEL_FEATURES),
    "point_source": _choice(POINT_SOURCES),
    "blocks": _choice(BLOCKS),
    "height_layout": _choice(tuple(HEIGHT_LAYOUTS)),
    "widen": _choice(WIDENED_BY),
    "distance": _choice(DISTANCES),
    "objectives.segments": _choice(tuple(SEGMENTS)),
    "ids": _choice(IDS),
    "teacher_head": _choice(TEACHER_HEADS),
    "d2s_form": _choice(D2S_FORMS),
    "objectives.layers": Rule("other than 0", lambda value: value != 0),
    "head.head": _choice(POINT_HEADS, " or module:Class"),
}
"""By name, or by section and name where one name has two meanings (`objectives.NAME` is of every objective).
What is checked together (the edges of a grid, the window of the pairs) is checked by the dataclass that it
makes."""


def rule_of(path: Sequence[str]) -> Rule | None:
    """The rule of a setting, by its dotted key in parts; the settings of `init` are places of weights."""
    if "init" in path[:-1]:
        return None
    in_objective = RULES.get(f"objectives.{path[-1]}") if path[0] == "objectives" else None
    return in_objective or RULES.get(".".join(path[-2:])) or RULES.get(path[-1])
