"""Pictures of a study: every run of the probes beside the references, and the random start's label curve."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pc3d.evaluation.evidence.description import RANDOM, Study
from pc3d.evaluation.evidence.results import (
    HAND_MADE,
    RAW,
    Finished,
    Scores,
    by_seed,
    probe_scores,
    random_curve,
    reference_scores,
    task_scores,
)
from pc3d.evaluation.evidence.tables import METRICS, TITLES
from pc3d.evaluation.intervals import interval
from pc3d.evaluation.label_multiplier import LabelCurve
from pc3d.storage.whole import write_bytes

PROBES = {"logistic": "logistic probe", "knn": "kNN probe"}
_REFERENCES = {HAND_MADE: ("C3", "-"), RAW: ("0.5", ":")}


def draw_probes(study: Study, done: Sequence[Finished], path: Path) -> bool:
    """A line per start, a dot per run, the references as lines; False where no run is done."""
    from matplotlib.figure import Figure

    names = [s.name for s in study.starts if probe_scores(done, s.name, "fixed", "logistic")]
    if not names:
        return False
    figure = Figure(figsize=(9.6, 1.6 + 0.42 * len(names)), dpi=150, layout="constrained")
    for axes, (probe, title) in zip(figure.subplots(1, 2, sharey=True), PROBES.items(), strict=True):
        for row, name in enumerate(reversed(names)):
            for other, colour, marker in ((False, "C0", "o"), (True, "C1", "^")):
                scores = probe_scores(done, name, "fixed", probe, other)
                if scores and not (other and study.start(name).random):
                    _dots(axes, scores, row - 0.14 * other + 0.07, colour, marker)
        for name, (colour, style) in _REFERENCES.items():
            scores = reference_scores(done, name, probe, study.seeds[:1])
            if scores:
                value = 100 * interval(scores).mean
                axes.axvline(value, color=colour, linestyle=style, linewidth=1.4, label=name)
        axes.set_yticks(range(len(names)), list(reversed(names)))
        axes.set(title=title, xlabel="mIoU [%]", ylim=(-0.6, len(names) - 0.4))
        axes.set_xlim(left=0)
        _plain(axes, "x")
    axes.plot([], [], "o", color="C0", label="own world")
    axes.plot([], [], "^", color="C1", label="another world")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, ncols=4, loc="outside lower center", fontsize=9)
    _write(figure, path)
    return True


def _dots(axes: Any, scores: Scores, at: float, colour: str, marker: str) -> None:
    values = [100 * score for score in scores.values()]
    axes.plot(values, [at] * len(values), marker, color=colour, markersize=4.5, alpha=0.55, markeredgewidth=0)
    axes.plot([100 * interval(scores).mean], [at], "|", color=colour, markersize=13, markeredgewidth=2)


def draw_labels(study: Study, done: Sequence[Finished], task: str, path: Path) -> bool:
    """The random start over shares of the frames, and the starts where they were run; False for no curve."""
    from matplotlib.figure import Figure

    metric, few = METRICS[task][0], study.task(task)
    curve = random_curve(study, done, task, metric)
    shares = sorted({share for run in curve.values() for share in run})
    if len(shares) < 2:
        return False
    figure = Figure(figsize=(6.4, 4.4), dpi=150, layout="constrained")
    axes = figure.subplots()
    means = {}
    for share in shares:
        values = {key: run[share] for key, run in curve.items() if share in run}
        means[share] = interval(values).mean
        axes.plot([share] * len(values), [100 * v for v in values.values()], "o", color="0.6", markersize=3)
    monotone = LabelCurve.of(means)
    axes.plot(shares, [100 * s for s in monotone.scores], "--", color="0.35", label=f"{RANDOM}, monotone")
    others = [start for start in study.starts_of(task) if not start.random]
    for number, start in enumerate(others):
        for percent in map(float, few.percent):
            scores = by_seed(task_scores(done, task, start.name, metric, percent, few.steps))
            if scores:
                place = percent * 1.05 ** (number - (len(others) - 1) / 2)
                value, label = 100 * interval(scores).mean, start.name if percent == few.percent[0] else None
                dots = [100 * score for score in scores.values()]
                axes.plot([place] * len(dots), dots, ".", color=f"C{number}", markersize=4, alpha=0.6)
                axes.plot([place], [value], "D", color=f"C{number}", markersize=6, label=label)
    axes.set_xscale("log")
    axes.set_xticks(shares, [f"{share:g} %" for share in shares])
    axes.minorticks_off()
    axes.set(xlabel="labelled share of the training frames", ylabel=f"{TITLES[metric]} [%]", title=task)
    _plain(axes, "y")
    axes.legend(frameon=False, fontsize=8)
    _write(figure, path)
    return True


def draw_steps(lines: dict[str, dict[int, list[float]]], flat: dict[str, float], path: Path) -> None:
    """Scores over numbers of steps.

    Args:
        lines: label to steps to scores (0 to 1) of its runs. flat: references by name.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    for number, (label, by_steps) in enumerate(lines.items()):
        steps = sorted(by_steps)
        for step in steps:
            axes.plot(
                [step] * len(by_steps[step]), [100 * s for s in by_steps[step]], ".", color=f"C{number}"
            )
        means = [100 * sum(by_steps[step]) / len(by_steps[step]) for step in steps]
        axes.plot(steps, means, "o-", color=f"C{number}", label=label, markersize=4)
    for number, (name, value) in enumerate(flat.items()):
        axes.axhline(
            100 * value, color="0.4", linestyle=("-", ":", "--")[number % 3], linewidth=1.2, label=name
        )
    ticks = sorted({step for by_steps in lines.values() for step in by_steps})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="steps of pretraining", ylabel="mIoU [%], logistic probe")
    axes.set_ylim(bottom=0)
    _plain(axes, "y")
    axes.legend(frameon=False, fontsize=8)
    _write(figure, path)


def _plain(axes: Any, grid: str) -> None:
    axes.grid(axis=grid, color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _write(figure: Any, path: Path) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_bytes(path, picture.getvalue())
