"""Score the calibration of an index: do edges of scans lie on edges of images? Changes nothing.

The exit code is 1 if a calibration is wrong. docs/calibration.md says what can be seen.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "score the calibration of an index"
EXAMPLES = """\
  pc3d calibration index/sim
  pc3d calibration index/trainval --cameras CAM_FRONT CAM_BACK
  pc3d calibration index/mini --root /other/disk/nuscenes --json
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("index", type=Path, metavar="INDEX", help="index folder")
    parser.add_argument("--root", type=Path, help="data set root, if it is not the one of the index")
    parser.add_argument("--cameras", nargs="+", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--json", action="store_true", help="a list of findings as JSON")


def run(args: argparse.Namespace) -> None:
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
