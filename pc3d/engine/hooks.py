"""Hooks of a run: metrics as JSON lines, the weights at the end."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook

from pc3d.engine.run_lines import keep_lines
from pc3d.engine.runs.ranks import on_first
from pc3d.engine.runs.run import Run
from pc3d.models.weights import save_backbone


class MetricsHook(Hook):
    """Append the mean of every logged scalar over `every` steps to `metrics.jsonl`.

    A resumed run drops the lines beyond the step that it resumes from, so that each step has one.
    Steps that were left out, as they were not finite, are counted only. With several processes, the first
    one's values are written.
    """

    priority = "LOW"

    def __init__(self, path: Path, every: int = 10) -> None:
        self.path, self.every = Path(path), every
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
        for key, value in (outputs or {}).items() if runner.rank == 0 else ():
            self._sums[key].append(float(torch.as_tensor(value).detach()))
        step = runner.iter + 1
        if runner.rank != 0 or (step % self.every and step != runner.max_iters):
            return
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
    """Write the encoders as `<name>.safetensors` into the run folder when training ends, then the marker."""

    def __init__(self, run: Run, encoders: dict[str, torch.nn.Module], metadata: dict[str, str]) -> None:
        self.run, self.encoders, self.metadata = run, encoders, metadata

    def after_train(self, runner: Any) -> None:
        on_first(lambda: self._write(runner.iter))

    def _write(self, steps: int) -> None:
        self.run.check()
        paths = {name: self.run.folder / f"{name}.safetensors" for name in self.encoders}
        for name, encoder in self.encoders.items():
            save_backbone(encoder, paths[name], {**self.metadata, "iterations": str(steps)})
        self.run.finish(paths.values())
