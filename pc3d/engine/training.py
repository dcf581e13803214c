"""mmengine Runner set-up that pretraining and fine-tuning share."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import get_rank, get_world_size, init_dist
from mmengine.hooks import Hook
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.runner import LogProcessor, Runner
from torch.utils.data import DataLoader, Dataset

from pc3d.data.batch import Batch
from pc3d.data.collate import collate_shared
from pc3d.data.sampler_settings import build_sampler, frames_of_pass
from pc3d.data.samplers import StreamSampler
from pc3d.engine.allocator import keep_freed_memory
from pc3d.engine.averaging import WeightAverage
from pc3d.engine.bad_samples import BadSamples, TolerantDataset, bad_sample_budget
from pc3d.engine.config import plain
from pc3d.engine.data import MixedDataset
from pc3d.engine.data_checks import camera_names
from pc3d.engine.environment import environment
from pc3d.engine.first_steps import FirstSteps
from pc3d.engine.hooks import MetricsHook, ScalarsHook, WeightsHook
from pc3d.engine.loop import StreamTrainLoop, end_workers
from pc3d.engine.optimization import ScaledOptimWrapper, ScheduleHook, build_optimizer, prepare
from pc3d.engine.precision import set_products
from pc3d.engine.run_data import write_run_data
from pc3d.engine.runs.failure import is_recorder, record_failure
from pc3d.engine.runs.folder import FAILURE
from pc3d.engine.runs.guard import NonFiniteGuard
from pc3d.engine.runs.keeper import Keeper
from pc3d.engine.runs.run import Mode, Run
from pc3d.engine.runs.settings import run_contract
from pc3d.engine.runs.signals import ignore_in_worker
from pc3d.engine.runs.state import Stateful
from pc3d.storage.whole import write_bytes, write_json


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
    """A Runner that leaves the environment to the run folder's files and checkpoints to its `keeper`."""

    def _log_env(self, env_cfg: dict[str, Any]) -> None:
        return

    def get_hooks_info(self) -> str:
        return f"{len(self.hooks)} hooks"

    keeper: Keeper
    guard: NonFiniteGuard
    bad_samples: BadSamples | None = None

    def load_or_resume(self) -> None:
        self.keeper.begin()
        if self.bad_samples is not None:
            self.bad_samples.begin(self.keeper.step)
        self.train_loop._iter = self.keeper.step  # type: ignore[union-attr]


class TrainableModel(BaseModel):
    """Base of the models that a Runner trains: `forward(batch, mode="loss")` gives the losses.

    Keys with "loss" in them are summed, the others are logged.

    Attributes:
        learns_from, terms: see `FirstSteps`.
    """

    learns_from: Mapping[str, str] = MappingProxyType({})
    terms: Mapping[str, str] = MappingProxyType({})

    def __init__(self) -> None:
        super().__init__(data_preprocessor=BatchPreprocessor())

    def init_weights(self) -> None:
        """Weights are ready when the model is built; mmengine must not draw them again."""


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


def _distributed_wrapper(kind: str, parts: int) -> dict[str, Any]:
    """DDP of a run of a kind, with steps of so many parts.

    The graph of a fine-tuning step is always the same, so that DDP learns once which parameters idle. That
    of a pretraining step is not: an objective without an example leaves its layers out.
    """
    fixed = kind == "finetune" and parts == 1
    wrapper = {
        "type": "MMDistributedDataParallel",
        "broadcast_buffers": False,  # each process has its own, as a checkpoint keeps them
        "find_unused_parameters": not fixed,
        "static_graph": fixed,
    }
    return wrapper if torch.cuda.is_available() else {**wrapper, "device_ids": None}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw initial weights from `seed` without touching the global generator."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def begin_worker(worker: int) -> None:
    """What a data worker does first."""
    ignore_in_worker()
    torch.set_num_threads(1)


def build_loader(
    dataset: Dataset, batch_size: int, workers: int, seed: int, sampler: StreamSampler
) -> DataLoader:
    """Endless loader over `dataset`, the same batches whatever the number of workers."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate_shared,
        persistent_workers=workers > 0,
        worker_init_fn=begin_worker,
        generator=torch.Generator().manual_seed(seed),  # else the state of the global one depends on restarts
        pin_memory=torch.cuda.is_available(),
    )


def resolve_iterations(schedule: dict[str, Any], frames: int, batch_size: int) -> int:
    """`schedule.iterations` where it is set, else `schedule.epochs` passes over the frames."""
    if "iterations" not in schedule and "epochs" not in schedule:
        raise ValueError("set `schedule.iterations` or `schedule.epochs`")
    for length in ("iterations", "epochs"):
        if length in schedule and int(schedule[length]) < 1:
            raise ValueError(f"`schedule.{length}` is {schedule[length]}, expected at least 1")
    if "iterations" in schedule:
        return int(schedule["iterations"])
    per_epoch = max(frames // (batch_size * get_world_size()), 1)
    return int(schedule["epochs"]) * per_epoch


def write_run_folder(work_dir: Path, config: Config) -> None:
    """Write the effective config, the data it reads and the environment into the folder (first process)."""
    if get_rank() != 0:
        return
    work_dir.mkdir(parents=True, exist_ok=True)
    shown = Config(plain(config))
    if (shown.get("init") or {}).get("stage"):
        shown.init.pop("run", None)  # it lies beside this folder, wherever both are moved
    write_bytes(work_dir / "config.py", shown.pretty_text.encode())
    if "data" in config:  # else each stage has its own
        write_run_data(work_dir, plain(config.data))
    write_json(work_dir / "environment.json", environment())


def build_runner(
    model: TrainableModel,
    loader: DataLoader,
    config: Config,
    run: Run,
    kind: str,
    hooks: list[Hook],
    average: WeightAverage | None = None,
) -> QuietRunner:
    """A Runner over the steps of `run` that logs, saves and resumes in its folder."""
    runtime, folder = config.get("runtime", {}), run.folder
    every = runtime.get("log_every", 10)
    wrapper = build_optimizer(model, config.optimizer, runtime)
    extras: dict[str, Stateful] = (
        {"float16's scale": wrapper} if isinstance(wrapper, ScaledOptimWrapper) else {}
    )
    if average is not None:
        extras["the average of weights"] = average
    keeper = Keeper(
        run,
        model,
        wrapper.optimizer,
        config.data.batch_size * get_world_size() * wrapper.parts,
        runtime.get("save_every", max(run.iterations // 5, 100)),
        runtime.get("save_minutes", 15),
        extras,
    )

    def record(step: int, batch: Batch, random: dict[str, Any], results: dict[str, Any]) -> str:
        if is_recorder(wrapper.finite_loss):
            record_failure(folder / FAILURE, kind, plain(config), step, batch, model, random, results)
        return f"pc3d replay {folder / FAILURE} runs the step again"

    scalars = ScalarsHook(every)
    guard = NonFiniteGuard(model, wrapper, runtime.get("non_finite_patience", 5), record)
    runner = QuietRunner(
        model=model,
        work_dir=str(folder),
        train_dataloader=loader,
        train_cfg={"type": StreamTrainLoop, "max_iters": run.iterations},
        optim_wrapper=wrapper,
        default_hooks={
            "runtime_info": scalars,
            "logger": {"type": "LoggerHook", "interval": every},
            "param_scheduler": None,
            "checkpoint": None,
        },
        custom_hooks=[
            ScheduleHook(config.schedule, run.iterations),
            MetricsHook(folder / "metrics.jsonl", scalars),
            *([] if average is None else [average]),
            *hooks,
        ],
        log_processor={"type": ShortLogProcessor, "by_epoch": False, "window_size": every},
        visualizer={
            "type": "Visualizer",
            "vis_backends": [{"type": "TensorboardVisBackend", "save_dir": str(folder / "tensorboard")}],
        },
        launcher=config.get("launcher", "none"),
        randomness={"seed": config.get("seed", 0)},
        experiment_name=f"{folder.name}-{time.time_ns()}",
        log_level=runtime.get("log_level", "INFO"),
        default_scope="mmengine",
        cfg=Config({"model_wrapper_cfg": _distributed_wrapper(kind, wrapper.parts)}),
    )
    runner.keeper, runner.guard = keeper, guard
    # mmengine warns of its own interfaces at every start.
    runner.logger.addFilter(lambda record: "deprecated" not in record.getMessage())
    return runner


def open_run(config: Config, dataset: MixedDataset, work_dir: Path, mode: Mode) -> Run:
    """The run of a config, to be entered.

    Raises:
        DataError, ValueError: the config cannot be run.
    """
    size, chosen = config.data.batch_size, plain(config.data.get("sampler"))
    frames = frames_of_pass(chosen, dataset.parts, size, get_world_size())
    parts = config.get("runtime", {}).get("accumulate", 1)
    iterations = resolve_iterations(config.schedule, frames, size * parts)
    contract = run_contract(config, dataset, iterations, get_world_size())
    return Run(work_dir, contract, mode, config.get("runtime", {}).get("keep_checkpoints", 2))


def train(
    model: TrainableModel,
    dataset: MixedDataset,
    config: Config,
    run: Run,
    kind: str,
    saved: dict[str, torch.nn.Module],
    metadata: dict[str, str],
) -> None:
    """Train in a run that was entered: loader, run folder, Runner, the weights and the marker at the end.

    Args:
        config: the effective config; `data.batch_size` and `data.workers` are read here.
        kind: `pretrain` or `finetune`.
        saved: modules by the name of the safetensors file that each is written to.
        metadata: what is needed to build them again, as strings.
    """
    if not torch.cuda.is_available():
        keep_freed_memory()
    runtime = config.get("runtime", {})
    set_products(runtime)
    prepare(model, runtime)
    model.to(get_device())  # before the optimizer is made of its parameters
    seed = config.get("seed", 0)
    budget = bad_sample_budget(config.data.get("bad_samples", 0), dataset)
    frames = dataset if budget is None else TolerantDataset(dataset, budget)
    size, chosen = config.data.batch_size, plain(config.data.get("sampler"))
    sampler = build_sampler(chosen, dataset.parts, size, seed, get_rank(), get_world_size())
    loader = build_loader(frames, size, config.data.get("workers", 0), seed, sampler)
    write_run_folder(run.folder, config)
    average = WeightAverage(model, runtime["ema"]) if runtime.get("ema") else None
    hooks: list[Hook] = [
        WeightsHook(run, saved, {**metadata, "seed": str(seed)}, average),
        FirstSteps(model.learns_from, model.terms, lambda: camera_names(dataset)),
    ]
    try:
        runner = build_runner(model, loader, config, run, kind, hooks, average)
        runner.bad_samples = None if budget is None else BadSamples(run.folder, budget)
        runner.train()
    finally:
        end_workers(loader)  # mmengine starts them before the first step
