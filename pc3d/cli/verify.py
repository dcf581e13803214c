"""Verify an index: open every file that it names, and compare times, poses, mounts, boxes and labels.

Changes nothing. The exit code is 0 where all is well (warnings may be there), 1 if there is a problem.
docs/verify.md has what is looked at.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "open every file of an index and say what is wrong"
EXAMPLES = """\
  pc3d verify index/own
  pc3d verify index/trainval --workers 16 --json verify.json
  pc3d verify index/trainval --split train --every 20
  pc3d verify index/mini --root /other/disk/nuscenes --verbose
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("index", type=Path, metavar="INDEX", help="index folder")
    parser.add_argument("--root", type=Path, help="data set root, if it is not the one of the index")
    parser.add_argument(
        "--workers", type=int, default=0, help="processes that open files, 0 for one per core (default)"
    )
    parser.add_argument("--split", help="only the sweeps of this split")
    parser.add_argument(
        "--every",
        type=int,
        default=1,
        metavar="K",
        help="open the files of every K-th sweep only; times, poses and boxes of all are looked at",
    )
    parser.add_argument("--no-calibration", action="store_true", help="do not compare scans with images")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON, too")
    parser.add_argument("--verbose", action="store_true", help="print what is well, and more places, too")


def run(args: argparse.Namespace) -> None:
    import os

    from rich.console import Console
    from rich.progress import Progress

    from pc3d.data.index import SweepIndex
    from pc3d.data.verify import verify_index, write_verification
    from pc3d.processes import stopped_in_one_line

    if args.workers < 0:
        raise ValueError(f"--workers is {args.workers}, expected 0 or more")
    if args.every < 1:
        raise ValueError(f"--every is {args.every}, expected at least 1")
    workers = args.workers or len(os.sched_getaffinity(0))
    with stopped_in_one_line("nothing was written; --every K looks at a part"):
        index = SweepIndex.open(args.index, root=args.root)
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("opening files", total=len(index))
            result = verify_index(
                index,
                workers=min(workers, max(1, len(index) // 16)),
                split=args.split,
                every=args.every,
                calibration=not args.no_calibration,
                progress=lambda passed, _: bar.update(task, completed=passed),
            )
        if args.json is not None:
            write_verification(args.json, result)
    print(result.text(args.verbose))
    raise SystemExit(result.exit_code)
