"""List the configs that ship with pc3d, show one whole, or count what a step of one costs.

`pc3d configs show NAME > mine.py` is a config of your own to change; `_base_ = "pc3d::NAME.py"` in one of
your own builds on a shipped one.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pc3d.engine.settings.options import HELP as OPTIONS_HELP
from pc3d.engine.settings.options import OptionsAction

if TYPE_CHECKING:
    from pc3d.engine.config_facts import ConfigFacts

HELP = "list the shipped configs, show one, or count what its step costs"
EXAMPLES = """\
  pc3d configs                         all
  pc3d configs list sim_               those whose name has this in it
  pc3d configs show pretrain/sim_slidr
  pc3d configs show my_config.py --cfg-options schedule.iterations=1000
  pc3d configs cost my_config.py       parameters, FLOPs and memory of a step, on its own data
  pc3d configs cost my_config.py --samples-per-second 40 --gpus 8
"""
FOOTER = """
`pc3d configs show NAME` shows one whole, with what its step costs. The sim_* and demo_* configs take
minutes on two cores; the nuscenes_* configs have the papers' sizes and are for GPUs: none of them was ever
run by us to its end.
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["list", "show", "cost"], nargs="?", default="list")
    parser.add_argument("name", nargs="?", help="list: a part of the names; show, cost: a name or a file")
    parser.add_argument(
        "--cfg-options", nargs="+", action=OptionsAction, metavar="KEY=VALUE", help=OPTIONS_HELP
    )
    cost = parser.add_argument_group("of cost")
    cost.add_argument("--samples-per-second", type=float, help="of one GPU, for the hours of the schedule")
    cost.add_argument("--gpus", type=int, default=1, help="GPUs that train together (default 1)")
    cost.add_argument("--frames", type=int, help="of a pass over the data (default: those of the config)")
    cost.add_argument("--into", type=Path, metavar="JSON", help="put what is counted into this file, too")


def run(args: argparse.Namespace) -> None:
    from pc3d.engine.config import config_file
    from pc3d.engine.config_facts import facts_of_file, shown
    from pc3d.engine.settings.shipped import shipped_configs

    if args.what != "list" and args.name is None:
        raise ValueError(f"`pc3d configs {args.what}` needs the name of a config; `pc3d configs` lists them")
    if args.what == "show":
        print(shown(config_file(args.name), args.cfg_options))
        return
    if args.what == "cost":
        _cost(args)
        return
    wanted = {name: path for name, path in shipped_configs().items() if (args.name or "") in name}
    if not wanted:
        raise ValueError(f"no config has {args.name!r} in its name; `pc3d configs` lists them all")
    _list({name: facts_of_file(path) for name, path in wanted.items()})


def _list(facts: Mapping[str, ConfigFacts]) -> None:
    rows = [("config", "LiDAR encoder", "a step", "needs")]
    rows += [(name, fact.parameters_text, fact.step_text, fact.needs_text) for name, fact in facts.items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    for row in rows:
        print("  ".join([*(f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]]))
    print(FOOTER)


def _cost(args: argparse.Namespace) -> None:
    from pc3d.engine.config import config_file, load_config
    from pc3d.engine.config_facts import kind_of_file, shipped_name
    from pc3d.engine.costs.shipped import cost_lines, write_costs
    from pc3d.engine.costs.step import step_costs

    path = config_file(args.name)
    config = load_config(path, kind_of_file(path), args.cfg_options)
    costs = step_costs(config, kind_of_file(path))
    print("\n".join(cost_lines(costs)))
    if args.samples_per_second is not None:
        for stage, cost in costs.items():
            _print_hours(config.schedule, stage, args.frames or cost.frames, cost.samples, args)
    if args.into is not None:
        how = f"counted on frames of {config.data.get('index', 'several sources')}"
        write_costs(args.into, shipped_name(path) or str(path), costs, how)


def _print_hours(
    schedule: Mapping[str, float], stage: str, frames: int, samples: int, args: argparse.Namespace
) -> None:
    from pc3d.engine.costs.shipped import hours_of, schedule_samples

    if args.gpus < 1 or frames < 1:
        raise ValueError(f"--gpus {args.gpus} and --frames {frames}: expected at least 1")
    read = schedule_samples(schedule, frames, samples * args.gpus)
    hours = hours_of(read, args.samples_per_second * args.gpus)
    of = f"{stage}, " if stage else ""
    print(
        f"{of}schedule: {read:,} samples; at {args.samples_per_second:g} a second and GPU, all of them busy: "
        f"{hours:.3g} hours, {hours * args.gpus:.3g} GPU-hours"
    )
