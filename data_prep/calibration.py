"""Score the calibration of an index: do edges of scans lie on edges of images? Changes nothing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# Run as a script, this folder stands first on the path and its nuscenes.py hides the nuscenes-devkit.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).parent.resolve()]

from pc3d.engine.command_line import run_command

EXAMPLES = """examples:
  python data_prep/calibration.py index/sim
  python data_prep/calibration.py index/trainval --cameras CAM_FRONT CAM_BACK
  python data_prep/calibration.py index/mini --root /other/disk/nuscenes --json

The exit code is 1 if a calibration is wrong. docs/calibration.md says what can be seen.
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("index", type=Path, metavar="INDEX", help="index folder")
    parser.add_argument("--root", type=Path, help="data set root, if it is not the one of the index")
    parser.add_argument("--cameras", nargs="+", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--json", action="store_true", help="a list of findings as JSON")
    args = parser.parse_args()
    from pc3d.data.calibration import calibration_findings
    from pc3d.data.errors import fail
    from pc3d.data.index import SweepIndex
    from pc3d.findings import report

    findings = calibration_findings(SweepIndex.open(args.index, args.root), args.cameras)
    if not findings:
        fail(
            "there is no image to compare scans with",
            args.index,
            "index a data set that has them; see --cameras",
        )
    raise SystemExit(report(findings, args.json))


if __name__ == "__main__":
    run_command(main)
