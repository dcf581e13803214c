"""Configs small enough for a test."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from pc3d.engine.config import load_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
NARROW: dict[str, Any] = {
    "lidar.widths": (4, 4, 8, 8, 8, 8, 8, 8),
    "lidar.stem": 4,
    "lidar.voxel_size": (0.5, 0.5, 0.5),
    "lidar.bev_channels": 8,
    "data.batch_size": 2,
    "data.workers": 0,
    "runtime.log_every": 1,
    "runtime.log_level": "WARNING",
}
BEV: dict[str, Any] = {
    "lidar.pillar_channels": 4,
    "lidar.bev_widths": (4, 4),
    "lidar.bev_layers": (1, 1),
    "lidar.bev_channels": 8,
    "image.channels": 8,
    "image.backbone.pretrained": False,
    "camera.bev_channels": 8,
    "data.image_size": (64, 128),
}
"""Narrow parts of the configs with a bird's-eye-view map of the cameras; use with `narrow=False`."""

BACKBONES: dict[str, dict[str, Any]] = {
    "dinov2": {
        "model_type": "dinov2",
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    },
    "resnet": {
        "model_type": "resnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 8, 16, 16],
        "depths": [1, 1, 1, 1],
    },
    "swin": {"model_type": "swin", "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]},
}
"""Small image backbones of the same kinds, by a part of the name that a config gives."""

VARIANTS = {
    "sim_fac_objects": "sim_fac",
    "sim_prc_objects": "sim_prc",
    "sim_slidr_no_occlusion": "sim_slidr",
    "sim_slidr_oracle": "sim_slidr",
    "sim_slidr_random_teacher": "sim_slidr",
    "sim_superflowpp_oracle": "sim_superflowpp",
}
"""Systems with the objectives of another one, on other regions or weights."""


def marked(systems: Iterable[str]) -> list[Any]:
    """Systems as parameters of a test that trains: the quick tests leave the variants out."""
    found = list(systems)
    later = {name for name in found if VARIANTS.get(name) in found}
    return [pytest.param(name, marks=pytest.mark.long) if name in later else name for name in found]


def pretrain_config(
    index: Path, regions: Path, iterations: int, name: str = "demo_joint", narrow: bool = True, **more: Any
) -> Config:
    small = {k: v for k, v in NARROW.items() if narrow or not k.startswith("lidar.")}
    data = {"data.index": str(index), "data.regions": str(regions), "schedule.iterations": iterations}
    return load_config(CONFIGS / f"pretrain/{name}.py", "pretrain", {**small, **data, **more})


def read_metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def finetune_config(index: Path, iterations: int, name: str = "sim_5_percent", **more: Any) -> Config:
    settings = {**NARROW, "data.index": str(index), "schedule.iterations": iterations, **more}
    return load_config(CONFIGS / f"finetune/{name}.py", "finetune", settings)
