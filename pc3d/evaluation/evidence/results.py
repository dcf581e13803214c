"""Finished units of a study, and the scores of its starts by world and seed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pc3d.evaluation.evidence.description import RANDOM, Study
from pc3d.evaluation.evidence.execute import read_result, result_file
from pc3d.evaluation.evidence.places import Places
from pc3d.evaluation.evidence.plan import PRETRAIN, PROBE, REFERENCES, Known, Unit, plan

HAND_MADE, RAW = "hand-made", "z, intensity, range"
Scores = dict[tuple[Hashable, Hashable], float]
"""A score by (world, seed), or by (world, draw)."""
Curve = dict[tuple[Hashable, Hashable], dict[float, float]]
"""Scores of the random start by (world, draw) and percent."""


@dataclass(frozen=True)
class Finished:
    """A unit and what its file holds.

    Attributes:
        unit: as planned. result: what it found. made: CPU and wall-clock seconds, date, machine.
    """

    unit: Unit
    result: dict[str, Any]
    made: dict[str, Any]


def finished(study: Study, places: Places, known: Known) -> list[Finished]:
    """The units of a study that have a result, in the order of the plan.

    Raises:
        DataError: a file that is no result.
    """
    found = []
    for unit in plan(study, known):
        path = result_file(places, unit)
        if path.is_file():
            content = read_result(path)
            found.append(Finished(unit, content["result"], content["made"]))
    return found


def of_kind(done: Iterable[Finished], kind: str, start: str | None = None) -> list[Finished]:
    """Those of a kind, and of a start."""
    return [one for one in done if one.unit.kind == kind and (start is None or one.unit.start == start)]


def probe_scores(done: Sequence[Finished], start: str, row: str, probe: str, other: bool = False) -> Scores:
    """mIoU of a start's probe by the world that is probed and the seed.

    Args:
        row: `fixed` or `estimated`, statistics of batch norm; `... beside hand-made`.
        probe: `logistic` or `knn`.
        other: on another world than that of the pretraining. An untrained start has no world of its own.
    """
    scores: Scores = {}
    for one in of_kind(done, PROBE, start):
        on = one.unit.facts["on"]
        elsewhere = on != one.unit.world
        if elsewhere == other or one.unit.needs is None:
            scores[on, one.unit.seed] = float(one.result["rows"][row][probe]["miou"])
    return scores


def shot_scores(done: Sequence[Finished], start: str, count: int, form: str) -> Scores:
    """mIoU by prototypes of so many labels of each class, on the own world; `form` of `few_shot.FORMS`."""
    return {
        (one.unit.facts["on"], one.unit.seed): float(one.result["few"][str(count)][form])
        for one in of_kind(done, PROBE, start)
        if "few" in one.result and (one.unit.facts["on"] == one.unit.world or one.unit.needs is None)
    }


def reference_scores(
    done: Sequence[Finished], name: str, probe: str, seeds: Iterable[int], block: str = "all"
) -> Scores:
    """mIoU of a reference by world; the same for every seed."""
    scores: Scores = {}
    seeds = list(seeds)
    for one in of_kind(done, REFERENCES):
        rows = one.result.get(block, {}).get("rows", {})
        if name in rows:
            scores |= {(one.unit.world, seed): float(rows[name][probe]["miou"]) for seed in seeds}
    return scores


def task_scores(
    done: Sequence[Finished], task: str, start: str, metric: str, percent: float, steps: int
) -> dict[tuple[str, int, int], float]:
    """A metric of fine-tuning by world, draw and seed."""
    return {
        (one.unit.world, one.unit.facts["draw"], one.unit.seed): float(one.result[metric])
        for one in of_kind(done, task, start)
        if one.unit.facts["percent"] == percent
        and one.unit.facts["steps"] == steps
        and one.result.get(metric) is not None
    }


def by_seed(scores: dict[tuple[str, int, int], float]) -> Scores:
    """Means over the draws, by (world, seed)."""
    return _grouped(scores, lambda key: (key[0], key[2]))


def by_draw(scores: dict[tuple[str, int, int], float]) -> Scores:
    """Means over the seeds, by (world, draw)."""
    return _grouped(scores, lambda key: (key[0], key[1]))


def _grouped(
    scores: dict[tuple[str, int, int], float], of: Callable[[tuple[str, int, int]], tuple[Hashable, Hashable]]
) -> Scores:
    groups: dict[tuple[Hashable, Hashable], list[float]] = {}
    for key, score in scores.items():
        groups.setdefault(of(key), []).append(score)
    return {key: sum(values) / len(values) for key, values in groups.items()}


def random_curve(study: Study, done: Sequence[Finished], task: str, metric: str) -> Curve:
    """Scores of the random start by (world, draw) and percent, means over the seeds."""
    few = study.task(task)
    found: Curve = {}
    for percent in sorted({float(p) for p in (*few.percent, *few.curve_percent)}):
        scores = task_scores(done, task, RANDOM, metric, percent, few.steps)
        for key, score in by_draw(scores).items():
            found.setdefault(key, {})[percent] = score
    return found


def spent(done: Sequence[Finished], start: str) -> dict[str, list[Finished]]:
    """The pretrainings of a start by the encoder that they train."""
    found: dict[str, list[Finished]] = {}
    for one in of_kind(done, PRETRAIN, start):
        found.setdefault(one.unit.facts["encoder"], []).append(one)
    return found
