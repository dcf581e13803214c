"""Doing one unit of work, and writing its result whole."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmengine.config import Config

from pc3d.data.errors import fail
from pc3d.data.index import SweepIndex
from pc3d.engine.checkpoints import load_encoder
from pc3d.engine.config import plain
from pc3d.engine.data import frame_config, frame_settings
from pc3d.engine.finetuner import build_segmenter, finetune
from pc3d.engine.pretrainer import pretrain
from pc3d.evaluation.downstream import evaluate_checkpoint
from pc3d.evaluation.evidence import effective
from pc3d.evaluation.evidence.description import Study
from pc3d.evaluation.evidence.effective import DETECTION, SEGMENTATION
from pc3d.evaluation.evidence.places import Places
from pc3d.evaluation.evidence.plan import PRETRAIN, PROBE, REFERENCES, Unit
from pc3d.evaluation.evidence.step_time import one_thread
from pc3d.evaluation.evidence.worlds import open_world
from pc3d.evaluation.label_efficiency import json_values
from pc3d.evaluation.protocol.data import ProbeData, draw_points, spread_key_frames
from pc3d.evaluation.protocol.features import Features, Pair, beside, both_statistics, hand_made
from pc3d.evaluation.protocol.few_shot import few_shot
from pc3d.evaluation.protocol.networks import Teacher
from pc3d.evaluation.protocol.probes import probe
from pc3d.evaluation.protocol.references import reference_table
from pc3d.models.weights import save_backbone
from pc3d.storage.whole import read_json, write_json


def result_file(places: Places, unit: Unit) -> Path:
    """Where the result of a unit lies."""
    return places.units / f"{unit.key}.json"


def read_result(path: Path) -> dict[str, Any]:
    """`unit`, `result` and `made` of a finished unit.

    Raises:
        DataError: the file is none of these.
    """
    try:
        content = read_json(path)
        if not {"unit", "result", "made"} <= set(content):
            raise ValueError("a key is missing")
    except (ValueError, TypeError) as error:
        fail(f"this is not the result of a unit: {error}", path, "delete it; the study makes it again")
    found: dict[str, Any] = content
    return found


def execute(study: Study, places: Places, unit: Unit) -> None:
    """Do a unit and write its result; what it leaves is its JSON, and of a pretraining the run folder."""
    began, wall = _cpu(), time.time()
    with one_thread():
        result = _ACTIONS[unit.kind](study, places, unit)
    made = {
        "cpu_seconds": round(_cpu() - began, 2),
        "wall_seconds": round(time.time() - wall, 2),
        "date": time.strftime("%Y-%m-%d"),
        "machine": platform.platform(),
    }
    places.units.mkdir(parents=True, exist_ok=True)
    content = {"unit": unit.describe(), "result": json_values(result), "made": made}
    write_json(result_file(places, unit), content)
    if unit.kind != PRETRAIN:
        shutil.rmtree(places.run(unit.key), ignore_errors=True)


def _cpu() -> float:
    """CPU seconds of this process and of its loaders that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _pretrain(study: Study, places: Places, unit: Unit) -> dict[str, Any]:
    start, task, steps = study.start(unit.start), unit.facts["encoder"], unit.facts["steps"]
    world = study.other(unit.world) if start.supervised else unit.world
    where = effective.of_places(study, places, world, start)
    config = effective.pretraining(study, start, task, steps, unit.seed, where)
    folder = places.run(unit.key)
    if not start.supervised:
        pretrain(config, folder, resume=True, overwrite=True)
    else:
        segmenter = finetune(config, folder / "supervised", resume=True, overwrite=True)
        encoder = load_encoder(segmenter)
        save_backbone(encoder, places.backbone(unit.key), {"lidar": json.dumps(plain(config.lidar))})
    return {"steps": steps, "trained_on": world, "losses": _last_losses(folder)}


def _last_losses(folder: Path) -> dict[str, float]:
    """The losses of the last line of a run's metrics."""
    files = sorted(folder.rglob("metrics.jsonl"))
    lines = files[0].read_text().splitlines() if files else []
    values = json.loads(lines[-1]) if lines else {}
    return {key: value for key, value in values.items() if "loss" in key}


def _references(study: Study, places: Places, unit: Unit) -> dict[str, Any]:
    assert study.probes is not None
    train, val = probe_data(study, places, unit.world)
    teacher = Teacher.of(study.probes.teacher) if study.probes.teacher else None
    return reference_table(train, val, {}, teacher)


def _probe(study: Study, places: Places, unit: Unit) -> dict[str, Any]:
    start, probed = study.start(unit.start), unit.facts["on"]
    where = effective.of_places(study, places, probed)
    config = effective.probed(study, start, where)
    init = _init(study, places, unit)
    model = build_segmenter(plain(config.lidar), {"num_classes": 2}, init, unit.seed)
    encoder = model.encoder.eval()
    frames = frame_config(frame_settings(plain(config.data)))
    train, val = probe_data(study, places, probed)
    ours = _hand_made(train), _hand_made(val)
    assert study.probes is not None
    rows: dict[str, Any] = {}
    few: dict[str, Any] = {}

    def score(name: str, pair: Pair) -> None:
        x, y = pair
        rows[name] = probe(x.values, train.labels, y.values, val.labels, train.num_classes, train.classes)

    for name, (a, b) in both_statistics(train, val, encoder, frames):
        score(name, (a, b))
        if name == "fixed" and (shots := study.probes.shots):
            few = few_shot(a.values, train.labels, b.values, val.labels, train.num_classes, shots)
        score(f"{name} beside hand-made", (beside(ours[0], a), beside(ours[1], b)))
    result = {"rows": rows, "train_points": len(train), "val_points": len(val)}
    return {**result, "few": few} if few else result


def probe_data(study: Study, places: Places, world: str) -> tuple[ProbeData, ProbeData]:
    """The points of the training and of the validation part of a world."""
    assert study.probes is not None
    index, probes = open_world(study, places, world), study.probes
    train, val = (
        _drawn(index.folder, index.root, split, count, probes.points, probes.draw)
        for split, count in zip((study.train, study.val), probes.sweeps, strict=True)
    )
    return train, val


@lru_cache(maxsize=8)
def _drawn(folder: Path, root: Path, split: str, count: int, points: int, draw: int) -> ProbeData:
    """Points of a part of a world: the same ones for every start that is probed there."""
    index = SweepIndex.open(folder, root=root)
    return draw_points(index, spread_key_frames(index, split, count), points, draw)


@lru_cache(maxsize=8)
def _hand_made(data: ProbeData) -> Features:
    return hand_made(data)


def _init(study: Study, places: Places, unit: Unit) -> dict[str, Any]:
    """Section `init` of a task's config."""
    start = study.start(unit.start)
    if unit.needs is not None:
        return {"checkpoint": str(places.backbone(unit.needs))}
    if start.backbone is not None:
        return {"checkpoint": str(start.backbone)}
    return {"random": True}


def _tuned(study: Study, places: Places, unit: Unit) -> dict[str, Any]:
    facts, start = unit.facts, study.start(unit.start)
    where = effective.of_places(study, places, unit.world)
    config: Config = effective.fine_tuning(
        study, start, unit.kind, facts["percent"], facts["draw"], facts["steps"], unit.seed, where
    )
    config.merge_from_dict({"init": _init(study, places, unit)})
    folder = places.run(unit.key)
    checkpoint = finetune(config, folder, resume=True, overwrite=True)
    index = open_world(study, places, unit.world)
    return evaluate_checkpoint(checkpoint, index, study.val, folder / "evaluation", overwrite=True)


_ACTIONS = {
    REFERENCES: _references,
    PRETRAIN: _pretrain,
    PROBE: _probe,
    SEGMENTATION: _tuned,
    DETECTION: _tuned,
}
