"""The tables of a study in Markdown: scores, differences with intervals, label multipliers, budgets."""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Sequence

from pc3d.evaluation.evidence.description import RANDOM, Study
from pc3d.evaluation.evidence.plan import REFERENCES
from pc3d.evaluation.evidence.results import (
    HAND_MADE,
    Curve,
    Finished,
    Scores,
    by_draw,
    by_seed,
    of_kind,
    probe_scores,
    random_curve,
    reference_scores,
    shot_scores,
    spent,
    task_scores,
)
from pc3d.evaluation.evidence.step_time import Measured
from pc3d.evaluation.intervals import Interval, interval, paired_interval
from pc3d.evaluation.label_multiplier import label_multiplier
from pc3d.evaluation.protocol.few_shot import FORMS

METRICS = {"segmentation": ("miou",), "detection": ("nds", "map")}
TITLES = {"miou": "mIoU", "nds": "NDS", "map": "mAP"}
PROBES = ("logistic", "knn")
NOTE = (
    "Percent. A difference is paired by world and seed; in brackets the 95 % interval over worlds, the wider "
    "of Student's t and the bootstrap on each side; one world has none."
)


def number(found: Interval | None, sign: bool = False) -> str:
    """Mean in percent and the outer ends of the intervals; empty for none."""
    if found is None:
        return ""
    ends = [pair for pair in (found.bootstrap, found.t) if pair is not None]
    low, high = min((e[0] for e in ends), default=0.0), max((e[1] for e in ends), default=0.0)
    plus = "+" if sign else ""
    between = f" [{100 * low:{plus}.1f} to {100 * high:{plus}.1f}]" if ends else ""
    return f"{100 * found.mean:{plus}.1f}{between}"


def mean(scores: Scores) -> str:
    """Mean over the means of the worlds, in percent."""
    return f"{100 * interval(scores).mean:.1f}" if scores else ""


def difference(scores: Scores, reference: Scores) -> str:
    """Scores minus those of a reference in the same world with the same seed, with their interval."""
    if not set(scores) & set(reference):
        return ""
    return number(paired_interval(scores, reference), sign=True)


def worlds_above(scores: Scores, reference: Scores) -> str:
    """In how many worlds the mean is above that of the reference: `2 of 3`."""
    gains: dict[Hashable, list[float]] = {}
    for key in scores:
        if key in reference:
            gains.setdefault(key[0], []).append(scores[key] - reference[key])
    above = sum(statistics.fmean(values) > 0 for values in gains.values())
    return f"{above} of {len(gains)}" if gains else ""


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; rows without any number are left out."""
    kept = [row for row in rows if any(row[1:])]
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *kept]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def probe_tables(study: Study, done: Sequence[Finished], other: bool) -> str:
    """Scores and differences of the probes of all starts, references in the first lines."""

    def reference(name: str, probe: str) -> Scores:
        return reference_scores(done, name, probe, study.seeds)

    def of(start: str, row: str, probe: str) -> Scores:
        return probe_scores(done, start, row, probe, other)

    scores = [[name, *(mean(reference(name, p)) for p in PROBES), *[""] * 4] for name in _references(done)]
    shown = [s.name for s in study.starts if not (other and s.supervised)]
    forms = ("fixed", "estimated", "fixed beside hand-made")
    scores += [[name, *(mean(of(name, form, p)) for form in forms for p in PROBES)] for name in shown]
    changes = []
    for name in shown:
        base = study.start(name).baseline
        line = [name]
        for probe in PROBES:
            hand, own = reference(HAND_MADE, probe), of(name, "fixed", probe)
            both = of(name, "fixed beside hand-made", probe)
            line.append("" if name == base else difference(own, of(base, "fixed", probe)))
            line += [difference(own, hand), worlds_above(own, hand), difference(both, hand)]
        changes.append(line)
    columns = ["logistic", "kNN"]
    heads = [*columns, *(f"estimated, {c}" for c in columns), *(f"beside hand-made, {c}" for c in columns)]
    table = markdown(["features", *heads], scores)
    gains = ["over random", "over hand-made", "worlds above", "added to hand-made"]
    heads = [f"{gain}, {column}" for column in columns for gain in gains]
    return f"{table}\n{markdown(['start', *heads], changes)}"


def _references(done: Sequence[Finished], block: str = "all") -> list[str]:
    names = [name for one in of_kind(done, REFERENCES) for name in one.result.get(block, {}).get("order", ())]
    return list(dict.fromkeys(names))


def teacher_table(study: Study, done: Sequence[Finished]) -> str:
    """References on the points that a camera sees, the teacher among them; empty without a teacher."""
    rows = []
    for name in _references(done, "seen"):
        scores = [reference_scores(done, name, probe, study.seeds[:1], "seen") for probe in PROBES]
        rows.append([name, *map(mean, scores)])
    return markdown(["features, points in view", "logistic", "kNN"], rows) if rows else ""


def shot_table(study: Study, done: Sequence[Finished]) -> str:
    """Prototypes of a few labels, as they are and moved; empty where none are asked for."""
    asked = [(count, form) for count in (study.probes.shots if study.probes else ()) for form in FORMS]
    rows = [
        [start.name, *(mean(shot_scores(done, start.name, count, form)) for count, form in asked)]
        for start in study.starts
    ]
    return (
        markdown(["labels of each class", *(f"{count}, {form}" for count, form in asked)], rows)
        if asked
        else ""
    )


def task_tables(study: Study, done: Sequence[Finished], task: str) -> str:
    """Fine-tuning of one task: a table for each share and metric, then the random start's curve."""
    few, parts = study.task(task), []
    for metric in METRICS[task]:
        curve = random_curve(study, done, task, metric)
        for percent in map(float, few.percent):
            rows = [
                _task_row(study, done, task, metric, percent, start.name, curve)
                for start in study.starts_of(task)
            ]
            most = max((share for run in curve.values() for share in run), default=0.0)
            if most > percent:
                many = {key: run[most] for key, run in curve.items() if most in run}
                rows.append([f"{RANDOM}, {most:g} % of the frames", mean(many), "", "", ""])
            heads = [
                f"{TITLES[metric]} with {percent:g} %",
                "over random",
                "share of the gap",
                "labels worth",
            ]
            parts.append(markdown(["start", *heads], rows))
        parts.append(_curve_table(study, done, task, metric, curve))
    return "\n".join(part for part in parts if part)


def _task_row(
    study: Study,
    done: Sequence[Finished],
    task: str,
    metric: str,
    percent: float,
    name: str,
    curve: Curve,
) -> list[str]:
    steps, base = study.task(task).steps, study.start(name).baseline
    own = task_scores(done, task, name, metric, percent, steps)
    line = [name, mean(by_seed(own))]
    if name == base or not own:
        return [*line, "", "", ""]
    line.append(difference(by_seed(own), by_seed(task_scores(done, task, base, metric, percent, steps))))
    if not curve:
        return [*line, "", ""]
    try:
        worth = label_multiplier(curve, by_draw(own), percent)
    except ValueError as error:  # a study that is not finished has a part of the curve
        return [*line, "", f"({error})"]
    note = f" ({worth.note})" if worth.note else ""
    return [*line, worth.gap_text(), f"x {worth.text()}{note}"]


def _curve_table(
    study: Study,
    done: Sequence[Finished],
    task: str,
    metric: str,
    curve: Curve,
) -> str:
    """The random start over shares of the frames, and with other numbers of steps."""
    few = study.task(task)
    rows = []
    for percent in sorted({share for run in curve.values() for share in run}):
        scores = {key: run[percent] for key, run in curve.items() if percent in run}
        found = interval(scores)
        rows.append([f"{percent:g} %, {few.steps} steps", number(found), str(found.runs)])
    for percent in map(float, few.percent):
        for steps in few.longer:
            scores = by_seed(task_scores(done, task, RANDOM, metric, percent, steps))
            if scores:
                rows.append([f"{percent:g} %, {steps} steps", number(interval(scores)), str(len(scores))])
    return markdown([f"random start, {task}", TITLES[metric], "worlds and draws"], rows) if rows else ""


def budget_table(study: Study, done: Sequence[Finished], times: Measured) -> str:
    """Steps, seconds a step and seconds in all of each start's pretraining."""
    measured = {(value["start"], value["encoder"]): value["seconds"] for value in times.values()}
    rows = []
    for start in study.starts:
        for encoder, runs in spent(done, start.name).items():
            steps = sorted({one.unit.facts["steps"] for one in runs})
            each = measured.get((start.name, encoder))
            whole = statistics.fmean(one.made["cpu_seconds"] for one in runs)
            rows.append(
                [
                    f"{start.name} ({encoder})",
                    ", ".join(map(str, steps)),
                    "" if each is None else f"{each:.3f}",
                    f"{whole / statistics.fmean(one.unit.facts['steps'] for one in runs):.3f}",
                    f"{whole:.0f}",
                    str(len(runs)),
                ]
            )
    heads = ["steps", "s a step, measured before", "s a step, of the run", "CPU seconds of a run", "runs"]
    return markdown(["pretraining", *heads], rows) if rows else ""
