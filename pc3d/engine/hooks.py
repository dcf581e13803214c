"""Hooks of a run: metrics as JSON lines, safe checkpoints, the backbone, non-finite losses."""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook

from pc3d.models.weights import save_backbone


class MetricsHook(Hook):
    """Append the mean of every logged scalar over `every` steps to `metrics.jsonl`.

    A resumed run drops the lines beyond the step that it resumes from, so that each step has one.
    With several processes, the first one's values are written.
    """

    priority = "LOW"

    def __init__(self, path: Path, every: int = 10) -> None:
        self.path, self.every = Path(path), every
        self._sums: dict[str, list[float]] = defaultdict(list)
        self._since = 0.0

    def before_train(self, runner: Any) -> None:
        self._since = time.perf_counter()
        if runner.rank == 0 and self.path.exists():
            rows = [line for line in self.path.read_text().splitlines() if line]
            kept = [line for line in rows if json.loads(line)["step"] <= runner.iter]
            self.path.write_text("".join(line + "\n" for line in kept))

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        for key, value in (outputs or {}).items() if runner.rank == 0 else ():
            self._sums[key].append(float(torch.as_tensor(value).detach()))
        step = runner.iter + 1
        if runner.rank != 0 or (step % self.every and step != runner.max_iters):
            return
        now = time.perf_counter()
        count = max(len(values) for values in self._sums.values())
        row: dict[str, float] = {"step": step, "seconds_per_step": (now - self._since) / count}
        row["lr"] = next(iter(runner.optim_wrapper.get_lr().values()))[0]
        row.update({key: sum(values) / len(values) for key, values in self._sums.items()})
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        self._sums.clear()
        self._since = now


class PlainCheckpointHook(Hook):
    """Make checkpoints that load with `weights_only=True`, and never execute what they carry.

    mmengine's own message hub holds pickled objects and some schedulers hold bound methods, which
    torch >= 2.6 refuses to load; both are left out (they only smooth the printed numbers). On
    loading, the config text is dropped, which mmengine would otherwise run as Python.
    """

    priority = "VERY_LOW"

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        checkpoint["message_hub"] = {"log_scalars": {}, "runtime_info": {}, "resumed_keys": {}}
        schedulers = checkpoint.get("param_schedulers")
        groups = schedulers.values() if isinstance(schedulers, dict) else [schedulers or []]
        for group in groups:
            for state in group:
                for key in [k for k, v in state.items() if callable(v)]:
                    del state[key]

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        checkpoint["meta"].pop("config", None)
        checkpoint["meta"].pop("cfg", None)


class BackboneHook(Hook):
    """Write the encoders as `<name>.safetensors` into the run folder when training ends."""

    def __init__(self, folder: Path, encoders: dict[str, torch.nn.Module], metadata: dict[str, str]) -> None:
        self.folder, self.encoders, self.metadata = Path(folder), encoders, metadata

    def after_train(self, runner: Any) -> None:
        if runner.rank == 0:
            for name, encoder in self.encoders.items():
                metadata = {**self.metadata, "iterations": str(runner.iter)}
                save_backbone(encoder, self.folder / f"{name}.safetensors", metadata)


class NonFiniteHook(Hook):
    """Stop a run after `patience` steps in a row with a loss that is not a finite number."""

    def __init__(self, patience: int = 5) -> None:
        self.patience, self._streak = patience, 0

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        loss = float(torch.as_tensor((outputs or {}).get("loss", 0.0)).detach())
        self._streak = 0 if math.isfinite(loss) else self._streak + 1
        if self._streak >= self.patience:
            tokens = ", ".join(getattr(data_batch, "tokens", []))
            raise FloatingPointError(
                f"the loss was not finite in {self._streak} steps in a row, last at step {runner.iter} "
                f"(sweeps {tokens}); lower `optimizer.lr` or look at these sweeps"
            )
