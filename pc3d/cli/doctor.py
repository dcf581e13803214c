"""Say whether this machine can run pc3d, or what is whole in a run folder, and clean up after killed runs.

The exit code is 1 if there is a problem.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "look at the machine, or at a run folder"
EXAMPLES = """\
  pc3d doctor                                  the environment
  pc3d doctor work_dirs/sim_joint              a run: what --resume would take; cleans leftovers
  pc3d doctor work_dirs/sim_joint --dry-run    the same, but only looks
  pc3d doctor --json
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, nargs="?", help="run folder; without it the environment")
    parser.add_argument("--dry-run", action="store_true", help="remove nothing")
    parser.add_argument("--json", action="store_true", help="a list of findings as JSON")


def run(args: argparse.Namespace) -> None:
    from pc3d.findings import report

    if args.run is None:
        from pc3d.engine.runs.doctor_environment import examine_environment

        findings = examine_environment()
    else:
        from pc3d.engine.runs.doctor import examine_run

        findings = examine_run(args.run, clean=not args.dry_run)
    raise SystemExit(report(findings, args.json))
