"""mmengine Runner set-up that pretraining and fine-tuning share."""

from __future__ import annotations

import json
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_rank, get_world_size, init_dist
from mmengine.hooks import Hook
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.optim import OptimWrapper
from mmengine.runner import LogProcessor, Runner
from torch.utils.data import DataLoader, Dataset

from pc3d.data.batch import Batch
from pc3d.data.collate import collate
from pc3d.data.samplers import StreamSampler
from pc3d.engine.allocator import keep_freed_memory
from pc3d.engine.data import MixedDataset
from pc3d.engine.hooks import BackboneHook, MetricsHook, NonFiniteHook, PlainCheckpointHook
from pc3d.engine.loop import StreamTrainLoop

OPTIMIZERS = {"AdamW": torch.optim.AdamW, "SGD": torch.optim.SGD}


class BatchPreprocessor(BaseDataPreprocessor):
    """Move a `Batch` to the model's device; the tuple is how mmengine passes one argument."""

    def forward(self, data: Batch, training: bool = False) -> tuple[Batch]:
        return (data.to(self.device),)


class ShortLogProcessor(LogProcessor):
    """Prints the losses only; the monitors are in metrics.jsonl and TensorBoard."""

    def get_log_after_iter(self, *args: Any, **kwargs: Any) -> tuple[dict, str]:
        tag, text = super().get_log_after_iter(*args, **kwargs)
        return tag, re.sub(r"  \S+/(?!loss)\S+: \S+", "", text)


class QuietRunner(Runner):
    """A Runner that leaves the environment and the list of hooks to the run folder's files."""

    def _log_env(self, env_cfg: dict[str, Any]) -> None:
        return

    def get_hooks_info(self) -> str:
        return f"{len(self.hooks)} hooks"


class TrainableModel(BaseModel):
    """Base of the models that a Runner trains: `forward(batch, mode="loss")` gives the losses.

    Keys with "loss" in them are summed, the others are logged.
    """

    def __init__(self) -> None:
        super().__init__(data_preprocessor=BatchPreprocessor())

    def init_weights(self) -> None:
        """Weights are ready when the model is built; mmengine must not draw them again."""


class BFloat16OptimWrapper(OptimWrapper):
    """Runs the forward pass in bfloat16 where `torch.autocast` holds that safe; weights stay float32."""

    @contextmanager
    def optim_context(self, model: torch.nn.Module) -> Iterator[None]:
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


PRECISIONS: dict[str, type[OptimWrapper]] = {"float32": OptimWrapper, "bfloat16": BFloat16OptimWrapper}


class Float32Linear(torch.nn.Linear):
    """A linear layer outside of autocast."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def keep_linear_float32(model: torch.nn.Module) -> None:
    """Make the linear layers `Float32Linear`, in place.

    On a CPU, oneDNN keeps a bfloat16 product with its buffers for each number of rows that it has met, and
    every sweep has another number of points: memory grew by 15 to 35 MB a step.
    """
    for module in model.modules():
        if type(module) is torch.nn.Linear:
            module.__class__ = Float32Linear


def start_distributed(launcher: str) -> None:
    """Join the process group of `torchrun` or Slurm; before the loader, which asks for its rank."""
    if launcher == "none" or torch.distributed.is_initialized():
        return
    if torch.cuda.is_available():
        init_dist(launcher, backend="nccl")
    elif launcher == "pytorch":
        torch.distributed.init_process_group("gloo")
    else:
        raise ValueError(f"launcher {launcher!r} needs CUDA; on CPUs start the processes with torchrun")


def _distributed_wrapper() -> dict[str, Any]:
    # An objective may leave a part of an encoder out, the BEV head for one.
    wrapper = {"type": "MMDistributedDataParallel", "find_unused_parameters": True}
    return wrapper if torch.cuda.is_available() else {**wrapper, "device_ids": None}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw initial weights from `seed` without touching the global generator."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)


def build_loader(dataset: Dataset, batch_size: int, workers: int, seed: int) -> DataLoader:
    """Endless loader over `dataset`, the same batches whatever the number of workers."""
    sampler = StreamSampler(len(dataset), seed, get_rank(), get_world_size())  # type: ignore[arg-type]
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        persistent_workers=workers > 0,
        worker_init_fn=_one_thread,
        pin_memory=torch.cuda.is_available(),
    )


def build_optimizer(
    model: torch.nn.Module, config: dict[str, Any], precision: str = "float32"
) -> OptimWrapper:
    """OptimWrapper of `optimizer` settings: `type`, its arguments, `clip_norm`, `head_lr_scale`.

    `head_lr_scale` multiplies the learning rate of parameters under a module named `head`.

    Args:
        precision: key of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown runtime.precision {precision!r}; known: {', '.join(PRECISIONS)}")
    settings = dict(config)
    name = settings.pop("type", "AdamW")
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {name!r}; known: {', '.join(OPTIMIZERS)}")
    clip, scale = settings.pop("clip_norm", None), settings.pop("head_lr_scale", 1.0)
    named = [(key, p) for key, p in model.named_parameters() if p.requires_grad]
    head = [p for key, p in named if "head" in key.split(".")]
    body = [p for key, p in named if "head" not in key.split(".")]
    groups = [{"params": body}] if body else []
    if head:
        groups.append({"params": head, "lr": settings["lr"] * scale})  # type: ignore[dict-item]
    optimizer = OPTIMIZERS[name](groups, **settings)  # type: ignore[operator]
    return PRECISIONS[precision](optimizer, clip_grad={"max_norm": clip} if clip else None)


def use_channels_last(model: torch.nn.Module) -> None:
    """Keep the weights of 2D convolutions with their channels last, which are faster so.

    A detector's step on a CPU takes 0.83 of the time. 3D weights (spconv's) stay as they are.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)


def build_schedule(kind: str, iterations: int, warmup: float) -> list[dict[str, Any]]:
    """Learning-rate schedule: `constant`, `cosine`, or `one_cycle` (linear warm-up over the share
    `warmup` from 1/25 of the rate, then cosine to 1e-4 of it). Rates of groups keep their ratio."""
    if kind == "constant":
        return []
    if kind not in ("cosine", "one_cycle"):
        raise ValueError(f"unknown schedule {kind!r}; known: constant, cosine, one_cycle")
    begin = round(iterations * warmup) if kind == "one_cycle" else 0
    begin = 0 if begin < 2 else begin  # a warm-up of one step would never reach the rate
    cosine = {
        "type": "CosineAnnealingLR",
        "eta_min_ratio": 1e-4,
        "begin": begin,
        "end": iterations,
        "T_max": max(iterations - begin, 1),
        "by_epoch": False,
    }
    if begin == 0:
        return [cosine]
    warm = {"type": "LinearLR", "start_factor": 1 / 25, "begin": 0, "end": begin, "by_epoch": False}
    return [warm, cosine]


def resolve_iterations(schedule: dict[str, Any], frames: int, batch_size: int) -> int:
    """`schedule.iterations` where it is set, else `schedule.epochs` passes over the frames."""
    if "iterations" not in schedule and "epochs" not in schedule:
        raise ValueError("set `schedule.iterations` or `schedule.epochs`")
    if "iterations" in schedule:
        return int(schedule["iterations"])
    per_epoch = max(frames // (batch_size * get_world_size()), 1)
    return int(schedule["epochs"]) * per_epoch


def environment() -> dict[str, Any]:
    """What a run was made with: versions and machine, as plain data."""
    names = ("pc3d", "torch", "spconv-cu120", "spconv-cu126", "mmengine", "numpy", "transformers")
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {
        "versions": versions,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "device": device,
        "threads": torch.get_num_threads(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S"),
    }


def write_run_folder(work_dir: Path, config: Config) -> None:
    """Write the effective config and the environment beside the results (first process only)."""
    if get_rank() != 0:
        return
    work_dir.mkdir(parents=True, exist_ok=True)
    config.dump(str(work_dir / "config.py"))
    (work_dir / "environment.json").write_text(json.dumps(environment(), indent=2) + "\n")


def build_runner(
    model: TrainableModel,
    loader: DataLoader,
    config: Config,
    work_dir: Path,
    iterations: int,
    hooks: list[Hook],
    resume: bool,
) -> Runner:
    """A Runner over `iterations` steps that logs, checkpoints and resumes in `work_dir`."""
    schedule, runtime = config.schedule, config.get("runtime", {})
    every = runtime.get("log_every", 10)
    checkpoint = {
        "type": "CheckpointHook",
        "by_epoch": False,
        "interval": runtime.get("save_every", max(iterations // 5, 100)),
        "max_keep_ckpts": 1,
        "save_last": True,
    }
    runner = QuietRunner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=loader,
        train_cfg={"type": StreamTrainLoop, "max_iters": iterations},
        optim_wrapper=build_optimizer(model, config.optimizer, runtime.get("precision", "float32")),
        param_scheduler=build_schedule(
            schedule.get("kind", "one_cycle"), iterations, schedule.get("warmup", 0.2)
        )
        or None,
        default_hooks={"logger": {"type": "LoggerHook", "interval": every}, "checkpoint": checkpoint},
        custom_hooks=[
            MetricsHook(work_dir / "metrics.jsonl", every),
            NonFiniteHook(),
            PlainCheckpointHook(),
            *hooks,
        ],
        log_processor={"type": ShortLogProcessor, "by_epoch": False, "window_size": every},
        visualizer={
            "type": "Visualizer",
            "vis_backends": [{"type": "TensorboardVisBackend", "save_dir": str(work_dir / "tensorboard")}],
        },
        resume=resume,
        launcher=config.get("launcher", "none"),
        randomness={"seed": config.get("seed", 0)},
        experiment_name=f"{work_dir.name}-{time.time_ns()}",
        log_level=runtime.get("log_level", "INFO"),
        default_scope="mmengine",
        cfg=Config({"model_wrapper_cfg": _distributed_wrapper()}),
    )
    # mmengine warns of its own interfaces at every start.
    runner.logger.addFilter(lambda record: "deprecated" not in record.getMessage())
    return runner


def train(
    model: TrainableModel,
    dataset: MixedDataset,
    config: Config,
    work_dir: Path,
    saved: dict[str, torch.nn.Module],
    metadata: dict[str, str],
    resume: bool,
) -> None:
    """Run a whole training: loader, run folder, Runner, and the weights at the end.

    Args:
        config: the effective config; `data.batch_size` and `data.workers` are read here.
        saved: modules by the name of the safetensors file that each is written to.
        metadata: what is needed to build them again, as strings.
    """
    if not torch.cuda.is_available():
        keep_freed_memory()
    use_channels_last(model)
    if config.get("runtime", {}).get("precision") == "bfloat16" and not torch.cuda.is_available():
        keep_linear_float32(model)
    batch_size, seed = config.data.batch_size, config.get("seed", 0)
    loader = build_loader(dataset, batch_size, config.data.get("workers", 0), seed)
    iterations = resolve_iterations(config.schedule, len(dataset), batch_size)
    write_run_folder(work_dir, config)
    hooks: list[Hook] = [BackboneHook(work_dir, saved, {**metadata, "seed": str(seed)})]
    build_runner(model, loader, config, work_dir, iterations, hooks, resume).train()
