"""Index a data set in nuScenes format: tables in, Parquet index out. Raw files stay where they are."""

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
  python data_prep/nuscenes.py /data/nuscenes --version v1.0-mini --out index/mini
  python data_prep/nuscenes.py /data/nuscenes --version v1.0-trainval --out index/trainval
  python data_prep/nuscenes.py /data/sim --version v1.0-sim --out index/sim
  python data_prep/nuscenes.py /data/nuscenes --version v1.0-mini --out index/lidar --cameras none
  python data_prep/nuscenes.py /data/nuscenes --out index/part --skip-missing
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder with samples/ and the version folder")
    parser.add_argument("--version", default="v1.0-trainval", help="version folder (default %(default)s)")
    parser.add_argument("--lidar", default="LIDAR_TOP", help="channel of the LiDAR (default %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="INDEX", help="index folder to write")
    parser.add_argument("--verbose", action="store_true", help="print findings that are no fault too")
    add_selection(parser)
    args = parser.parse_args()
    selection = Selection.of(args)
    rebuild = (
        f"python data_prep/nuscenes.py {shlex.quote(str(args.root))} --version {shlex.quote(args.version)} "
        f"--lidar {shlex.quote(args.lidar)} --out {shlex.quote(str(args.out))}{selection.command_line()}"
    )
    options = {"version": args.version, "lidar": args.lidar}
    build_index("nuscenes", args.root, args.out, rebuild, selection, args.verbose, **options)


if __name__ == "__main__":
    run_command(main)
