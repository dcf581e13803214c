"""Hooks of a run: metrics as JSON lines, the weights at the end."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook, RuntimeInfoHook
from torch import Tensor

from pc3d.engine.averaging import SUFFIX, WeightAverage
from pc3d.engine.model_card import write_card
from pc3d.engine.run_lines import keep_lines
from pc3d.engine.runs.ranks import on_first
from pc3d.engine.runs.run import Run
from pc3d.models.weights import save_backbone


class ScalarsHook(RuntimeInfoHook):
    """mmengine's record of what a step logs, which reads a GPU once in `every` steps, not for each scalar.

    Attributes:
        read: after a step that is looked at, the scalars of the steps since the last such one, else empty.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.read: list[dict[str, float]] = []
        self._kept: list[dict[str, Tensor]] = []

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        self.read = []
        if runner.rank != 0:
            return
        if outputs:
            norm = runner.optim_wrapper.grad_norm
            more = {} if norm is None else {"grad_norm": norm}
            self._kept.append(
                {key: torch.as_tensor(value).detach() for key, value in {**outputs, **more}.items()}
            )
        if is_due(runner, self.every):
            self.read, self._kept = read_scalars(self._kept), []
            for step in self.read:
                for key, value in step.items():
                    runner.message_hub.update_scalar(f"train/{key}", value)


def is_due(runner: Any, every: int) -> bool:
    """Whether a step that has ended is one after which a run is looked at."""
    step = runner.iter + 1
    return step % every == 0 or step == runner.max_iters


def read_scalars(steps: Sequence[Mapping[str, Tensor]]) -> list[dict[str, float]]:
    """The numbers of several steps, those of each device in one copy."""
    places: dict[torch.device, list[tuple[int, str]]] = defaultdict(list)
    values: dict[torch.device, list[Tensor]] = defaultdict(list)
    for number, scalars in enumerate(steps):
        for key, value in scalars.items():
            places[value.device].append((number, key))
            values[value.device].append(value.float())
    found: list[dict[str, float]] = [{} for _ in steps]
    for device, of_device in values.items():
        for (number, key), value in zip(places[device], torch.stack(of_device).tolist(), strict=True):
            found[number][key] = value
    return [{key: read[key] for key in scalars} for read, scalars in zip(found, steps, strict=True)]


class MetricsHook(Hook):
    """Append the mean of every logged scalar over `every` steps to `metrics.jsonl`.

    A resumed run drops the lines beyond the step that it resumes from, so that each step has one.
    Steps that were left out, as they were not finite, are counted only. With several processes, the first
    one's values are written.
    """

    priority = "LOW"

    def __init__(self, path: Path, scalars: ScalarsHook) -> None:
        self.path, self.scalars = Path(path), scalars
        self._sums: dict[str, list[float]] = defaultdict(list)
        self._since, self._steps, self._skipped = 0.0, 0, 0

    def before_train(self, runner: Any) -> None:
        self._since = time.perf_counter()
        if runner.rank == 0:
            keep_lines(self.path, runner.iter)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        self._steps += 1
        self._skipped += not outputs
        if runner.rank != 0 or not is_due(runner, self.scalars.every):
            return
        step = runner.iter + 1
        for scalars in self.scalars.read:
            for key, value in scalars.items():
                self._sums[key].append(value)
        now = time.perf_counter()
        row: dict[str, float] = {"step": step, "seconds_per_step": (now - self._since) / self._steps}
        row["lr"] = next(iter(runner.optim_wrapper.get_lr().values()))[0]
        row.update({key: sum(values) / len(values) for key, values in self._sums.items()})
        if self._skipped:
            row["skipped_steps"] = self._skipped
        if runner.bad_samples is not None:
            row["data/bad_samples"] = len(runner.bad_samples.known)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        self._sums.clear()
        self._since, self._steps, self._skipped = now, 0, 0


class WeightsHook(Hook):
    """Write the encoders as `<name>.safetensors` into the run folder when training ends, card and marker too.

    With an average of the weights, beside each `<name>_ema.safetensors`.
    """

    def __init__(
        self,
        run: Run,
        encoders: dict[str, torch.nn.Module],
        metadata: dict[str, str],
        average: WeightAverage | None = None,
    ) -> None:
        self.run, self.encoders, self.metadata, self.average = run, encoders, metadata, average

    def after_train(self, runner: Any) -> None:
        on_first(lambda: self._write(runner.iter))

    def _write(self, steps: int) -> None:
        self.run.check()
        paths = self._save("", steps)
        if self.average is not None:
            with self.average.in_place():
                paths += self._save(SUFFIX, steps)
        write_card(self.run.folder, paths, self.run.contract)
        self.run.finish(paths)

    def _save(self, suffix: str, steps: int) -> list[Path]:
        paths = []
        for name, encoder in self.encoders.items():
            paths.append(self.run.folder / f"{name}{suffix}.safetensors")
            save_backbone(encoder, paths[-1], {**self.metadata, "iterations": str(steps)})
        return paths
