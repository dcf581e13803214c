"""Index KITTI raw drives: calibration and folders in, Parquet index out. Raw files stay where they are."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

# Run as a script, this folder stands first on the path and its nuscenes.py hides the nuscenes-devkit.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).parent.resolve()]

from pc3d.data.build import build_index

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
    args = parser.parse_args()
    if args.key_every < 1:
        parser.error(f"--key-every is {args.key_every}, expected at least 1")
    rebuild = (
        f"python data_prep/kitti_raw.py {shlex.quote(str(args.root))} --out {shlex.quote(str(args.out))}"
        + (f" --poses {args.poses}" if args.poses else "")
        + (f" --key-every {args.key_every}" if args.key_every > 1 else "")
    )
    build_index("kitti_raw", args.root, args.out, rebuild, poses=args.poses, key_every=args.key_every)


if __name__ == "__main__":
    main()
