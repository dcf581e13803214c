"""Run a step again that was not finite, and say what in it is not."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "run a step again that was not finite"
EXAMPLES = """\
  pc3d replay work_dirs/sim_joint/failure
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("failure", type=Path, help="folder `failure` of a run, which kept the step")


def run(args: argparse.Namespace) -> None:
    from pc3d.engine.replay import replay

    print(replay(args.failure))
