"""Say whether this machine can run pc3d, or what is whole in a run folder, and clean up after killed runs."""

import argparse
from pathlib import Path

from pc3d.engine.command_line import run_command

EXAMPLES = """\
examples:
  python tools/doctor.py                                  the environment
  python tools/doctor.py work_dirs/sim_joint              a run: what --resume would take; cleans leftovers
  python tools/doctor.py work_dirs/sim_joint --dry-run    the same, but only looks
  python tools/doctor.py --json

The exit code is 1 if there is a problem.
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, nargs="?", help="run folder; without it the environment")
    parser.add_argument("--dry-run", action="store_true", help="remove nothing")
    parser.add_argument("--json", action="store_true", help="a list of findings as JSON")
    args = parser.parse_args()
    from pc3d.findings import report

    if args.run is None:
        from pc3d.engine.runs.doctor_environment import examine_environment

        findings = examine_environment()
    else:
        from pc3d.engine.runs.doctor import examine_run

        findings = examine_run(args.run, clean=not args.dry_run)
    raise SystemExit(report(findings, args.json))


if __name__ == "__main__":
    run_command(main)
