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
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "root", type=Path, metavar="ROOT", help="a date folder, or the folder that holds several"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="INDEX", help="index folder to write")
    args = parser.parse_args()
    rebuild = (
        f"python data_prep/kitti_raw.py {shlex.quote(str(args.root))} --out {shlex.quote(str(args.out))}"
    )
    build_index("kitti_raw", args.root, args.out, rebuild)


if __name__ == "__main__":
    main()
