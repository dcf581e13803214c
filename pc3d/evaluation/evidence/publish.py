"""Publication of a study: `tables.md`, pictures, and `results.json` with everything raw."""

from __future__ import annotations

from collections.abc import Sequence

from pc3d.data.errors import fail
from pc3d.engine.environment import environment
from pc3d.evaluation.evidence.description import TASKS, Study
from pc3d.evaluation.evidence.pictures import draw_labels, draw_probes
from pc3d.evaluation.evidence.places import Places
from pc3d.evaluation.evidence.plan import Known, plan
from pc3d.evaluation.evidence.results import Finished, finished
from pc3d.evaluation.evidence.schedule import IDENTITIES
from pc3d.evaluation.evidence.step_time import FILE, Measured, read_times, write_times
from pc3d.evaluation.evidence.tables import (
    NOTE,
    budget_table,
    probe_tables,
    shot_table,
    task_tables,
    teacher_table,
)
from pc3d.storage.whole import read_json, write_bytes, write_json

RESULTS = "results.json"
CAVEATS = """\
- All simulated worlds share assets, materials and their reflectivities: another world is another town and
  other traffic, not another sensor or country.
- The image teacher was trained with the labels of ImageNet: distillation is free of labels of drives only.
- One network size; equal seconds are CPU seconds of one thread, loading of the frames included.
- Probes are means over drawn points and compare with each other only; fine-tuning is scored by the official
  evaluator where the data have one.
"""


def publish(study: Study, places: Places, known: Known) -> str:
    """Write the tables of what is finished; returns their text."""
    done = finished(study, places, known)
    times = read_times(places.folder)
    parts = [f"# {study.name}", _how(study, done, len(plan(study, known)))]
    if study.probes is not None:
        parts += ["## Probes on the own world", NOTE, probe_tables(study, done, other=False)]
        if study.probes.other_world and len(study.worlds) > 1:
            parts += ["## Probes on another world", probe_tables(study, done, other=True)]
        if study.probes.teacher:
            parts += ["## What the teacher knows", teacher_table(study, done)]
        if study.probes.shots:
            parts += ["## Prototypes of a few labels", shot_table(study, done)]
        if draw_probes(study, done, places.folder / "probes.png"):
            parts.append("![Probes](probes.png)")
    for task in TASKS:
        if getattr(study, task) is not None:
            parts += [f"## Few labels: {task}", task_tables(study, done, task)]
            if draw_labels(study, done, task, places.folder / f"labels-{task}.png"):
                parts.append(f"![Labels](labels-{task}.png)")
    parts += ["## What it cost", budget_table(study, done, times), "## What it does not show", CAVEATS]
    text = "\n\n".join(part.rstrip() for part in parts if part) + "\n"
    write_raw(study, places, done, times)
    write_bytes(places.folder / "tables.md", text.encode())
    return text


def write_raw(study: Study, places: Places, done: Sequence[Finished], times: Measured) -> None:
    """Write `results.json`: every finished unit with its settings, the measured step times, versions."""
    units = {
        one.unit.key: {"unit": one.unit.describe(), "result": one.result, "made": one.made} for one in done
    }
    content = {"study": study.name, "step_seconds": times, "environment": environment(), "units": units}
    if (path := places.folder / IDENTITIES).is_file():
        content[IDENTITIES] = read_json(path)
    write_json(places.folder / RESULTS, content)


def restore(places: Places) -> int:
    """Unpack `results.json` in a folder that lacks what it holds, so that a study goes on from it alone.

    What is there stays. Returns the number of units that were lacking.

    Raises:
        DataError: the file is no such one.
    """
    path = places.folder / RESULTS
    if not path.is_file():
        return 0
    try:
        content = read_json(path)
        units = {places.units / f"{key}.json": one for key, one in content["units"].items()}
        times = content["step_seconds"]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        fail(f"these are not the results of a study: {error}", path, "delete or move the file")
    if times and not (places.folder / FILE).is_file():
        write_times(places.folder, times)
    if content.get(IDENTITIES) and not (places.folder / IDENTITIES).is_file():
        write_json(places.folder / IDENTITIES, content[IDENTITIES])
    lacking = {file: one for file, one in units.items() if not file.is_file()}
    places.units.mkdir(parents=True, exist_ok=True)
    for file, one in lacking.items():
        write_json(file, one)
    return len(lacking)


def _how(study: Study, done: Sequence[Finished], count: int) -> str:
    dates = sorted({one.made["date"] for one in done})
    when = " to ".join(dict.fromkeys([dates[0], dates[-1]])) if dates else "nothing yet"
    machines = ", ".join(sorted({one.made["machine"] for one in done}))
    hours = sum(one.made["cpu_seconds"] for one in done) / 3600
    worlds = ", ".join(world.name for world in study.worlds)
    budget = study.budget
    each = f"{budget.steps} steps" if budget.steps else f"{budget.seconds:g} CPU seconds of one thread"
    return (
        f"{len(done)} of {count} units, {when}, {hours:.1f} CPU hours on {machines or 'no machine'}. "
        f"Worlds {worlds}; seeds {', '.join(map(str, study.seeds))} of pretraining and fine-tuning; "
        f"pretraining of {each}."
    )
