"""What the memory layout of the convolutions and bfloat16 save of a detector's training step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from pc3d.data.batch import Batch
from pc3d.data.collate import collate
from pc3d.engine.allocator import keep_freed_memory
from pc3d.engine.config import load_config, plain
from pc3d.engine.data import build_dataset
from pc3d.engine.finetuner import build_bev
from pc3d.engine.optimization import use_channels_last
from pc3d.engine.precision import keep_linear_float32
from pc3d.evaluation.bench_step import device_name, take_turns
from pc3d.models.bev_models import BevModel


def run(config: Path, overrides: Mapping[str, Any], repeats: int = 3, device: str = "cpu") -> dict[str, Any]:
    """Time forward and backward of one batch in torch's default layout, as training does it, and in bfloat16.

    Args:
        config: fine-tuning config of a BEV model. overrides: settings over it.
        repeats: turns, of which the median is given.
        device: `cpu` or `cuda`.

    Returns:
        Seconds of each, and each as a share of the default's.
    """
    if device == "cpu":
        keep_freed_memory()  # as training does
    settings = load_config(config, "finetune", dict(overrides))
    model = build_bev(settings).to(device).train()
    dataset = build_dataset(plain(settings.data), model.needs, settings.get("seed", 0))
    batch = collate([dataset[0, position] for position in range(settings.data.batch_size)]).to(device)
    faster = copy.deepcopy(model)
    use_channels_last(faster)
    lighter = copy.deepcopy(faster)
    if device == "cpu":
        keep_linear_float32(lighter)
    seconds = take_turns(
        {
            "default layout": _step(model, batch, device, bfloat16=False),
            "channels last (training)": _step(faster, batch, device, bfloat16=False),
            "channels last, bfloat16": _step(lighter, batch, device, bfloat16=True),
        },
        repeats,
        device,
    )
    slowest = seconds["default layout"]
    return {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "of the default": {name: value / slowest for name, value in seconds.items()},
    }


def _step(model: BevModel, batch: Batch, device: str, bfloat16: bool) -> Callable[[], None]:
    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            losses = model.loss(batch)
        torch.stack(list(losses.values())).sum().backward()
        model.zero_grad()

    return step
