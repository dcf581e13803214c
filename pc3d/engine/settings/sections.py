"""The sections of a config, from what they are the arguments of; only what has no signature is listed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pc3d.data.dataset import FrameConfig
from pc3d.data.sampler_settings import SAMPLERS
from pc3d.data.transforms import PointAugmentation
from pc3d.engine.data import FRAME_KEYS, NESTED_KEYS, LoaderSettings, SourceSettings
from pc3d.engine.optimization import OPTIMIZERS, SCHEDULES
from pc3d.engine.precision import PRECISIONS, PRODUCTS
from pc3d.engine.settings.expected import (
    Arguments,
    Field,
    Group,
    ListOf,
    Named,
    OneOf,
    Section,
    arguments,
)
from pc3d.engine.settings.options import expected_at
from pc3d.models.bev import VIEW_TRANSFORMS
from pc3d.models.bev.network import BevNetwork
from pc3d.models.bev_models import DETECTION_HEADS
from pc3d.models.heads.center_decode import CenterDecoder
from pc3d.models.heads.map_segmentation import MapHead
from pc3d.models.heads.segmentation import PointSegmenter
from pc3d.models.heads.transfusion_matching import MatchingCost
from pc3d.models.image import IMAGE_ENCODERS
from pc3d.models.lidar import LIDAR_ENCODERS
from pc3d.objectives.registry import OBJECTIVES

PARTS = ("lidar", "image", "camera")
TASKS = ("lidarseg", "detection", "map")
FROZEN = tuple[Literal["lidar", "image", "camera"], ...]
GIVEN = frozenset({"lidar", "image", "camera", "encoder", "params"})
"""Arguments that the engine gives: encoders to what stands on them, weights to the optimizer."""
OF_HEAD = frozenset({"in_channels", "grid", "bev_grid"})
"""Arguments that the network gives to the head on its map."""

LIDAR = OneOf(LIDAR_ENCODERS)
IMAGE = OneOf(IMAGE_ENCODERS, nested={"backbone": OneOf(IMAGE_ENCODERS)})
CAMERA = OneOf(VIEW_TRANSFORMS, given=GIVEN)
OBJECTIVE = OneOf(OBJECTIVES, given=GIVEN, more={"weight": Field(float)})
OPTIMIZER = OneOf(
    OPTIMIZERS,
    default="AdamW",
    given=GIVEN,
    more={
        "lr": Field(float, required=True),
        "clip_norm": Field((float, None)),
        "head_lr_scale": Field(float),
    },
)
SCHEDULE = Group(
    {
        "kind": Field(Literal[SCHEDULES]),
        "warmup": Field(float),
        "iterations": Field(int),
        "epochs": Field(int),
    }
)
RUNTIME = Group(
    {
        "precision": Field(Literal[PRECISIONS]),
        "matmul_precision": Field(Literal[PRODUCTS]),
        "teacher_precision": Field(Literal["float32", "bfloat16"]),
        "sparse_precision": Field(Literal["float32", "float16"]),
        "cudnn_benchmark": Field(bool),
        "accumulate": Field(int),
        "ema": Field((float, None)),
        "recompute_activations": Field(bool),
        "compile": Field(bool),
        "triton": Field(bool),
        "sync_batch_norm": Field(bool),
        "log_every": Field(int),
        "log_level": Field(Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]),
        "save_every": Field(int),
        "save_minutes": Field(float),
        "keep_checkpoints": Field(int),
        "non_finite_patience": Field(int),
        "gradients_every": Field(int),
    }
)
INIT = {
    "run": Field((Path, None)),
    "partial": Field(bool),
    "random": Field(bool),
    **{name: Field((Path, None)) for name in PARTS},
}
PRETRAIN_INIT = Group({**INIT, "stage": Field((str, None)), "heads": Field(Mapping[str, str])})
FINETUNE_INIT = Group({**INIT, "checkpoint": Field((Path, None))})

_source = {name: Field(f.expected) for name, f in arguments(SourceSettings).items()}
_frame = {
    **{key: Field(arguments(FrameConfig)[name].expected) for key, name in FRAME_KEYS.items()},
    **{key: Field((arguments(FrameConfig)[key].expected, None)) for key in NESTED_KEYS},
    "augmentation": Field((PointAugmentation, ListOf(Arguments(PointAugmentation)))),
}
_loader = {**arguments(LoaderSettings), "sampler": Field((OneOf(SAMPLERS), None))}
DATA = Group({**_source, **_frame, **_loader, "sources": Field(ListOf(Group(_source)))})

_SHARED = {
    "data": Field(DATA, required=True),
    "lidar": Field((LIDAR, None)),
    "image": Field((IMAGE, None)),
    "camera": Field((CAMERA, None)),
    "optimizer": Field(OPTIMIZER, required=True),
    "schedule": Field(SCHEDULE, required=True),
    "runtime": Field(RUNTIME),
    "seed": Field(int),
    "work_dir": Field(Path),
    "launcher": Field(Literal["none", "pytorch", "slurm"]),
}


def lidar_setting(key: str) -> Any:
    """What is expected at a dotted key of some LiDAR encoder, None where none has it."""
    found = (expected_at(LIDAR, {"type": name}, key.split(".")) for name in LIDAR_ENCODERS)
    return next((expected for expected in found if expected is not None), None)


def _head(task: str) -> Any:
    """What the section `head` of a task is; anything where the task is not known."""
    if task not in TASKS:
        return Any
    if task == "detection":
        nested = {"decoding": CenterDecoder, "matching": MatchingCost}
        return OneOf(
            DETECTION_HEADS, "CenterHead", OF_HEAD, {name: (kind, None) for name, kind in nested.items()}
        )
    if task == "map":
        # On the grid that the masks are loaded on, unless it says another one.
        return Arguments(MapHead, OF_HEAD, more={"map_grid": Field(arguments(MapHead)["map_grid"].expected)})
    return Arguments(PointSegmenter, GIVEN, more={"num_classes": Field(int)})


class Pretrain(Section):
    """A pretraining config, or one stage of it with what all share."""

    def fields(self, settings: Mapping[str, Any]) -> dict[str, Field]:
        return {
            **_SHARED,
            "lidar": Field(LIDAR, required=True),
            "objectives": Field(Named(OBJECTIVE), required=True),
            "shared_heads": Field(Mapping[str, str]),
            "init": Field((PRETRAIN_INIT, None)),
            "frozen": Field(FROZEN),
            "expected_losses": Field(tuple[float, ...]),
            "stages": Field((ListOf(Group({})), None)),
        }


class Finetune(Section):
    """A fine-tuning config."""

    def fields(self, settings: Mapping[str, Any]) -> dict[str, Field]:
        task = str(settings.get("task", TASKS[0]))
        return {
            **_SHARED,
            "lidar": Field((LIDAR, None), required=settings.get("image") is None),
            "task": Field(Literal[TASKS]),
            "network": Field((Arguments(BevNetwork, GIVEN), None)),
            "init": Field((FINETUNE_INIT, None)),
            "head": Field((_head(task), None)),
        }


KINDS: dict[str, Section] = {"pretrain": Pretrain(), "finetune": Finetune()}
"""The configs of `pc3d pretrain` and of `pc3d finetune`."""

ONLY_IN = {"pretrain": ("objectives", "stages"), "finetune": ("task", "head", "network")}
"""Sections that tell them apart."""
