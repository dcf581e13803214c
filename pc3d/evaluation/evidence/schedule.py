"""Running the units of a study that have no result yet, some at a time, until all are done or time is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from pc3d.data.errors import did_you_mean, fail
from pc3d.data.index import SweepIndex
from pc3d.engine.runs.lock import RunLock
from pc3d.evaluation.evidence.description import Study, budget_of
from pc3d.evaluation.evidence.execute import execute, result_file
from pc3d.evaluation.evidence.places import Places
from pc3d.evaluation.evidence.plan import KINDS, PRETRAIN, Known, Unit, plan
from pc3d.evaluation.evidence.step_time import measure, read_times, seconds_of, timed_runs
from pc3d.evaluation.evidence.worlds import make_world
from pc3d.processes import worker_pool
from pc3d.storage.whole import clean, file_sha256, read_json, write_json

IDENTITIES = "identities.json"


@dataclass
class Outcome:
    """What a call did.

    Attributes:
        done: keys of the units that it ran. failed: what went wrong, by key.
        out_of_time: it stopped for that.
    """

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    out_of_time: bool = False


def known_of(study: Study, places: Places) -> Known:
    """What the units of a study are named by; it is kept in the folder, so that it may be moved.

    Raises:
        DataError: an index or a file of weights is neither there nor known from before; it has changed.
    """
    path = places.folder / IDENTITIES
    before: dict[str, dict[str, str]] = read_json(path) if path.is_file() else {}
    found: dict[str, dict[str, str]] = {"worlds": {}, "files": {}}
    for world in study.worlds:
        if world.index is not None:
            there = (world.index / "metadata.json").is_file()
            now = SweepIndex.open(world.index, root=world.root).fingerprint if there else None
            found["worlds"][world.name] = _same(before.get("worlds", {}), world.name, now, str(world.index))
    for start in study.starts:
        if start.backbone is not None:
            now = file_sha256(start.backbone) if start.backbone.is_file() else None
            found["files"][start.name] = _same(before.get("files", {}), start.name, now, str(start.backbone))
    if found != before and any(found.values()):
        places.folder.mkdir(parents=True, exist_ok=True)
        write_json(path, {key: {**before.get(key, {}), **value} for key, value in found.items()})
    return Known(found["worlds"], found["files"], seconds_of(read_times(places.folder)))


def _same(before: dict[str, str], name: str, now: str | None, where: str) -> str:
    if now is None and name not in before:
        fail(f"{name!r} of the study is not there", where, "name an index folder, or a file of weights")
    return now if now is not None else before[name]


def run(
    study: Study,
    places: Places,
    jobs: int = 1,
    hours: float | None = None,
    only: Sequence[str] = (),
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Run what is missing of a study, world after world.

    Args:
        jobs: units at a time, each in a process of one thread; with 1 they run in this process.
        hours: after so many no new unit is started.
        only: kinds, worlds and starts; a unit is run where each of the three that is named has it.

    Raises:
        DataError: a world cannot be made. ValueError: a wrong setting, `only` names nothing of the study.
    """
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}, expected at least 1")
    check_only(study, only)
    places.folder.mkdir(parents=True, exist_ok=True)
    end = None if hours is None else clock() + 3600 * hours
    outcome = Outcome()

    def late() -> bool:
        outcome.out_of_time = outcome.out_of_time or (end is not None and clock() >= end)
        return outcome.out_of_time

    with RunLock(places.folder):
        clean(places.folder)
        known_of(study, places)
        _measured(study, places, jobs)
        with _executor(jobs) as submit:
            for world in study.worlds:
                units = chosen(study, plan(study, known_of(study, places)), only)
                missing = to_do([u for u in units if u.world == world.name], places)
                if missing and not late():
                    for name in study.worlds_for(world.name):
                        make_world(study, places, name, jobs)
                    _run_all(study, places, missing, jobs, submit, late, outcome)
    return outcome


def _measured(study: Study, places: Places, jobs: int) -> None:
    """Measure the steps where a budget is in seconds."""
    if all(budget_of(study, start).seconds is None for start in study.starts if start.trained):
        return
    if not set(timed_runs(study)) <= set(read_times(places.folder)):
        for name in study.worlds_for(study.worlds[0].name):
            make_world(study, places, name, jobs)
        measure(study, places)


def check_only(study: Study, only: Iterable[str]) -> None:
    """Refuse a word that names nothing of a study."""
    words = [*KINDS, *(world.name for world in study.worlds), *study.names]
    for word in only:
        if word not in words:
            near = did_you_mean(word, words) or "."
            raise ValueError(f"--only names {word!r}{near} This study has: {', '.join(words)}")


def chosen(study: Study, units: Sequence[Unit], only: Sequence[str]) -> list[Unit]:
    """The units that `only` asks for, and the pretraining that they begin with."""
    groups = (set(KINDS), {world.name for world in study.worlds}, set(study.names))
    asked = [group & set(only) for group in groups]
    kept = [
        unit
        for unit in units
        if all(
            not words or value in words
            for words, value in zip(asked, (unit.kind, unit.world, unit.start), strict=True)
        )
    ]
    wanted = {unit.key for unit in kept} | {unit.needs for unit in kept if unit.needs}
    return [unit for unit in units if unit.key in wanted]


def to_do(units: Sequence[Unit], places: Places) -> list[Unit]:
    """Units without a result, and pretrainings whose weights one of them lacks."""
    missing = [unit for unit in units if not result_file(places, unit).is_file()]
    lacking = {unit.needs for unit in missing if unit.needs and not places.backbone(unit.needs).is_file()}
    keys = {unit.key for unit in missing} | lacking
    return [unit for unit in units if unit.key in keys]


Submit = Callable[[Study, Places, Unit], "Future[None]"]


@contextmanager
def _executor(jobs: int) -> Iterator[Submit]:
    if jobs == 1:

        def here(study: Study, places: Places, unit: Unit) -> Future[None]:
            future: Future[None] = Future()
            try:
                execute(study, places, unit)
                future.set_result(None)
            except Exception as error:
                future.set_exception(error)
            return future

        yield here
        return
    with worker_pool(jobs, _one_thread) as pool:
        yield lambda study, places, unit: pool.submit(execute, study, places, unit)


def _one_thread() -> None:
    torch.set_num_threads(1)


def _run_all(
    study: Study,
    places: Places,
    units: list[Unit],
    jobs: int,
    submit: Submit,
    late: Callable[[], bool],
    outcome: Outcome,
) -> None:
    waiting, running = list(units), dict[Future[None], Unit]()
    while waiting or running:
        while len(running) < jobs and not late() and (unit := _next(waiting, running, places, outcome)):
            waiting.remove(unit)
            print(f"begin  {unit.key}", flush=True)
            running[submit(study, places, unit)] = unit
        if not running:
            return  # time is up, or what is left begins with what failed
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            unit = running.pop(future)
            error = future.exception()
            if error is not None and not isinstance(error, Exception):
                raise error
            if error is not None:
                outcome.failed[unit.key] = f"{type(error).__name__}: {error}"
                print(f"failed {unit.key}: {outcome.failed[unit.key]}", flush=True)
            else:
                outcome.done.append(unit.key)
                print(f"done   {unit.key}", flush=True)


def _next(
    waiting: list[Unit], running: dict[Future[None], Unit], places: Places, outcome: Outcome
) -> Unit | None:
    """The first unit whose weights are there; those that begin with a failed one are passed over."""
    open_keys = {unit.key for unit in [*waiting, *running.values()] if unit.kind == PRETRAIN}
    for unit in waiting:
        if unit.needs is None:
            return unit
        if unit.needs not in open_keys and places.backbone(unit.needs).is_file():
            return unit
    return None
