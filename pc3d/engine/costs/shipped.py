"""The counted costs of the shipped configs, a file beside them, and how a cost is said in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pc3d.engine.costs.step import Part, StepCost, cost_from_json
from pc3d.engine.settings.shipped import shipped_folder
from pc3d.storage.whole import read_json, write_json

FILE = "costs.json"
"""Of the shipped folder: what a step of each config costs, by stage, and on which frames it was counted."""


def read_costs(path: Path | None = None) -> tuple[str, dict[str, dict[str, StepCost]]]:
    """How the costs were counted, and the costs by config and stage.

    Args:
        path: a file of `write_costs`, None for that of the shipped configs.
    """
    read = read_json(shipped_folder() / FILE if path is None else path)
    costs = {
        name: {stage: cost_from_json(row) for stage, row in stages.items()}
        for name, stages in read["costs"].items()
    }
    return read["how"], costs


def write_costs(path: Path, name: str, found: Mapping[str, StepCost], how: str) -> None:
    """Put the costs of a config into a file of costs, beside those that it holds.

    Args:
        how: on which frames they were counted, for a new file; one that is there says it already.
    """
    before: dict[str, Any] = read_json(path) if path.exists() else {"how": how, "costs": {}}
    before["costs"][name] = {stage: cost.as_json() for stage, cost in found.items()}
    write_json(path, {"how": before["how"], "costs": dict(sorted(before["costs"].items()))})


def cost_lines(costs: Mapping[str, StepCost]) -> list[str]:
    """Costs of a config as lines of text: parameters, FLOPs and memory, of each stage."""
    lines = []
    for stage, cost in costs.items():
        of = f"{stage}, " if stage else ""
        parts = {name: part for name, part in cost.parts.items() if part.parameters}
        lines += [
            f"{of}parameters: {', '.join(_parameters(name, part) for name, part in parts.items())}",
            f"{of}FLOPs of a step of {cost.samples} samples: {cost.flops / 1e12:.3g} T "
            f"({', '.join(_flops(name, part) for name, part in cost.parts.items())})",
            f"{of}memory of a step, at least: {cost.memory / 1e9:.2f} GB in float32 (kept for the backward "
            f"pass {cost.saved / 1e9:.2f}, weights and optimizer {cost.state / 1e9:.2f}, "
            f"batch {cost.batch / 1e9:.2f})",
        ]
    return lines


def _parameters(name: str, part: Part) -> str:
    frozen = part.parameters - part.trained
    text = f"{name} {part.parameters / 1e6:.2f} M"
    if not frozen:
        return text
    return f"{text} (no gradient)" if not part.trained else f"{text} ({frozen / 1e6:.2f} M frozen)"


def _flops(name: str, part: Part) -> str:
    return f"{name} {(part.forward + part.backward) / 1e12:.3g}"


def schedule_samples(schedule: Mapping[str, Any], frames: int, samples: int) -> int:
    """Samples that a schedule reads.

    Args:
        schedule: the section of a config: `iterations`, or `epochs`.
        frames: of a pass over the data.
        samples: of a step, all processes together.
    """
    if "iterations" in schedule:
        return int(schedule["iterations"]) * samples
    return int(schedule["epochs"]) * max(frames // samples, 1) * samples


def hours_of(samples: int, samples_a_second: float) -> float:
    """Hours that so many samples take.

    Raises:
        ValueError: no throughput.
    """
    if not samples_a_second > 0:
        raise ValueError(f"{samples_a_second:g} samples a second: expected more than 0")
    return samples / samples_a_second / 3600
