"""Simulate drives and write them as a data set in nuScenes format, which the official devkit loads."""

from __future__ import annotations

import argparse
from pathlib import Path

from pc3d.sim.sizes import SIZES

HELP = "write a simulated data set"
EXAMPLES = """\
  pc3d simulate data/sim --size tiny
  pc3d simulate data/sim --size demo --seed 7 --workers 4
  pc3d simulate data/sim --size bench --force
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the data set to write")
    parser.add_argument(
        "--size", choices=sorted(SIZES), default="demo", help="scenes and frames (default %(default)s)"
    )
    parser.add_argument("--seed", type=_count, default=0, help="seed of everything random (default 0)")
    parser.add_argument(
        "--workers",
        type=_count,
        default=0,
        help="processes, 0 for one per core (default); no effect on the data",
    )
    parser.add_argument(
        "--force", action="store_true", help="replace a simulated data set that is there already"
    )


def run(args: argparse.Namespace) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from pc3d.processes import stopped_in_one_line
    from pc3d.sim.writer import write_dataset

    columns = (TextColumn("scenes"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    stopped = stopped_in_one_line("nothing is left of it, and what was there before is kept")
    with stopped, Progress(*columns, transient=True) as bar:
        task = bar.add_task("scenes")
        root = write_dataset(
            args.out,
            args.size,
            args.seed,
            args.workers or None,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            overwrite=args.force,
        )
    print(f"{root}: open it with NuScenes('v1.0-sim', '{root}')")


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value
