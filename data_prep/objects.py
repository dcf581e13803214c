"""Store the annotated objects of an index with their points, for `data.paste` of a detector's config.

Take the frames that the detector is trained on: an object of another frame is a label more.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# Run as a script, this folder stands first on the path and its nuscenes.py hides the nuscenes-devkit.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).parent.resolve()]

from pc3d.data.index import SweepIndex
from pc3d.data.paste import build_paste_database, object_counts
from pc3d.data.splits import label_fraction, read_tokens
from pc3d.engine.command_line import run_command

EXAMPLES = """examples:
  python data_prep/objects.py data/sim-index --split sim_train --out data/sim-objects
  python data_prep/objects.py data/sim-index --split sim_train --fraction 5 --out data/sim-objects-5
  python data_prep/objects.py index/nuscenes --split train --sweeps 10 --features intensity time --out OBJECTS
"""


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("index", help="index folder")
    parser.add_argument("--out", required=True, help="folder to make")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--split", help="take the key frames of this split")
    which.add_argument("--tokens", help="take those of this token list")
    parser.add_argument(
        "--fraction", type=float, default=100.0, help="percent of the split, as in the config"
    )
    parser.add_argument("--features", nargs="*", default=["intensity"], help="as `data.features`")
    parser.add_argument("--sweeps", type=int, default=1, help="as `data.sweeps`")
    parser.add_argument("--min-points", type=int, default=5, help="leave out objects with fewer points")
    return parser.parse_args()


def main() -> None:
    args = _parse()
    index = SweepIndex.open(args.index)
    tokens = read_tokens(args.tokens) if args.tokens else label_fraction(index, args.split, args.fraction)
    database = build_paste_database(index, tokens, args.out, args.features, args.sweeps, args.min_points)
    counts = ", ".join(f"{name} {count}" for name, count in object_counts(database).items())
    print(f"{args.out}: {len(database.boxes)} objects of {len(tokens)} key frames: {counts}")


if __name__ == "__main__":
    run_command(main)
