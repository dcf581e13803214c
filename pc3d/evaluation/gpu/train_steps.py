"""Training steps of configs on a GPU: time, memory, waits, kernels; half precision beside float32."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from pc3d.data.batch import Batch
from pc3d.data.collate import collate
from pc3d.engine.config import load_config, plain
from pc3d.engine.costs.step import use_shapes
from pc3d.engine.kinds import BUILD, data_of
from pc3d.engine.optimization import build_optimizer, prepare
from pc3d.engine.precision import set_products
from pc3d.engine.stages import stage_configs


class Steps:
    """A model, its optimizer and batches of a config on a device.

    Args:
        path: of a shipped or own config. settings: that differ, `data.index` among them.
        batches: how many different ones are taken, in turns. precision: of `runtime`.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        device: torch.device,
        batches: int = 2,
        precision: str = "float32",
    ) -> None:
        kind = path.parent.name
        config = load_config(path, kind, dict(settings))
        if config.get("stages"):
            config = list(stage_configs(config, Path("nowhere")).values())[-1]
        for key in ("init", "expected_losses"):
            config.pop(key, None)
        use_shapes(config.get("image"))  # nothing is downloaded
        runtime = {**plain(config.get("runtime") or {}), "precision": precision}
        config.runtime = {**runtime, "gradients_every": 0, "log_every": 50}
        set_products(runtime)
        torch.manual_seed(config.get("seed", 0))
        data, config = data_of(config, kind)
        self.size, self.device = int(config.data.batch_size), device
        keys = [[(0, (n * self.size + k) % len(data)) for k in range(self.size)] for n in range(batches)]
        self.batches: list[Batch] = [collate([data[key] for key in of_batch]) for of_batch in keys]
        if device.type == "cuda" and torch.cuda.is_available():
            self.batches = [batch.pin_memory() for batch in self.batches]
        model = BUILD[kind](config)
        prepare(model, runtime)
        self.model = model.to(device).train()
        self.wrapper = build_optimizer(self.model, plain(config.optimizer), runtime)
        self.done = 0

    def step(self) -> dict[str, Any]:
        """One step on the next batch; what it logs."""
        batch = self.batches[self.done % len(self.batches)]
        self.done += 1
        return self.model.train_step(batch, self.wrapper)


def measure(steps: Steps, repeats: int = 10) -> dict[str, Any]:
    """Of a step: median seconds, samples a second, peak GiB, waits, dense TFLOP, slowest kernels."""
    for _ in range(3):
        steps.step()
    cuda = steps.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(steps.device)
    seconds = []
    for _ in range(repeats):
        _synchronise(cuda)
        began = time.perf_counter()
        steps.step()
        _synchronise(cuda)
        seconds.append(time.perf_counter() - began)
    median = statistics.median(seconds)
    with FlopCounterMode(display=False) as flops:
        steps.step()
    found: dict[str, Any] = {
        "seconds": median,
        "samples_per_second": steps.size / median,
        "dense_tflop": flops.get_total_flops() / 1e12,
        "kernels": slowest(steps, cuda),
    }
    if cuda:
        found["peak_gib"] = torch.cuda.max_memory_allocated(steps.device) / 2**30
        found["waits"] = waits(steps)
    return found


def _synchronise(cuda: bool) -> None:
    if cuda:
        torch.cuda.synchronize()


def waits(steps: Steps) -> int:
    """How often torch itself says that the host waits in a step; spconv's own waits are not seen."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            steps.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("called a synchronizing" in str(warning.message) for warning in seen)


def slowest(steps: Steps, cuda: bool, count: int = 8) -> list[dict[str, Any]]:
    """The operations of a step that take longest by themselves, with their share."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as seen:
        steps.step()
        _synchronise(cuda)
    name = "self_device_time_total" if cuda else "self_cpu_time_total"
    rows = sorted(seen.key_averages(), key=lambda row: -getattr(row, name))
    total = sum(getattr(row, name) for row in rows) or 1.0
    return [{"name": row.key, "share": getattr(row, name) / total} for row in rows[:count]]


def half_losses(
    path: Path, settings: Mapping[str, Any], device: torch.device, steps: int = 50
) -> dict[str, Any]:
    """Losses of so many steps in bfloat16 and float16 beside float32, of the same weights, batches and draws.

    Returns:
        By precision `losses`; `skipped`, steps that overflowed; and of the halves `deviation`, the mean
        absolute difference over the second half of the steps as share of float32's mean loss there.
    """
    found: dict[str, Any] = {}
    for precision in ("float32", "bfloat16", "float16"):
        run = Steps(path, settings, device, batches=4, precision=precision)
        losses, skipped = [], 0
        for _ in range(steps):
            losses.append(run.step()["loss"].detach().float())
            skipped += run.wrapper.skipped
        found[precision] = {"losses": torch.stack(losses).tolist(), "skipped": skipped}
        del run  # before the next one is made
    late = slice(steps // 2, None)
    base = found["float32"]["losses"][late]
    for precision in ("bfloat16", "float16"):
        apart = [abs(a - b) for a, b in zip(found[precision]["losses"][late], base, strict=True)]
        found[precision]["deviation"] = statistics.mean(apart) / max(abs(statistics.mean(base)), 1e-12)
    return found


def peak_tflops(device: torch.device, precision: str, size: int = 8192) -> float:
    """TFLOP/s of a large product on a device: what the share of a step is of."""
    dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision, torch.float32)
    a = torch.randn(size, size, device=device, dtype=dtype)
    for _ in range(3):
        a @ a
    cuda = device.type == "cuda"
    _synchronise(cuda)
    began = time.perf_counter()
    for _ in range(5):
        a @ a
    _synchronise(cuda)
    return 5 * 2 * size**3 / (time.perf_counter() - began) / 1e12


def configs_of(names: Sequence[str], folder: Path) -> list[Path]:
    """Files of `kind/name`; all of the papers' sizes where none is named."""
    chosen = [folder / f"{name}.py" for name in names]
    return chosen or sorted([*folder.glob("pretrain/nuscenes_*.py"), *folder.glob("finetune/nuscenes_*.py")])
