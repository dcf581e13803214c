"""Show what an index holds: one HTML page with counts, times, points, classes, maps and pictures of sweeps.

The page is one file that opens offline. A sample of the sweeps is opened, so that it is quick on large sets.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "an HTML page of what an index holds"
EXAMPLES = """\
  pc3d inspect index/own --out own.html
  pc3d inspect index/trainval --out trainval.html --samples 500 --sheets 12
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("index", type=Path, metavar="INDEX", help="index folder")
    parser.add_argument("--out", type=Path, required=True, metavar="PAGE", help="HTML file to write")
    parser.add_argument("--root", type=Path, help="data set root, if it is not the one of the index")
    parser.add_argument(
        "--samples", type=int, default=200, help="key frames that are opened (default %(default)s)"
    )
    parser.add_argument("--sheets", type=int, default=6, help="sweeps that are shown (default %(default)s)")
    parser.add_argument("--no-calibration", action="store_true", help="do not compare scans with images")


def run(args: argparse.Namespace) -> None:
    import shlex

    from rich.console import Console

    from pc3d.data.errors import fail
    from pc3d.data.index import SweepIndex
    from pc3d.viz.inspect_page import write_inspection

    if args.samples < 1 or args.sheets < 0:
        raise ValueError(f"--samples {args.samples} --sheets {args.sheets}: expected at least 1 and 0")
    if args.out.suffix.lower() not in (".html", ".htm"):
        fail("the page is an HTML file", args.out, "name it PAGE.html")
    index = SweepIndex.open(args.index, root=args.root)
    if not len(index):
        fail("the index has no sweep", args.index, "index a data set that has some")
    command = f"pc3d inspect {shlex.quote(str(args.index))} --out {shlex.quote(str(args.out))}"
    command += f" --samples {args.samples} --sheets {args.sheets}"
    with Console(stderr=True).status("looking") as status:
        write_inspection(
            index,
            args.out,
            samples=args.samples,
            sheets=args.sheets,
            calibration=not args.no_calibration,
            command=command,
            said=status.update,
        )
    print(args.out)
