"""Store the annotated objects of an index with their points, for `data.paste` of a detector's config.

Take the frames that the detector is trained on: an object of another frame is a label more.
"""

from __future__ import annotations

import argparse

HELP = "store annotated objects, to be pasted into other frames"
EXAMPLES = """\
  pc3d objects data/sim-index --split sim_train --out data/sim-objects
  pc3d objects data/sim-index --split sim_train --fraction 5 --out data/sim-objects-5
  pc3d objects index/nuscenes --split train --sweeps 10 --features intensity time --out OBJECTS
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("index", help="index folder")
    parser.add_argument("--out", required=True, help="folder to make")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--split", help="take the key frames of this split")
    which.add_argument("--tokens", help="take those of this token list")
    parser.add_argument(
        "--fraction", type=float, default=100.0, help="percent of the split, as in the config"
    )
    parser.add_argument("--fraction-rule", default="auto", help="as `data.fraction_rule`")
    parser.add_argument("--fraction-draw", type=int, default=0, help="as `data.fraction_draw`")
    parser.add_argument("--features", nargs="*", default=["intensity"], help="as `data.features`")
    parser.add_argument("--sweeps", type=int, default=1, help="as `data.sweeps`")
    parser.add_argument("--min-points", type=int, default=5, help="leave out objects with fewer points")


def run(args: argparse.Namespace) -> None:
    from pc3d.data.classes import ClassSet
    from pc3d.data.index import SweepIndex
    from pc3d.data.paste import build_paste_database, object_counts
    from pc3d.data.splits import label_fraction, read_tokens

    index = SweepIndex.open(args.index)
    share = (args.fraction, args.fraction_rule, args.fraction_draw)
    tokens = read_tokens(args.tokens) if args.tokens else label_fraction(index, args.split, *share)
    database = build_paste_database(index, tokens, args.out, args.features, args.sweeps, args.min_points)
    classes = ClassSet.of(index.metadata)
    assert classes is not None  # or there were no objects
    counts = ", ".join(f"{name} {count}" for name, count in object_counts(database, classes).items())
    print(f"{args.out}: {len(database.boxes)} objects of {len(tokens)} key frames: {counts}")
