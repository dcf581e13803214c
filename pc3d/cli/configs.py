"""List the configs that ship with pc3d, or show one whole, with what each needs and costs.

`pc3d configs show NAME > mine.py` is a config of your own to change; `_base_ = "pc3d::NAME.py"` in one of
your own builds on a shipped one.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pc3d.engine.settings.options import HELP as OPTIONS_HELP
from pc3d.engine.settings.options import OptionsAction

if TYPE_CHECKING:
    from pc3d.engine.config_facts import ConfigFacts

HELP = "list the configs that ship with pc3d, or show one"
EXAMPLES = """\
  pc3d configs                         all
  pc3d configs list sim_               those whose name has this in it
  pc3d configs show pretrain/sim_slidr
  pc3d configs show my_config.py --cfg-options schedule.iterations=1000
"""
FOOTER = """
`pc3d configs show NAME` shows one whole, with how its step was measured. The sim_* and demo_* configs take
minutes on two cores; the nuscenes_* configs have the papers' sizes and are for GPUs: none of them was ever
run by us.
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["list", "show"], nargs="?", default="list")
    parser.add_argument("name", nargs="?", help="list: a part of the names; show: a name or a file")
    parser.add_argument(
        "--cfg-options", nargs="+", action=OptionsAction, metavar="KEY=VALUE", help=OPTIONS_HELP
    )


def run(args: argparse.Namespace) -> None:
    from pc3d.engine.config import config_file
    from pc3d.engine.config_facts import facts_of_file, shown
    from pc3d.engine.settings.shipped import shipped_configs

    if args.what == "show":
        if args.name is None:
            raise ValueError("`pc3d configs show` needs the name of a config; `pc3d configs` lists them")
        print(shown(config_file(args.name), args.cfg_options))
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
