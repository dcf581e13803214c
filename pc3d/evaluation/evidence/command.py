"""The sub-commands `evidence` and `curve` of `tools/benchmark.py`: their arguments and what they run."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pc3d.engine.settings.options import OptionsAction

if TYPE_CHECKING:  # imported where used, so that --help need not wait for torch
    from pc3d.evaluation.evidence.description import Study
    from pc3d.evaluation.evidence.places import Places
    from pc3d.evaluation.evidence.plan import Known

Commands = argparse._SubParsersAction  # argparse has no public name for it
EXAMPLES = """\
  python tools/benchmark.py evidence --list
  python tools/benchmark.py evidence --jobs 2 --hours 3
  python tools/benchmark.py evidence my_study.yaml --only world-0 probe --work-dir work_dirs/mine
  python tools/benchmark.py curve sim_slidr --steps 300 1000 3000 --scenes 20 100 --seeds 0 1
"""


def add(commands: Commands) -> None:
    """Add both sub-commands."""
    text = "pretraining over worlds, seeds and starts, with references and intervals; resumable"
    command = commands.add_parser("evidence", help=text, description=text)
    command.add_argument(
        "study", nargs="?", default="evidence", help="YAML file, or the name of a shipped one (%(default)s)"
    )
    _add_shared(command, "work_dirs/evidence")
    command.set_defaults(run=evidence)
    text = "one pretraining config over numbers of steps and of scenes, with probes; resumable"
    command = commands.add_parser("curve", help=text, description=text)
    command.add_argument("config", nargs="?", default="sim_slidr", help="pretraining config (%(default)s)")
    command.add_argument("--steps", nargs="+", type=int, default=[300, 1000, 3000, 10000])
    command.add_argument(
        "--scenes", nargs="+", type=int, default=[20, 100], help="of the training part, 0: all"
    )
    command.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    command.add_argument(
        "--world-seeds", nargs="+", type=int, default=[0], help="of simulated worlds of size `study`"
    )
    command.add_argument("--index", type=Path, help="an index of your own instead of simulated worlds")
    command.add_argument("--regions", type=Path, help="of --index (default: made in the work folder)")
    command.add_argument("--splits", nargs=2, default=("sim_train", "sim_val"), metavar=("TRAIN", "VAL"))
    command.add_argument("--cfg-options", nargs="+", action=OptionsAction, metavar="KEY=VALUE")
    _add_shared(command, "work_dirs/curve")
    command.set_defaults(run=curve)


def _add_shared(command: argparse.ArgumentParser, folder: str) -> None:
    command.add_argument("--jobs", type=int, default=1, help="units at a time, one thread each")
    command.add_argument("--hours", type=float, help="after so many no new unit is started")
    command.add_argument("--only", nargs="+", default=[], metavar="NAME", help="kinds, worlds, starts")
    command.add_argument("--list", action="store_true", help="say what is done and missing, run nothing")
    command.add_argument("--tables", action="store_true", help="make the tables of what is done, run nothing")
    command.add_argument("--worlds", type=Path, help="folder of simulated worlds, where studies share them")
    command.add_argument("--work-dir", type=Path, default=Path(folder), help="default: %(default)s")


def evidence(args: argparse.Namespace) -> None:
    from pc3d.evaluation.evidence.publish import publish
    from pc3d.evaluation.evidence.read import read_study

    _run(args, read_study(args.study), publish)


def curve(args: argparse.Namespace) -> None:
    from dataclasses import replace

    from pc3d.evaluation.evidence.curve import curve_study, publish_curve, simulated_worlds
    from pc3d.evaluation.evidence.description import World

    if args.regions and not args.index:
        raise ValueError("--regions goes with --index: those of simulated worlds are made")
    if args.index:
        worlds = [World(args.index.name, index=args.index, regions=args.regions)]
    else:
        worlds = simulated_worlds(args.world_seeds, args.scenes)
    options = args.cfg_options or {}
    study = curve_study(args.config, args.steps, args.scenes, args.seeds, worlds, options)
    train, val = args.splits
    _run(args, replace(study, train=train, val=val), publish_curve)


def _run(args: argparse.Namespace, study: Study, publish: Callable[[Study, Places, Known], str]) -> None:
    from pc3d.data.errors import fail
    from pc3d.evaluation.evidence.listing import list_units
    from pc3d.evaluation.evidence.places import Places
    from pc3d.evaluation.evidence.publish import RESULTS, restore
    from pc3d.evaluation.evidence.schedule import known_of, run
    from pc3d.processes import stopped_in_one_line

    places = Places(args.work_dir, args.worlds)
    if restored := restore(places):
        print(f"{restored} finished units of {args.work_dir / RESULTS}")
    if args.list:
        print(list_units(study, places, known_of(study, places), args.only, args.jobs))
        return
    outcome = None
    if not args.tables:
        with stopped_in_one_line("finished units are kept; the same command goes on"):
            outcome = run(study, places, args.jobs, args.hours, args.only)
    print(publish(study, places, known_of(study, places)))
    if outcome is not None and outcome.out_of_time:
        print(f"{args.hours:g} hours are over; the same command goes on")
    if outcome is not None and outcome.failed:
        first = next(iter(outcome.failed.items()))
        what = f"{len(outcome.failed)} units failed, the first {first[0]}: {first[1]}"
        fail(what, args.work_dir, "mend what is said there and run it again: what is done is kept")
