"""A label-efficiency study: pretrain, fine-tune and evaluate every start, task and seed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from mmengine.config import Config

from pc3d.data.errors import fail
from pc3d.data.index import SweepIndex
from pc3d.engine.checkpoints import load_encoder
from pc3d.engine.config import load_config, plain
from pc3d.engine.data import frame_config
from pc3d.engine.finetuner import build_segmenter, finetune
from pc3d.engine.pretrainer import pretrain
from pc3d.evaluation.downstream import check_evaluation, evaluate_checkpoint
from pc3d.evaluation.label_efficiency import (
    RANDOM,
    Cell,
    CellResult,
    plot,
    run_cells,
    summarise,
    to_markdown,
)
from pc3d.evaluation.own.scored_classes import OWN, evaluator_of
from pc3d.evaluation.probes import knn_of_encoder
from pc3d.processes import worker_pool
from pc3d.storage.whole import clean, write_bytes, write_json

KNN: dict[str, Any] = {"percent": 25.0, "points_per_sweep": 200}
"""Share of the training scenes that the bank of the kNN probe takes, and points of each sweep."""
LIDARSEG = "lidarseg"
_OFFICIAL_ONLY = {"nds", "mAAE"}
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Task:
    """A column of the table: a fine-tuning config, the label fraction, and settings over it.

    With `knn` nothing is trained: the config says only which encoder and data the kNN probe reads.
    `metrics` are the numbers of the evaluation that the table shows; tasks of one `family` are columns of one
    table, a column for each fraction.
    """

    config: Path
    fraction: float
    overrides: dict[str, Any] = field(default_factory=dict)
    knn: bool = False
    metrics: tuple[str, ...] = ("miou",)
    family: str = ""


@dataclass(frozen=True)
class Study:
    """What is compared with what.

    Every start is pretrained on the LiDAR encoder of the tasks, whatever its own config says.

    Attributes:
        starts: name to pretraining config, or to the `backbone.safetensors` of a run that is finished; the
            random start is always there.
        tasks: name to fine-tuning task.
        seeds: each start is pretrained and fine-tuned once with each.
        work_dir: runs and results; a study is resumed by running it again.
        eval_split: split that is scored.
        overrides: settings of the pretraining configs and, where they have them, the tasks'
            (`data.index`, ...).
        pretrain_overrides: settings of the pretraining configs only.
        jobs: runs at a time; with more than one, each has one thread.
    """

    starts: dict[str, Path]
    tasks: dict[str, Task]
    seeds: Sequence[int]
    work_dir: Path
    eval_split: str = "sim_val"
    overrides: dict[str, Any] = field(default_factory=dict)
    pretrain_overrides: dict[str, Any] = field(default_factory=dict)
    jobs: int = 1


def run_study(study: Study) -> list[CellResult]:
    """Run what is missing of a study and return the results of all its cells.

    Raises:
        ValueError: before anything is read: a setting of a start is wrong.
        DataError: before anything is trained: an evaluation will be refused, or a start cannot be used.
    """
    _check_settings(study)
    _check_evaluations(study)
    keys = [(start, seed) for seed in study.seeds for start in study.starts]
    backbones = dict(zip(keys, _map(_Pretrain(study), keys, study.jobs), strict=True))
    cells = [
        _cell(study, start, name, seed, backbones.get((start, seed)))
        for seed in study.seeds
        for start in (RANDOM, *study.starts)
        for name in study.tasks
    ]
    nested = _map(_RunCell(study), cells, study.jobs)
    return [result for results in nested for result in results]


def _check_settings(study: Study) -> None:
    """Read the configs of all starts, so that a wrong setting is found before the data are."""
    for source in study.starts.values():
        if source.suffix != ".safetensors":
            load_config(source, "pretrain", {**study.overrides, **study.pretrain_overrides})


def _check_evaluations(study: Study) -> None:
    asked: dict[tuple[str, str], set[str]] = {}
    for column in study.tasks.values():
        config = _task_config(study, column, 0, None)
        key = str(config.data.index), config.get("task", LIDARSEG)
        asked.setdefault(key, set()).update(() if column.knn else column.metrics)
    for (folder, task), metrics in asked.items():
        index = SweepIndex.open(folder)
        check_evaluation(index, study.eval_split, task)
        absent = sorted(metrics & _OFFICIAL_ONLY)
        if absent and task == "detection" and evaluator_of(index, task) == OWN:
            what = f"the study shows {absent[0]}, which only the devkit gives, and pc3d scores this data"
            fail(what, folder, "name metrics that pc3d gives: map, map_3d, map_bev, mATE, ...")


def _cell(study: Study, start: str, task_name: str, seed: int, backbone: Path | None) -> Cell:
    task = study.tasks[task_name]
    config = _task_config(study, task, seed, backbone)
    settings = {key: value for key, value in plain(config).items() if key not in ("init", "seed")}
    settings = json.loads(json.dumps(settings))  # tuples as lists, as the result file has them
    return Cell(start, task.family or task_name, task.fraction, seed, backbone, settings)


def _task_of(study: Study, cell: Cell) -> Task:
    return next(
        task
        for name, task in study.tasks.items()
        if (task.family or name, task.fraction) == (cell.task, cell.fraction)
    )


def _task_config(study: Study, task: Task, seed: int, backbone: Path | None) -> Config:
    overrides = {**study.overrides, **task.overrides, "seed": seed}
    config = load_config(task.config, "finetune", overrides)
    if backbone is None:
        config.merge_from_dict({"init.random": True})
    else:
        # A BEV model takes whatever else the run trained.
        of_run = config.get("task", LIDARSEG) != LIDARSEG and backbone.name == "backbone.safetensors"
        start = {"init.run": str(backbone.parent)} if of_run else {"init.checkpoint": str(backbone)}
        config.merge_from_dict(start)
    return config


def _encoder(study: Study) -> dict[str, Any]:
    """The LiDAR encoder of the tasks.

    Raises:
        ValueError: they have different ones, so that no start could be compared over them.
    """
    configs = [_task_config(study, task, 0, None) for task in study.tasks.values()]
    encoders = [plain(config.lidar) for config in configs if config.get("lidar") is not None]
    if any(encoder != encoders[0] for encoder in encoders):
        raise ValueError(f"the tasks {', '.join(study.tasks)} have different LiDAR encoders: one study each")
    return encoders[0] if encoders else {}


@dataclass(frozen=True)
class _Pretrain:
    study: Study

    def __call__(self, key: tuple[str, int]) -> Path:
        start, seed = key
        source = self.study.starts[start]
        if source.suffix == ".safetensors":
            load_encoder(source)  # a file that cannot be used is found before anything is trained
            return source
        encoder = _encoder(self.study)
        overrides = {**self.study.overrides, **self.study.pretrain_overrides, "seed": seed}
        config = load_config(source, "pretrain", overrides)
        folder = self.study.work_dir / "pretrain" / f"{start}-seed{seed}"
        if encoder and plain(config.lidar) != encoder:
            config.merge_from_dict({"lidar": {"_delete_": True, **encoder}})
            folder = folder.with_name(f"{start}-{encoder['type'].lower()}-seed{seed}")
        # What was begun with these settings goes on, and what is finished stays as it is.
        return pretrain(config, folder, resume=True, overwrite=True)


@dataclass(frozen=True)
class _RunCell:
    study: Study

    def __call__(self, cell: Cell) -> list[CellResult]:
        return run_cells([cell], self._run, self.study.work_dir / "cells")

    def _run(self, cell: Cell) -> dict[str, Any]:
        folder = self.study.work_dir / "runs" / cell.key()
        task = _task_of(self.study, cell)
        config = _task_config(self.study, task, cell.seed, cell.checkpoint)
        if task.knn:
            return self._knn(config, cell)
        checkpoint = finetune(config, folder, resume=True, overwrite=True)
        out = folder / "evaluation"  # of a cell, whose name tells all of its settings
        return evaluate_checkpoint(checkpoint, config.data.index, self.study.eval_split, out, overwrite=True)

    def _knn(self, config: Config, cell: Cell) -> dict[str, Any]:
        head = {"num_classes": 2, **plain(config.head)}  # only the encoder is asked
        model = build_segmenter(plain(config.lidar), head, plain(config.get("init")), cell.seed)
        data, split = config.data, self.study.eval_split
        features = frame_config(plain(data)).features
        return knn_of_encoder(model.encoder, data.index, data.split, split, **KNN, features=features)


def _map(function: Callable[[T], R], items: Iterable[T], jobs: int) -> list[R]:
    """Apply `function` to the items, `jobs` at a time in fresh processes of one thread each."""
    items = list(items)
    if jobs <= 1 or len(items) <= 1:
        return [function(item) for item in items]
    with worker_pool(jobs, _one_thread) as pool:
        return list(pool.map(function, items))


def _one_thread() -> None:
    torch.set_num_threads(1)


def publish(results: list[CellResult], study: Study) -> str:
    """Write `results.json`, `table.md` and, for several fractions, `plot.png`; returns the tables."""
    folder = study.work_dir
    raw = [{"cell": result.cell.describe(), "metrics": result.metrics} for result in results]
    clean(folder)
    write_json(folder / "results.json", raw)
    tables = []
    for metric in dict.fromkeys(metric for task in study.tasks.values() for metric in task.metrics):
        shown = [result for result in results if metric in _task_of(study, result.cell).metrics]
        rows = summarise(shown, metric)
        tables.append(f"{metric}\n\n{to_markdown(rows)}")
        if len({(row.task, row.fraction) for row in rows}) > len({row.task for row in rows}):
            plot(rows, folder / ("plot.png" if metric == "miou" else f"plot-{metric}.png"), metric)
    table = "\n".join(tables)
    write_bytes(folder / "table.md", f"{table}\n".encode())
    return table
