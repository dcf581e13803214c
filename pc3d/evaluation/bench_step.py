"""Time and memory of a training step of each system, and of the joint step beside its parts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from pc3d.data.batch import Batch
from pc3d.data.collate import collate
from pc3d.data.pairing import pair_points
from pc3d.data.points import load_sweep
from pc3d.engine.allocator import keep_freed_memory
from pc3d.engine.config import load_config, plain
from pc3d.engine.data import build_dataset
from pc3d.engine.optimization import build_optimizer, use_channels_last
from pc3d.engine.pretrainer import Pretrainer, build_pretrainer, objective_needs
from pc3d.engine.stages import stage_configs
from pc3d.evaluation.memory import peak_memory
from pc3d.evaluation.turns import in_turns
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.fac import FAC
from pc3d.processes import worker_pool

NUSCENES_SIZE: dict[str, Any] = {
    "data.batch_size": 4,
    "data.cameras": 3,
    "objectives.slidr.pixel_stride": 1,
    "lidar": {"_delete_": True, "type": "MinkUNet", "depth": 34, "voxel": "cylinder"},
}
"""MinkUNet-34 on cylinder voxels, four samples, three cameras, every pixel: as the papers have it."""


def run(
    configs: Mapping[str, Path],
    overrides: Mapping[str, Any],
    joint: str | None = None,
    repeats: int = 3,
    device: str = "cpu",
) -> dict[str, Any]:
    """Measure the steps of several configs on the same sweeps, taking turns.

    Args:
        configs: pretraining configs by name.
        overrides: of all of them.
        joint: name of the config whose step is taken apart: encoder passes alone, objectives alone.
        repeats: turns; the median is given.
        device: `cpu` or `cuda`.

    Returns:
        By config `step (s)` and `peak memory (MiB)` beyond the model and the batch; and of `joint` its
        parts and ratios.
    """
    loaded: dict[str, Config] = {}
    for name, path in configs.items():
        loaded.update(_stages(name, load_config(path, "pretrain", dict(overrides))))
    steps = {name: _Step(config, device) for name, config in loaded.items()}
    actions: dict[str, Callable[[], object]] = {name: step.whole for name, step in steps.items()}
    if joint is not None:
        actions["passes"], actions["objectives"] = steps[joint].passes, steps[joint].objectives
    seconds = take_turns(actions, repeats, device)
    rows: dict[str, Any] = {name: {"step (s)": seconds[name]} for name in loaded}
    for name, config in loaded.items():
        rows[name]["peak memory (MiB)"] = _peak_memory(config, device)
    report: dict[str, Any] = {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "steps": rows,
    }
    if joint is not None:
        apart = sum(seconds[name] for name in loaded if name != joint)
        passes, objectives = seconds["passes"], seconds["objectives"]
        report["joint"] = {
            "encoder passes (s)": passes,
            "objectives (s)": objectives,
            "step / (passes + objectives)": seconds[joint] / (passes + objectives),
            "step / separate steps": seconds[joint] / apart if apart else None,
        }
    return report


def _stages(name: str, config: Config) -> dict[str, Config]:
    """The config, or that of each of its stages with random weights, by name."""
    if not config.get("stages"):
        return {name: config}
    stages = stage_configs(config, Path())
    for stage in stages.values():
        stage.pop("init", None)
    return {f"{name}, {stage}": settings for stage, settings in stages.items()}


def run_shares(
    config_path: Path, overrides: Mapping[str, Any], repeats: int = 3, device: str = "cpu"
) -> dict[str, Any]:
    """Share of a step that pairing points with pixels, pooling and loss take, at the size of nuScenes."""
    config = load_config(config_path, "pretrain", {**NUSCENES_SIZE, **overrides})
    step = _Step(config, device)
    seconds = take_turns(
        {"step": step.whole, "passes": step.passes, "objectives": step.objectives, "pairing": step.pair},
        repeats,
        device,
    )
    cloud = step.batch.now
    return {
        "device": device_name(device),
        "points": cloud.num_points,
        "pairs": len(cloud.pairs.row) if cloud.pairs is not None else 0,
        **{f"{name} (s)": value for name, value in seconds.items()},
        "pairing, pooling and loss / step": (seconds["pairing"] + seconds["objectives"]) / seconds["step"],
    }


class _Step:
    """One batch, one model, and what is timed on them."""

    def __init__(self, config: Config, device: str) -> None:
        if device == "cpu":
            keep_freed_memory()  # as training does
        data, size = plain(config.data), config.data.batch_size
        self.dataset = build_dataset(data, objective_needs(plain(config.objectives)), config.get("seed", 0))
        self.keys = [(0, position) for position in range(size)]
        self.batch: Batch = collate([self.dataset[key] for key in self.keys]).to(device)
        config.merge_from_dict({"runtime": {"gradients_every": 0}})
        self.model: Pretrainer = build_pretrainer(config).to(device).train()
        use_channels_last(self.model)  # as training does
        self.optimizer = build_optimizer(self.model, plain(config.optimizer)).optimizer

    def whole(self) -> None:
        """Forward, backward and update."""
        logged = self.model(self.batch)
        torch.stack([value for key, value in logged.items() if key.endswith("/loss")]).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _encoded(self) -> Encodings:
        """All encoder passes of the step, found by running the objectives on them without gradient."""
        if not hasattr(self, "_wanted"):
            with torch.no_grad():
                encodings = self.model.encode(self.batch)
                for objective in self.model.objectives.values():
                    objective(encodings)
            self._wanted = list(encodings.passes)
        encodings = self.model.encode(self.batch)
        for network, frame, view in self._wanted:
            if network == "image":
                encodings.image(frame)
            elif network == "key":
                key = next(o.key for o in self.model.objectives.values() if isinstance(o, FAC))
                encodings.lidar(view, frame, key)
            elif network == "lidar":
                encodings.lidar(view, frame)
            else:
                encodings.camera_bev(view)
        return encodings

    def passes(self) -> None:
        """The encoders alone, with a gradient that comes from nowhere, and the update."""
        encodings = self._encoded()
        ends = [end for outputs in encodings.outputs(trunk=False).values() for end in outputs]
        torch.autograd.backward(ends, [torch.full_like(end, 1e-6) for end in ends])
        self.optimizer.step()
        self.optimizer.zero_grad()

    def objectives(self) -> None:
        """The objectives alone: forward and backward down to the outputs of the encoders."""
        if not hasattr(self, "_leaves"):
            self._leaves = self._encoded().detached()
        losses = [objective(self._leaves)["loss"] for objective in self.model.objectives.values()]
        torch.stack(losses).sum().backward()

    def pair(self) -> None:
        """Point-pixel pairs of the batch's sweeps with three cameras each, on the loader's side."""
        if not hasattr(self, "_sweeps"):
            datasets = self.dataset.datasets
            index = datasets[0].index  # type: ignore[attr-defined]
            sweeps = [index[index.row_of(token)] for token in self.batch.tokens]
            self._sweeps = [
                (load_sweep(sweep), replace(sweep, cameras=sweep.cameras[:3])) for sweep in sweeps
            ]
        for points, sweep in self._sweeps:
            pair_points(points, sweep)


def take_turns(actions: Mapping[str, Callable[[], object]], repeats: int, device: str) -> dict[str, float]:
    """Median seconds of each action: CPU time of this process, which a busy machine changes least, and
    wall-clock time with a GPU. The first turn compiles."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    waited = {name: _waited(action, device) for name, action in actions.items()}
    return {name: statistics.median(times) for name, times in in_turns(waited, repeats, clock).items()}


def _waited(action: Callable[[], object], device: str) -> Callable[[], None]:
    """The action, and what it has started on a GPU."""

    def run() -> None:
        action()
        if device != "cpu":
            torch.cuda.synchronize()

    return run


def _peak_memory(config: Config, device: str) -> float:
    with worker_pool(1) as pool:
        return pool.submit(_peak_of_a_step, config, device, torch.get_num_threads()).result()


def _peak_of_a_step(config: Config, device: str, threads: int) -> float:
    torch.set_num_threads(threads)
    step = _Step(config, device)
    if device != "cpu":
        before = torch.cuda.memory_allocated()
        step.whole()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    return peak_memory(step.whole)


def device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device != "cpu" else "cpu"
