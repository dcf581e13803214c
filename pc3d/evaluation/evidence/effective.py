"""The effective config of each run of a study, and what of it makes a run another one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmengine.config import Config

from pc3d.engine.config import config_file, load_config, plain
from pc3d.evaluation.evidence.description import Start, Study
from pc3d.evaluation.evidence.places import Places

_PLACES = ("index", "root", "regions", "teacher_cache", "statistics_cache", "scenes", "tokens", "workers")
"""Settings of `data` that say where something lies, or how quick it is, and change no result."""
SEGMENTATION, DETECTION = "segmentation", "detection"


def of_places(study: Study, places: Places, world: str, start: Start | None = None) -> dict[str, Any]:
    """Where the data of a world lie, as settings."""
    folders = places.of(study.world(world))
    found: dict[str, Any] = {
        "data.index": str(folders.index),
        "data.statistics_cache": str(folders.statistics),
    }
    if folders.root is not None:
        found["data.root"] = str(folders.root)
    if start is not None and start.pretrain:
        found["data.regions"] = str(folders.regions)
        if start.scenes:
            found["data.scenes"] = str(file_of_scenes(folders.base, start.scenes))
        if start.teacher_cache:
            found["data.teacher_cache"] = str(folders.teacher)
    return found


def pretraining(
    study: Study, start: Start, task: str, steps: int, seed: int, where: Mapping[str, Any]
) -> Config:
    """Config of the run that makes a start's weights for a task's encoder.

    Args:
        task: `segmentation` or `detection`, whose LiDAR encoder is trained. where: of `of_places`.

    Raises:
        ValueError: a wrong setting; a config with stages, whose budget nobody has said.
    """
    if start.supervised:
        return _supervised(study, start, task, steps, seed, where)
    assert start.pretrain is not None
    given = {
        **study.overrides,
        **study.pretrain_overrides,
        **_split(study, start),
        **start.overrides,
        **_own(start, task),
        **where,
        "seed": seed,
        "schedule.iterations": steps,
    }
    config = _loaded(start.pretrain, "pretrain", given)
    if config.get("stages"):
        raise ValueError(f"start {start.name!r}: {start.pretrain} has stages; a study pretrains in one run")
    if set(plain(config.get("init")) or {}) - {"random"}:
        raise ValueError(f"start {start.name!r} begins with other weights (`init`), which no name would tell")
    encoder = encoder_of(study, start, task)
    if encoder and plain(config.lidar) != encoder:
        config.merge_from_dict({"lidar": {"_delete_": True, **encoder}})
    return config


def _split(study: Study, start: Start) -> dict[str, Any]:
    return {} if start.scenes else {"data.split": study.train}


def _supervised(
    study: Study, start: Start, task: str, steps: int, seed: int, where: Mapping[str, Any]
) -> Config:
    given = {
        **study.overrides,
        "data.split": study.train,
        "data.fraction": 100,
        **start.overrides,
        **_own(start, task),
        **where,
        "seed": seed,
        "schedule.iterations": steps,
    }
    config = _loaded(str(start.supervised), "finetune", given)
    encoder = encoder_of(study, start, task)
    if encoder and plain(config.lidar) != encoder:
        config.merge_from_dict({"lidar": {"_delete_": True, **encoder}})
    config.merge_from_dict({"init": {"random": True}})
    return config


def _own(start: Start, task: str) -> dict[str, Any]:
    """Settings of the start's network; detection has the same one for all."""
    return dict(start.encoder) if task == SEGMENTATION else {}


def fine_tuning(
    study: Study,
    start: Start,
    task: str,
    percent: float,
    draw: int,
    steps: int,
    seed: int,
    where: Mapping[str, Any],
) -> Config:
    """Config of a fine-tuning run, without the weights that it starts from."""
    settings = study.task(task)
    given = {
        **study.overrides,
        "data.split": study.train,
        **settings.overrides,
        **_own(start, task),
        "data.fraction": percent,
        "data.fraction_rule": "nested",
        "data.fraction_draw": draw,
        **where,
        "seed": seed,
        "schedule.iterations": steps,
    }
    return _loaded(settings.config, "finetune", given)


def probed(study: Study, start: Start, where: Mapping[str, Any]) -> Config:
    """Config that says which encoder a probe of a start reads, and what the encoder is shown."""
    name = study.segmentation.config if study.segmentation else "sim_linear_probe"
    return _loaded(name, "finetune", {**study.overrides, **_own(start, SEGMENTATION), **where})


def encoder_of(study: Study, start: Start, task: str) -> dict[str, Any]:
    """The LiDAR encoder of a task, with which all of its starts are trained."""
    if task == DETECTION:
        where = {**study.overrides, **study.task(task).overrides}
        return plain(_loaded(study.task(task).config, "finetune", where).lidar)
    over = study.segmentation.overrides if study.segmentation else {}
    return plain(probed(study, start, {k: v for k, v in over.items() if k.startswith("lidar")}).lidar)


def _loaded(name: str, kind: str, given: Mapping[str, Any]) -> Config:
    # As text, so that the cache has a key; `load_config` checks every setting, which takes a while.
    return Config(json.loads(_cached(str(name), kind, json.dumps(given, sort_keys=True))))


@lru_cache(maxsize=512)
def _cached(name: str, kind: str, given: str) -> str:
    config = load_config(config_file(name, kind), kind, json.loads(given))
    return json.dumps(plain(config))


def what_matters(config: Config) -> dict[str, Any]:
    """The settings of a config that its result depends on, as JSON values: no places, no logging."""
    settings: dict[str, Any] = json.loads(json.dumps(plain(config)))
    for key in ("expected_losses", "init", "work_dir", "launcher"):
        settings.pop(key, None)
    data = settings.get("data", {})
    cached = data.get("teacher_cache") is not None
    settings["data"] = {key: value for key, value in data.items() if key not in _PLACES}
    if cached:
        settings["data"]["teacher_cache"] = True
    runtime = settings.pop("runtime", {})
    if "precision" in runtime:
        settings["precision"] = runtime["precision"]
    return settings


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits that name JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]


def file_of_scenes(base: Path, count: int) -> Path:
    """Where the list of the first scenes of a world lies, in its folder."""
    return base / f"first-{count}-scenes.txt"
