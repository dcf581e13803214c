"""The tables of docs/costs.md, from the counted costs of the shipped configs.

python -m pc3d.engine.costs.table
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mmengine.config import Config

from pc3d.engine.costs.shipped import hours_of, read_costs, schedule_samples
from pc3d.engine.costs.step import StepCost
from pc3d.engine.settings.files import cleaned, read_files
from pc3d.engine.settings.shipped import shipped_configs, shipped_folder
from pc3d.storage.whole import read_json

NUSCENES_FRAMES = 28_130
"""Key frames of nuScenes' 700 training scenes."""
ASSUMED = 10e12
"""FLOPs a second of one GPU, of which the hours are an estimate: not measured."""


def step_table(costs: Mapping[str, Mapping[str, StepCost]]) -> list[str]:
    """Parameters, FLOPs, memory and throughput of each config, a line of Markdown each."""
    seconds = read_json(shipped_folder() / "step_seconds.json")["seconds"]
    lines = [
        "| config | samples x points | parameters, M (no gradient) | TFLOPs of a step | "
        "of which LiDAR; images | GB, at least | samples a second: CPU; GPU |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, stage, cost in _rows(costs):
        all_of = sum(part.parameters for part in cost.parts.values())
        trained = sum(part.trained for part in cost.parts.values())
        lidar = _flops(cost, "LiDAR encoder", "momentum copy")
        images = _flops(cost, "image network", "cameras to BEV")
        measured = seconds.get(name, {}).get(stage)
        cpu = f"{cost.samples / measured:.1f}" if measured else "not measured"
        lines.append(
            f"| {_name(name, stage)} | {cost.samples} x {cost.points:,} | {all_of / 1e6:.2f} "
            f"({(all_of - trained) / 1e6:.2f}) | {cost.flops / 1e12:.3g} | {lidar:.3g}; {images:.3g} | "
            f"{cost.memory / 1e9:.2f} | {cpu}; not measured |"
        )
    return lines


def schedule_table(costs: Mapping[str, Mapping[str, StepCost]]) -> list[str]:
    """Samples, FLOPs and GPU-hours of the schedules on nuScenes' training scenes."""
    lines = [
        "| config | passes | samples | PFLOPs | GPU-hours at 10 TFLOP/s (estimate) |",
        "|---|---|---|---|---|",
    ]
    for name, stage, cost in _rows(costs):
        config = Config(cleaned(read_files(shipped_configs()[name])[0]))
        share = (config.data.get("fraction") or 100) / 100
        read = schedule_samples(config.schedule, round(NUSCENES_FRAMES * share), cost.samples)
        each = cost.flops / cost.samples
        repeated = " (balanced: times the repeats)" if config.data.get("balance") else ""
        of, passes = f"{_name(name, stage)}{repeated}", config.schedule.epochs
        hours = hours_of(read, ASSUMED / each)
        lines.append(f"| {of} | {passes} | {read:,} | {read * each / 1e15:,.0f} | {hours:,.1f} |")
    return lines


def _rows(costs: Mapping[str, Mapping[str, StepCost]]) -> Iterator[tuple[str, str, StepCost]]:
    for name, stages in costs.items():
        for stage, cost in stages.items():
            yield name, stage, cost


def _name(name: str, stage: str) -> str:
    return f"`{name.split('/')[1]}`, {stage}" if stage else f"`{name.split('/')[1]}`"


def _flops(cost: StepCost, *names: str) -> float:
    parts = [cost.parts[name] for name in names if name in cost.parts]
    return sum(part.forward + part.backward for part in parts) / 1e12


def tables() -> dict[str, list[str]]:
    """The tables by what they are of."""
    _, costs = read_costs()
    papers = {name: stages for name, stages in costs.items() if "/nuscenes" in name}
    small = {name: stages for name, stages in costs.items() if name not in papers}
    return {
        "papers": step_table(papers),
        "schedules": schedule_table(papers),
        "small": step_table(small),
    }


if __name__ == "__main__":
    print("\n\n".join("\n".join(lines) for lines in tables().values()))
