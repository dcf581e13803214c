"""One pretraining config over numbers of steps and of training scenes: where does it flatten?"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pc3d.evaluation.evidence.description import RANDOM, Budget, Probes, Start, Study, World
from pc3d.evaluation.evidence.pictures import draw_steps
from pc3d.evaluation.evidence.places import Places
from pc3d.evaluation.evidence.plan import Known
from pc3d.evaluation.evidence.publish import CAVEATS, write_raw
from pc3d.evaluation.evidence.results import (
    HAND_MADE,
    RAW,
    Finished,
    finished,
    probe_scores,
    reference_scores,
    spent,
)
from pc3d.evaluation.evidence.step_time import read_times
from pc3d.evaluation.evidence.tables import PROBES, markdown, mean
from pc3d.evaluation.intervals import interval
from pc3d.sim.sizes import SIZES
from pc3d.storage.whole import write_bytes


def curve_study(
    config: str,
    steps: Sequence[int],
    scenes: Sequence[int],
    seeds: Sequence[int],
    worlds: Sequence[World],
    overrides: dict[str, Any] | None = None,
    probes: Probes | None = None,
) -> Study:
    """The study of a curve: a start for each number of steps and of scenes, probed on its own world.

    Args:
        config: name or file of a pretraining config. scenes: of the training part, 0 for all.
        overrides: settings of all configs.

    Raises:
        ValueError: a number that is none; worlds with fewer scenes.
    """
    if not steps or min(steps) < 1 or not scenes or min(scenes) < 0:
        raise ValueError(f"steps {list(steps)} and scenes {list(scenes)}: expected numbers above 0")
    for world in worlds:
        if world.index is None and world.sim_size().train_scenes < max(scenes):
            there = world.sim_size().train_scenes
            raise ValueError(f"{world.name} has {there} scenes, {max(scenes)} are asked for")
    starts = [
        Start(_name(config, count, of), pretrain=config, budget=Budget(steps=count), scenes=of)
        for of in dict.fromkeys(scenes)
        for count in dict.fromkeys(steps)
    ]
    return Study(
        name=f"{config} over steps and scenes",
        worlds=tuple(worlds),
        starts=(Start(RANDOM, random=True), *starts),
        seeds=tuple(seeds),
        budget=Budget(steps=max(steps)),
        probes=probes or Probes(other_world=False),
        overrides=overrides or {},
    )


def _name(config: str, steps: int, scenes: int) -> str:
    return f"{config}, {scenes or 'all'} scenes, {steps} steps"


def simulated_worlds(seeds: Sequence[int], scenes: Sequence[int], size: str = "study") -> list[World]:
    """Worlds of a size with as many training scenes as the curve asks for."""
    most = max([*scenes, 0]) or SIZES[size].train_scenes
    return [World(f"world-{seed}", seed, replace(SIZES[size], train_scenes=most)) for seed in seeds]


def publish_curve(study: Study, places: Places, known: Known) -> str:
    """Write `tables.md`, `curve.png` and `results.json` of what is finished; returns the text."""
    done = finished(study, places, known)
    starts = [start for start in study.starts if not start.random]
    rows = [
        [name, "", *(mean(reference_scores(done, name, probe, study.seeds)) for probe in PROBES), "", ""]
        for name in (RAW, HAND_MADE)
    ]
    rows += [_row(done, start.name) for start in study.starts]
    heads = ["steps", "logistic", "kNN", "beside hand-made, logistic", "CPU seconds of a run"]
    parts = [
        f"# {study.name}",
        f"mIoU (%) of both probes, {_range(study, done)}; means over worlds, then seeds, with the deviation "
        "of all runs behind ±.",
        markdown(["features", *heads], rows),
        "## What it does not show",
        CAVEATS,
    ]
    lines: dict[str, dict[int, list[float]]] = {}
    for start in starts:
        assert start.budget is not None
        assert start.budget.steps is not None
        scores = probe_scores(done, start.name, "fixed", "logistic")
        if scores:
            label = f"{start.scenes or 'all'} scenes"
            lines.setdefault(label, {})[start.budget.steps] = list(scores.values())
    flat = {
        name: interval(scores).mean
        for name in (HAND_MADE, RAW)
        if (scores := reference_scores(done, name, "logistic", study.seeds[:1]))
    }
    places.folder.mkdir(parents=True, exist_ok=True)
    if lines:
        draw_steps(lines, flat, places.folder / "curve.png")
        parts.insert(3, "![Curve](curve.png)")
    text = "\n\n".join(part.rstrip() for part in parts) + "\n"
    write_raw(study, places, done, read_times(places.folder))
    write_bytes(places.folder / "tables.md", text.encode())
    return text


def _row(done: Sequence[Finished], name: str) -> list[str]:
    cells = []
    for row, probe in (("fixed", "logistic"), ("fixed", "knn"), ("fixed beside hand-made", "logistic")):
        scores = probe_scores(done, name, row, probe)
        values = [100 * score for score in scores.values()]
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        cells.append(f"{mean(scores)}{spread}" if values else "")
    runs = [one for ones in spent(done, name).values() for one in ones]
    steps = str(runs[0].unit.facts["steps"]) if runs else ""
    seconds = f"{statistics.fmean(one.made['cpu_seconds'] for one in runs):.0f}" if runs else ""
    return [name, steps if any(cells) else "", *cells, seconds]


def _range(study: Study, done: Sequence[Finished]) -> str:
    dates = sorted({one.made["date"] for one in done}) or ["nothing yet"]
    machines = ", ".join(sorted({one.made["machine"] for one in done})) or "no machine"
    worlds = ", ".join(world.name for world in study.worlds)
    return f"{dates[0]} to {dates[-1]}, {machines}, worlds {worlds}, seeds {', '.join(map(str, study.seeds))}"
