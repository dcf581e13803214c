"""The shipped studies: each start takes a step, each part of a contrast is in one of them or says why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest
from objective_fixtures import TinyCamera, TinyImage, TinyLidar, make_batch

from pc3d.contrast.registry import LIST_LOSSES, SLOTS
from pc3d.data.sampler_settings import SAMPLERS
from pc3d.engine.config import plain
from pc3d.evaluation.evidence import effective, step_time
from pc3d.evaluation.evidence.plan import PRETRAIN, Known, plan
from pc3d.evaluation.evidence.read import read_study
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.registry import OBJECTIVES, build_objective

STUDIES = ("contrast", "contrast_more")
OTHERS = ("evidence", "recipe", "regions")
NOT_TRIED = {
    "Cosine": "the similarity of every plain start, which names none",
    "Clusters": "reads a table of a backbone that is trained before, which a study does not write",
    "BEVDistill": "trains the cameras' map, which no probe of points reads",
    "RAD": "trains the cameras' map, which no probe of points reads",
    "ProposalContrast": "a baseline with a config of its own, no part of a contrast",
    "PPKT": "a baseline with a config of its own, no part of a contrast",
    "MaskedOccupancy": "predicts occupancy: no contrast",
    "Seal": "a baseline with a config of its own, no part of a contrast",
}
"""Registered names that are in no shipped study, and why."""


@cache
def starts_of(name: str) -> dict[str, dict[str, Any]]:
    """Objectives and sampler of each pretrained start of a study, by the start's name."""
    study, found = read_study(name), {}
    where = {"data.index": "INDEX", "data.regions": "REGIONS"}
    for start in study.starts:
        if start.pretrain:
            more = {"data.teacher_cache": "TEACHER"} if start.teacher_cache else {}
            config = effective.pretraining(study, start, "segmentation", 1, 0, {**where, **more})
            read = {"objectives": plain(config.objectives), "sampler": config.data.get("sampler")}
            found[start.name] = read
    return found


def types_in(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(value.get("type"), str):
            yield value["type"]
        for inner in value.values():
            yield from types_in(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from types_in(inner)


@pytest.mark.parametrize("name", STUDIES)
def test_every_start_of_a_study_of_contrasts_takes_a_step_and_is_planned(name: str) -> None:
    study = read_study(name)
    image, batch = TinyImage(), make_batch(points=40, segments=3)
    trained = starts_of(name)
    for start, found in trained.items():
        for config in found["objectives"].values():
            lidar = TinyLidar(8)
            model = build_objective(config, lidar, image, TinyCamera(image))
            loss = model(Encodings(batch, lidar, image, want_bev=False))["loss"]
            assert loss.isfinite(), start
    units = plan(study, Known(seconds=dict.fromkeys(step_time.timed_runs(study), 0.5)))
    made = [unit for unit in units if unit.kind == PRETRAIN]
    assert len(made) == len({unit.key for unit in made}) == len(study.seeds) * len(trained)
    assert len({str(unit.settings) for unit in made}) == len(made)  # no two starts are the same


def test_every_registered_name_is_in_a_study_or_says_why_not() -> None:
    tried, others = (
        {one for name in names for one in types_in(list(starts_of(name).values()))}
        for names in (STUDIES, OTHERS)
    )
    parts = {*LIST_LOSSES, *SAMPLERS, *(name for registry in SLOTS.values() for name in registry)}
    missing = (parts - tried) | (set(OBJECTIVES) - tried - others)
    assert missing == set(NOT_TRIED)
