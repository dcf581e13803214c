"""Split the drives of an index into train, val and test: whole drives, written as lists of tokens.

By chance (`drive`), so that no two splits pass the same place (`place`), or the last drives for validation
(`time`). `--apply` writes the splits into the index too, so that `--eval-split val` finds them.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

HELP = "split drives into train and val: by drive, place or time"
EXAMPLES = """\
  pc3d split index/own --out splits/own
  pc3d split index/own --by place --apart 100 --val 0.2 --test 0.1 --out splits/own --apply
  pc3d split index/own --check splits/own/train.txt splits/own/val.txt
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("index", type=Path, metavar="INDEX", help="index folder")
    parser.add_argument("--root", type=Path, help="data set root, if it is not where the index was made")
    parser.add_argument(
        "--by", choices=("drive", "place", "time"), default="drive", help="default %(default)s"
    )
    parser.add_argument(
        "--val", type=float, default=0.2, help="share of the key frames (default %(default)s)"
    )
    parser.add_argument("--test", type=float, default=0.0, help="share of the key frames (default none)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default %(default)s)")
    parser.add_argument(
        "--apart", type=float, default=50.0, help="metres between places (default %(default)s)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the lists, SPLIT.txt")
    parser.add_argument("--apply", action="store_true", help="write the splits into the index, too")
    parser.add_argument(
        "--check", nargs="+", type=Path, metavar="LIST", help="only look whether lists share a drive"
    )


def run(args: argparse.Namespace) -> None:
    from pc3d.data.drive_splits import apply_splits, check_apart, drives_of, split_drives, write_split_lists
    from pc3d.data.index import SweepIndex
    from pc3d.data.splits import read_tokens

    index = SweepIndex.open(args.index, root=args.root)
    if args.check:
        if len({path.resolve() for path in args.check}) < max(2, len(args.check)):
            raise ValueError("--check compares lists: name two or more, each once")
        check_apart(index, {str(path): read_tokens(path) for path in args.check})
        print(f"no drive is in two of the {len(args.check)} lists")
        return
    if args.out is None and not args.apply:
        raise ValueError("say what to write: --out DIR for lists, --apply for the index")
    shares = {"train": 1 - args.val - args.test, "val": args.val, "test": args.test}
    shares = {name: share for name, share in shares.items() if share != 0}
    drives = drives_of(index)
    split_of = split_drives(drives, shares, args.by, args.seed, args.apart)
    how = f"by {args.by}, seed {args.seed}" + (f", {args.apart:g} m apart" if args.by == "place" else "")
    for split in shares:
        of_split = [drive for drive in drives if split_of[drive.name] == split]
        frames = sum(len(drive.tokens) for drive in of_split)
        print(f"{split}: {len(of_split)} drives, {frames} key frames")
    if args.out is not None:
        for path in write_split_lists(drives, split_of, args.out, how).values():
            print(path)
    if args.apply:
        command = f"pc3d split {shlex.quote(str(args.index))} --by {args.by} --val {args.val:g} --apply"
        command += f" --test {args.test:g} --seed {args.seed} --apart {args.apart:g}"
        apply_splits(index, split_of, how, command)
        print(f"{args.index}: splits {', '.join(shares)}")
