"""Fine-tuning from a pretrained or a random start: LiDAR segmentation, and tasks on a BEV map."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import Tensor, nn

from pc3d.data.batch import Batch, Needs
from pc3d.data.classes import ClassSet
from pc3d.engine.config import plain
from pc3d.engine.data import build_dataset, frame_settings
from pc3d.engine.data_checks import check_boxes, check_data, write_checks
from pc3d.engine.data_classes import classes_of, follow_index
from pc3d.engine.frozen_parts import refuse_random_frozen
from pc3d.engine.initial_weights import load_initial, load_part
from pc3d.engine.runs.run import Mode
from pc3d.engine.training import TrainableModel, open_run, seeded, start_distributed, train
from pc3d.models.bev_models import BEV_MODELS, BevDetector, BevModel, build_bev_model
from pc3d.models.heads.segmentation import PointSegmenter
from pc3d.models.lidar import build_lidar_encoder

NETWORK = ("lidar", "image", "camera")
"""Sections of a BEV task's config that are the branches of its network; `network` holds the rest."""

LIDARSEG = "lidarseg"
FILES = {LIDARSEG: "segmenter", "detection": "detector", "map": "map_segmenter"}
"""Name of the weights in the run folder, by task."""


class Finetuner(TrainableModel):
    """A model of a downstream task as a trainable model."""

    def __init__(self, model: PointSegmenter | BevModel) -> None:
        super().__init__()
        self.model = model
        if model.learns_from is not None:
            self.learns_from = {"head/examples": model.learns_from}

    def forward(self, batch: Batch, mode: str = "loss") -> dict[str, Tensor]:
        return {**self.model.loss(batch), "head/examples": self.model.examples(batch)}


def build_segmenter(
    lidar: dict[str, Any], head: dict[str, Any], init: dict[str, Any] | None = None, seed: int = 0
) -> PointSegmenter:
    """A segmenter with random weights of `seed`, its encoder loaded where `init.checkpoint` is set.

    Raises:
        ValueError: if the checkpoint does not fit the encoder (unless `init.partial`).
    """
    with seeded(seed):
        segmenter = PointSegmenter(build_lidar_encoder(lidar), **head)
    if init and init.get("checkpoint"):
        load_part(segmenter.encoder, Path(init["checkpoint"]), init.get("partial", False))
    return segmenter


def build_bev(config: Config) -> BevModel:
    """The BEV model of a fine-tuning config, with its initial weights.

    `init` is as in pretraining (`run`, or a file each for `lidar`, `image`, `camera`); `checkpoint` is the
    LiDAR encoder's file.

    Raises:
        ValueError: a branch that does not fit, or a checkpoint that does not; the names are listed.
    """
    with seeded(config.get("seed", 0)):
        model = build_bev_model(config.task, bev_network(config), bev_head(config))
    init = plain(config.get("init")) or {}
    if init.get("checkpoint"):
        init["lidar"] = init["checkpoint"]
    init.pop("checkpoint", None)
    load_initial(init, model.parts, nn.ModuleDict())
    return model


def bev_network(config: Config) -> dict[str, Any]:
    """Arguments of `BevNetwork` from the sections of a config."""
    branches = {name: plain(config.get(name)) for name in NETWORK}
    return {**branches, **plain(config.get("network") or {})}


def bev_head(config: Config) -> dict[str, Any]:
    """Arguments of the task's head; masks of the map are predicted on the grid that they are loaded on."""
    head = plain(config.get("head") or {})
    if config.task == "map" and config.data.get("map_grid") is not None:
        head["map_grid"] = plain(config.data.map_grid)
    return head


def build_finetuner(config: Config) -> Finetuner:
    """The model of a fine-tuning config, with its initial weights."""
    if config.get("task", LIDARSEG) != LIDARSEG:
        return Finetuner(build_bev(config))
    lidar, head = plain(config.lidar), plain(config.get("head") or {})
    return Finetuner(build_segmenter(lidar, head, plain(config.get("init")), config.get("seed", 0)))


def task_needs(config: Config) -> Needs:
    """What the task asks of the loader."""
    task = config.get("task", LIDARSEG)
    if task == LIDARSEG:
        if config.data.get("sweeps", 1) > 1:
            raise ValueError("LiDAR segmentation reads one sweep, whose points have labels: data.sweeps=1")
        return Needs(labels=True)
    if task not in BEV_MODELS:
        raise ValueError(f"unknown task {task!r}; known: {', '.join(FILES)}")
    return BEV_MODELS[task].frame_needs | Needs(images=config.get("image") is not None)


def _described(config: Config, classes: ClassSet | None) -> dict[str, str]:
    """What is needed to build the model again, and what its predictions mean."""
    task = config.get("task", LIDARSEG)
    described: dict[str, Any] = {"frames": frame_settings(plain(config.data))}
    if classes is not None:
        described["classes"] = classes.to_dict()
    if task == LIDARSEG:
        described |= {"lidar": plain(config.lidar), "head": plain(config.get("head") or {})}
        return {key: json.dumps(value) for key, value in described.items()}
    described |= {"network": bev_network(config), "head": bev_head(config)}
    return {"task": task, **{key: json.dumps(value) for key, value in described.items()}}


def finetune(
    config: Config,
    work_dir: Path,
    resume: bool = False,
    overwrite: bool = False,
    allow_change: Sequence[str] = (),
    take_over: bool = False,
) -> Path:
    """Run fine-tuning; returns the file of the model in the run folder.

    It is `segmenter.safetensors` for lidarseg, `detector.safetensors` for detection and
    `map_segmenter.safetensors` for map segmentation.

    Args:
        resume, overwrite, allow_change, take_over: what to do with a run that is in `work_dir`, see `Mode`.

    Raises:
        DataError, ValueError: the config, the data or the folder cannot be used.
        Stopped: a signal ended the run. NotFinite: it cannot go on.
    """
    mode = Mode(resume, overwrite, tuple(allow_change), take_over)
    start_distributed(config.get("launcher", "none"))
    name = FILES.get(config.get("task", LIDARSEG), "model")
    refuse_random_frozen(plain(config))
    dataset = build_dataset(plain(config.data), task_needs(config), config.get("seed", 0))
    config = follow_index(config, dataset)
    described = _described(config, classes_of(dataset, config.get("task", LIDARSEG)))
    findings = check_data(dataset, config.data.get("calibration", "stop"))
    with open_run(config, dataset, Path(work_dir), mode) as run:
        if not run.start.finished:
            write_checks(run.folder, findings)
            model = build_finetuner(config)
            if isinstance(model.model, BevDetector):
                check_boxes(dataset, model.model.labels, model.model.network.grid)
            train(model, dataset, config, run, "finetune", {name: model.model}, described)
    return run.folder / f"{name}.safetensors"
