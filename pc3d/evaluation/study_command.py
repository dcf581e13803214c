"""The sub-command `label-efficiency` of `tools/benchmark.py`: its arguments, its tasks by name, its run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pc3d.data.errors import did_you_mean
from pc3d.engine.settings.options import OptionsAction
from pc3d.engine.settings.shipped import shipped_folder

if TYPE_CHECKING:  # imported where used, so that --help need not wait for torch
    from pc3d.evaluation.study import Task

Commands = argparse._SubParsersAction  # argparse has no public name for it
EXAMPLES = """\
  python tools/benchmark.py label-efficiency --jobs 2 --seeds 0 1 2
  python tools/benchmark.py label-efficiency --starts slidr slidr_oracle --seeds 0 --tasks linear-probe
  python tools/benchmark.py label-efficiency --starts prc mine=work_dirs/run/backbone.safetensors \\
      --tasks detection-5-percent detection-10-percent --seeds 0 1 2
"""
BEV_TASKS = {
    "detection": ("sim_detection_5_percent", ("nds", "map")),
    "detection-both": ("sim_detection_both", ("nds", "map")),
    "detection-camera": ("sim_detection_camera", ("nds", "map")),
    "map": ("sim_map_5_percent", ("miou", "miou_fixed")),
}
"""Config and metrics of each task on a bird's-eye-view map."""
PERCENTS = (1, 5, 10, 20, 25, 50, 100)
STARTS = ["slidr", "prc", "fac", "superflowpp", "joint"]
CONFIGS = shipped_folder()


def add(commands: Commands) -> None:
    """Add the sub-command."""
    text = "pretrain, probe, fine-tune and evaluate over seeds; resumable"
    command = commands.add_parser("label-efficiency", help=text, description=text)
    command.add_argument("--index", type=Path, default=Path("data/sim-index"))
    command.add_argument("--regions", type=Path, default=Path("data/sim-regions"))
    command.add_argument("--split", default="sim_val")
    command.add_argument(
        "--starts", nargs="+", default=STARTS, help="pretraining configs sim_NAME, or NAME=FILE of a backbone"
    )
    command.add_argument(
        "--tasks",
        nargs="+",
        default=["linear-probe", "knn-probe", "1-percent"],
        help="linear-probe, knn-probe, N-percent, detection-N-percent, map-N-percent, ...",
    )
    command.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    command.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each")
    command.add_argument(
        "--pretrain-options",
        nargs="+",
        action=OptionsAction,
        metavar="KEY=VALUE",
        help="settings over the pretraining configs, for example schedule.iterations=150",
    )
    command.add_argument("--work-dir", type=Path, default=Path("work_dirs/label-efficiency"))
    command.set_defaults(run=label_efficiency)


def _start(text: str) -> tuple[str, Path]:
    """Name and source of a start: NAME of a pretraining config sim_NAME, or NAME=BACKBONE_FILE."""
    name, _, file = text.partition("=")
    known = [path.stem.removeprefix("sim_") for path in sorted((CONFIGS / "pretrain").glob("sim_*.py"))]
    if not file and name not in known:
        near = did_you_mean(name, known)
        raise ValueError(
            f"--starts names {name!r}, no pretraining config sim_NAME{near}; known: {', '.join(known)}"
        )
    return name, Path(file) if file else CONFIGS / f"pretrain/sim_{name}.py"


def known_tasks() -> dict[str, Task]:
    """The tasks of a study by name."""
    from pc3d.evaluation.study import Task

    finetuning = CONFIGS / "finetune"
    tasks = {
        "linear-probe": Task(finetuning / "sim_linear_probe.py", 1.0),
        "knn-probe": Task(finetuning / "sim_linear_probe.py", 1.0, knn=True),
    }
    for percent in PERCENTS:
        settings = {"data.fraction": percent}
        tasks[f"{percent}-percent"] = Task(
            finetuning / "sim_5_percent.py", percent / 100, settings, family="finetuning"
        )
        for name, (config, metrics) in BEV_TASKS.items():
            tasks[f"{name}-{percent}-percent"] = Task(
                finetuning / f"{config}.py", percent / 100, settings, metrics=metrics, family=name
            )
    return tasks


def label_efficiency(args: argparse.Namespace) -> None:
    from pc3d.evaluation.study import Study, publish, run_study

    tasks = known_tasks()
    unknown = sorted(set(args.tasks) - set(tasks))
    if unknown:
        names = ", ".join(f"{name}-N-percent" for name in BEV_TASKS)
        raise ValueError(
            f"unknown task {', '.join(unknown)}; known: linear-probe, knn-probe, N-percent, {names}, "
            f"with N of {', '.join(map(str, PERCENTS))}"
        )
    study = Study(
        starts=dict(_start(start) for start in args.starts),
        tasks={name: tasks[name] for name in args.tasks},
        seeds=args.seeds,
        work_dir=args.work_dir,
        eval_split=args.split,
        overrides={"data.index": str(args.index)},
        pretrain_overrides={"data.regions": str(args.regions), **(args.pretrain_options or {})},
        jobs=args.jobs,
    )
    print(publish(run_study(study), study))
