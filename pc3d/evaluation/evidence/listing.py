"""What of a study is done, what is missing, and how long that will take."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from pc3d.evaluation.evidence.description import Study, budget_of
from pc3d.evaluation.evidence.execute import read_result, result_file
from pc3d.evaluation.evidence.places import Places
from pc3d.evaluation.evidence.plan import KINDS, PRETRAIN, Known, Unit, plan
from pc3d.evaluation.evidence.schedule import check_only, chosen, to_do
from pc3d.evaluation.evidence.step_time import timed_runs
from pc3d.regions.cut import duration


def list_units(study: Study, places: Places, known: Known, only: Sequence[str] = (), jobs: int = 1) -> str:
    """A line per unit, a line per world and kind, and the estimate; nothing is run or made.

    Raises:
        ValueError: `only` names nothing of the study.
    """
    check_only(study, only)
    units = chosen(study, plan(study, known), only)
    missing = {unit.key for unit in to_do(units, places)}
    guess = _Estimate(study, places, known, units)
    lines = [f"{'missing' if u.key in missing else 'done   '}  {_time(guess(u)):>12}  {u.key}" for u in units]
    lines.append("")
    for world in study.worlds:
        for kind in KINDS:
            of = [unit for unit in units if (unit.world, unit.kind) == (world.name, kind)]
            if of:
                done = sum(unit.key not in missing for unit in of)
                lines.append(f"{world.name}: {kind} {done} of {len(of)}")
    unmeasured = [
        f"{start.name} ({task})"
        for key, (start, task) in timed_runs(study).items()
        if budget_of(study, start).seconds is not None and key not in known.seconds
    ]
    if unmeasured:
        lines.append(
            f"the step is not measured yet, so that neither pretraining nor its tasks are listed: "
            f"{', '.join(unmeasured)}"
        )
        seconds = sum(
            (budget_of(study, start).seconds or 0) * len(study.worlds) * len(start.seeds or study.seeds)
            for key, (start, _) in timed_runs(study).items()
            if key not in known.seconds
        )
        lines.append(f"these pretrainings take about {duration(seconds / jobs)} with {jobs} at a time")
    times = [guess(unit) for unit in units if unit.key in missing]
    known_times = [time for time in times if time is not None]
    unknown = len(times) - len(known_times)
    text = f"{len(missing)} of {len(units)} units are missing"
    if known_times:
        text += f": about {duration(sum(known_times) / jobs)} with {jobs} at a time"
    if unknown:
        text += f"; {unknown} of a kind of which none is done, whose time is not known"
    return "\n".join([*lines, text])


def _time(seconds: float | None) -> str:
    return "?" if seconds is None else duration(seconds)


class _Estimate:
    """CPU seconds of a unit: of itself, of others of its kind (and start), or from the measured steps."""

    def __init__(self, study: Study, places: Places, known: Known, units: Sequence[Unit]) -> None:
        self.study, self.known = study, known
        self.keys = {(start.name, task): key for key, (start, task) in timed_runs(study).items()}
        self.spent: dict[tuple[str, str], list[float]] = {}
        self.own: dict[str, float] = {}
        for unit in units:
            path = result_file(places, unit)
            if path.is_file():
                seconds = float(read_result(path)["made"]["cpu_seconds"])
                self.own[unit.key] = seconds
                for name in (unit.start, ""):
                    self.spent.setdefault((unit.kind, name), []).append(seconds / _size(unit))

    def __call__(self, unit: Unit) -> float | None:
        if unit.key in self.own:
            return self.own[unit.key]
        if unit.kind == PRETRAIN:
            task = unit.facts["encoder"]
            each = self.known.seconds.get(self.keys.get((unit.start, task), ""))
            if each is not None:
                return each * _size(unit)
        # A pretraining of another start says nothing of this one's steps.
        names = (unit.start,) if unit.kind == PRETRAIN else (unit.start, "")
        for name in names:
            if (unit.kind, name) in self.spent:
                return statistics.median(self.spent[unit.kind, name]) * _size(unit)
        return None


def _size(unit: Unit) -> float:
    """What a unit's time is proportional to: its steps."""
    return float(unit.facts.get("steps", 1))
