"""Run a step again that was not finite, and say what in it is not."""

import argparse
from pathlib import Path

from pc3d.engine.command_line import run_command

EXAMPLES = """\
examples:
  python tools/replay.py work_dirs/sim_joint/failure
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("failure", type=Path, help="folder `failure` of a run, which kept the step")
    args = parser.parse_args()
    from pc3d.engine.replay import replay

    print(replay(args.failure))


if __name__ == "__main__":
    run_command(main)
