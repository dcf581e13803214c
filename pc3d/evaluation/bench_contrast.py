"""Time of a contrast with each of its parts, forward and backward, beside plain InfoNCE in the same turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.contrast.build import build_contrast
from pc3d.contrast.comparison import FACTS
from pc3d.contrast.contrast import Contrast
from pc3d.contrast.queue import FeatureQueue
from pc3d.contrast.registry import LISTS, SLOTS
from pc3d.evaluation.turns import in_turns

PLAIN = "InfoNCE, nothing set"
CLASSES = 10
ARGUMENTS: Mapping[str, Mapping[str, Any]] = {"Gated": {"classes": CLASSES}}
"""Arguments of the parts that have no defaults for all of theirs."""


def run(rows: int = 2048, dim: int = 64, turns: int = 5) -> list[dict[str, Any]]:
    """Measure every part by itself with its defaults; what has a queue is measured with it full.

    Args:
        rows: N of each side. dim: of the features. turns: of which the median is given.

    Returns:
        A row for each: `part`, `seconds` of a forward and a backward pass on one thread, `ratio` to plain.

    Raises:
        ValueError: fewer than 2 rows, or no turn.
    """
    if rows < 2 or turns < 1:
        raise ValueError(f"rows {rows} and turns {turns}: expected at least 2 and 1")
    sides = [_unit(rows, dim, seed) for seed in (0, 1)]
    facts = _facts(rows)
    contrasts = {PLAIN: build_contrast(None, 0.07, dim)}
    for slot, registry in SLOTS.items():
        for name in sorted(registry):
            config = {"type": name, **ARGUMENTS.get(name, {})}
            settings = {slot: [config] if slot in LISTS else config}
            contrasts[f"{slot}: {name}"] = build_contrast(settings, 0.07, dim, tuple(FACTS))
    for contrast in contrasts.values():
        _fill(contrast, sides, facts)
    actions: dict[str, Callable[[], object]] = {
        name: partial(_step, contrast, sides, facts) for name, contrast in contrasts.items()
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = {n: statistics.median(s) for n, s in in_turns(actions, turns, time.process_time).items()}
    finally:
        torch.set_num_threads(threads)
    plain = seconds[PLAIN]
    return [{"part": name, "seconds": value, "ratio": value / plain} for name, value in seconds.items()]


def _step(contrast: Contrast, sides: list[Tensor], facts: dict[str, Tensor]) -> None:
    a, b = (side.clone().requires_grad_() for side in sides)
    contrast.pair(a, b, torch.Generator().manual_seed(0), facts=facts).backward()


def _fill(contrast: Contrast, sides: list[Tensor], facts: dict[str, Tensor]) -> None:
    """Show the contrast rows until its queues are full; they are noise, which no timing feels."""
    queues = [module for module in contrast.modules() if isinstance(module, FeatureQueue)]
    seed = 2
    while not all(queue.full for queue in queues):
        contrast.look(sides[0], _unit(len(sides[1]), sides[1].shape[1], seed), facts, facts)
        for part in contrast.parts():
            part.commit()
        seed += 1


def _unit(rows: int, dim: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def _facts(rows: int) -> dict[str, Tensor]:
    place = torch.arange(rows)
    numbers = torch.Generator().manual_seed(0)
    return {
        "sample": place % 4,
        "ids": place,
        "xyz": torch.randn(rows, 3, generator=numbers) * 20,
        "time": (place % 3).float() / 2,
        "labels": torch.randint(0, CLASSES, (rows,), generator=numbers),
    }
