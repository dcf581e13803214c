"""The units of work of a study: each is one result, in the order in which they are run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pc3d.evaluation.evidence import effective
from pc3d.evaluation.evidence.description import TASKS, Budget, Start, Study, budget_of, world_identity
from pc3d.evaluation.evidence.effective import DETECTION, SEGMENTATION, digest, what_matters

REFERENCES, PRETRAIN, PROBE = "references", "pretrain", "probe"
KINDS = (REFERENCES, PRETRAIN, PROBE, SEGMENTATION, DETECTION)
_ASKED = {"data.index": "INDEX"}
"""A place for configs that are only described."""


@dataclass(frozen=True)
class Unit:
    """One piece of work with one result.

    Attributes:
        kind: of `KINDS`. world: that the start is made for. start: its name, "" for references.
        seed: of the run.
        facts: what else tells it from the others of its kind: the world that is probed, the share of the
            frames, the draw, steps, the task whose encoder is pretrained.
        settings: everything that its result depends on, as JSON values; no path.
        needs: key of the pretraining that it begins with.
    """

    kind: str
    world: str
    start: str
    seed: int
    facts: dict[str, Any]
    settings: dict[str, Any] = field(repr=False)
    needs: str | None = None

    @property
    def key(self) -> str:
        """Name of its files: a readable head and the hash of its settings."""
        shown = [self.kind, self.world, self.start, f"seed{self.seed}" if self.start else ""]
        shown += [f"{value:g}" if isinstance(value, float) else str(value) for value in self.facts.values()]
        head = "-".join(part for part in shown if part).replace("/", "_").replace(" ", "_")
        return f"{head}-{digest(self.settings)}"

    def describe(self) -> dict[str, Any]:
        """The unit as JSON values."""
        return {
            "kind": self.kind,
            "world": self.world,
            "start": self.start,
            "seed": self.seed,
            "facts": self.facts,
            "needs": self.needs,
            "settings": self.settings,
        }


@dataclass(frozen=True)
class Known:
    """What is known of a study before its units are made.

    Attributes:
        fingerprints: of the indices of worlds that are not simulated, by name.
        files: hash of the content of the starts' files of weights, by start.
        seconds: measured CPU seconds of a step by `timing_key`.
    """

    fingerprints: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


def timing_key(study: Study, start: Start, task: str) -> str:
    """Name of a start's step time: its settings without steps, seed and world."""
    settings = what_matters(effective.pretraining(study, start, task, 1, 0, _described(start)))
    settings.pop("seed", None)
    settings.pop("schedule", None)
    return digest(settings)


def _described(start: Start) -> dict[str, Any]:
    extra = {"data.regions": "REGIONS"} if start.pretrain else {}
    if start.teacher_cache:
        extra["data.teacher_cache"] = "TEACHER"
    return {**_ASKED, **extra}


def steps_of(study: Study, start: Start, task: str, known: Known) -> int | None:
    """Steps of a start's pretraining; None where its step has not been measured yet."""
    budget: Budget = budget_of(study, start)
    if budget.steps is not None:
        return budget.steps
    assert budget.seconds is not None
    each = known.seconds.get(timing_key(study, start, task))
    return None if each is None else max(1, math.floor(budget.seconds / each))


def plan(study: Study, known: Known) -> list[Unit]:
    """All units of a study whose steps are known, world after world, pretraining before its tasks.

    Equal ones (the random start on a world that is another one's other) are there once.
    """
    units: dict[str, Unit] = {}
    for world in study.worlds:
        for unit in _of_world(study, known, world.name):
            units.setdefault(unit.key, unit)
    return list(units.values())


def _of_world(study: Study, known: Known, world: str) -> Iterator[Unit]:
    maker = _Maker(study, known)
    if study.probes is not None:
        for probed in maker.probed(world):
            yield maker.references(probed)
    for seed in study.seeds:
        for start in study.starts:
            if start.seeds is None or seed in start.seeds:
                yield from maker.of_start(start, world, seed)
    for task in TASKS:
        if getattr(study, task) is not None:
            yield from maker.curve(task, world)


class _Maker:
    """Makes the units of one study."""

    def __init__(self, study: Study, known: Known) -> None:
        self.study, self.known = study, known

    def identity(self, world: str) -> dict[str, Any]:
        one = self.study.world(world)
        named = {"train": self.study.train, "val": self.study.val}
        return {**world_identity(one, self.known.fingerprints.get(world)), **named}

    def probed(self, world: str) -> list[str]:
        """Worlds that a start of this one is probed on."""
        assert self.study.probes is not None
        other = self.study.other(world)
        return [world, other] if self.study.probes.other_world and other != world else [world]

    def references(self, world: str) -> Unit:
        probes = self.study.probes
        assert probes is not None
        settings = {"world": self.identity(world), "probes": self._draw(), "teacher": probes.teacher}
        return Unit(REFERENCES, world, "", 0, {}, settings)

    def _draw(self) -> dict[str, Any]:
        probes = self.study.probes
        assert probes is not None
        return {"points": probes.points, "sweeps": list(probes.sweeps), "draw": probes.draw}

    def of_start(self, start: Start, world: str, seed: int) -> Iterator[Unit]:
        """Pretraining, probes and fine-tuning of one start with one seed."""
        study = self.study
        if study.probes is not None or study.segmentation is not None:
            began = self.pretraining(start, world, seed, SEGMENTATION)
            if began is not None or not start.trained:
                yield from [began] if began else []
                yield from self._probes(start, world, seed, began)
                if study.segmentation is not None and start in study.starts_of(SEGMENTATION):
                    yield from self._few(start, world, seed, SEGMENTATION, began)
        if study.detection is not None and start in study.starts_of(DETECTION):
            began = self.pretraining(start, world, seed, DETECTION)
            if began is not None or not start.trained:
                yield from [began] if began else []
                yield from self._few(start, world, seed, DETECTION, began)

    def pretraining(self, start: Start, world: str, seed: int, task: str) -> Unit | None:
        """Pretraining of a start for a task's encoder; None for one without, or not measured yet."""
        steps = steps_of(self.study, start, task, self.known) if start.trained else None
        if steps is None:
            return None
        config = effective.pretraining(self.study, start, task, steps, seed, _described(start))
        trained = self.study.other(world) if start.supervised else world
        settings = {
            "world": self.identity(trained),
            "config": what_matters(config),
            "scenes": start.scenes,
            "supervised": bool(start.supervised),
        }
        return Unit(PRETRAIN, world, start.name, seed, {"encoder": task, "steps": steps}, settings)

    def _begin(self, start: Start, seed: int, began: Unit | None) -> dict[str, Any]:
        """What weights a task begins with, as JSON values."""
        if began is not None:
            return {"pretrained": digest(began.settings)}
        if start.backbone is not None:
            return {"file": self.known.files.get(start.name)}
        return {"random": seed}

    def _probes(self, start: Start, world: str, seed: int, began: Unit | None) -> Iterator[Unit]:
        if self.study.probes is None:
            return
        config = what_matters(effective.probed(self.study, start, _ASKED))
        shown = {"lidar": config["lidar"], "data": config["data"]}
        for probed in self.probed(world):
            if start.supervised and probed != world:
                continue  # it has seen the labels of that world
            settings: dict[str, Any] = {
                "world": self.identity(probed),
                "probes": self._draw(),
                "shown": shown,
                "begin": self._begin(start, seed, began),
            }
            if self.study.probes.shots:  # without them the units are those of before there were any
                settings["shots"] = list(self.study.probes.shots)
            # An untrained start belongs to no world: on another one's it is that world's own.
            of = world if start.trained else probed
            needs = began.key if began else None
            yield Unit(PROBE, of, start.name, seed, {"on": probed}, settings, needs)

    def _few(self, start: Start, world: str, seed: int, task: str, began: Unit | None) -> Iterator[Unit]:
        few = self.study.task(task)
        for percent in few.percent:
            for draw in few.draws:
                yield self._tuned(start, world, seed, task, percent, draw, few.steps, began)

    def curve(self, task: str, world: str) -> Iterator[Unit]:
        """The random start over shares and draws, and with other numbers of steps, with the first seed."""
        few, seed, start = self.study.task(task), self.study.seeds[0], self.study.start("random")
        for percent in few.curve_percent:
            # All frames are the same in every draw.
            for draw in few.curve_draws if percent < 100 else few.curve_draws[:1]:
                yield self._tuned(start, world, seed, task, percent, draw, few.steps, None)
        for steps in few.longer:
            for percent in few.percent:
                yield self._tuned(start, world, seed, task, percent, few.draws[0], steps, None)

    def _tuned(
        self,
        start: Start,
        world: str,
        seed: int,
        task: str,
        percent: float,
        draw: int,
        steps: int,
        began: Unit | None,
    ) -> Unit:
        config = effective.fine_tuning(self.study, start, task, percent, draw, steps, seed, _ASKED)
        settings = {
            "world": self.identity(world),
            "config": what_matters(config),
            "begin": self._begin(start, seed, began),
        }
        facts = {"percent": float(percent), "draw": draw, "steps": steps}
        return Unit(task, world, start.name, seed, facts, settings, began.key if began else None)
