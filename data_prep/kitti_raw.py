"""Index KITTI raw drives: calibration and folders in, Parquet index out. Raw files stay where they are."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

# Run as a script, this folder stands first on the path and its nuscenes.py hides the nuscenes-devkit.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).parent.resolve()]

from pc3d.data.build import build_index
from pc3d.data.selection import Selection, add_selection
from pc3d.engine.command_line import run_command

EXAMPLES = """examples:
  python data_prep/kitti_raw.py /data/kitti_raw --out index/kitti
  python data_prep/kitti_raw.py /data/kitti_raw/2011_09_26 --out index/kitti_0926
  python data_prep/kitti_raw.py /data/kitti_raw --out index/kitti_2hz --poses kiss-icp --key-every 5
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "root", type=Path, metavar="ROOT", help="a date folder, or the folder that holds several"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="INDEX", help="index folder to write")
    parser.add_argument(
        "--poses",
        choices=["kiss-icp", "oxts"],
        help="estimate them by LiDAR odometry, or take the OXTS unit's (default: the identity)",
    )
    parser.add_argument(
        "--key-every", type=int, default=1, metavar="N", help="every N-th scan is a key frame (default 1)"
    )
    parser.add_argument("--verbose", action="store_true", help="print findings that are no fault too")
    add_selection(parser)
    args = parser.parse_args()
    selection = Selection.of(args)
    if args.key_every < 1:
        raise ValueError(f"--key-every is {args.key_every}, expected at least 1")
    rebuild = (
        f"python data_prep/kitti_raw.py {shlex.quote(str(args.root))} --out {shlex.quote(str(args.out))}"
        + (f" --poses {args.poses}" if args.poses else "")
        + (f" --key-every {args.key_every}" if args.key_every > 1 else "")
        + selection.command_line()
    )
    options = {"poses": args.poses, "key_every": args.key_every}
    build_index("kitti_raw", args.root, args.out, rebuild, selection, args.verbose, **options)


if __name__ == "__main__":
    run_command(main)
