"""Probe backbones beside what needs no pretraining: the same points, the same two probes, one table.

The references are raw columns, hand-made local statistics, a random network, what a network adds to the
hand-made ones and, with --teacher, the image features at the pixels of the points. docs/evaluate.md has what
they mean.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pc3d.evaluation.command_line import add_device

if TYPE_CHECKING:  # imported where used, so that --help need not wait for torch
    from pc3d.data.index import SweepIndex
    from pc3d.evaluation.protocol.networks import Backbone

HELP = "probe backbones beside hand-made and random features"
EXAMPLES = """\
  pc3d probe data/sim-index --checkpoint work_dirs/sim_joint/backbone.safetensors
  pc3d probe data/sim-index --checkpoint a=runs/a/backbone.safetensors b=runs/b/backbone.safetensors
  pc3d probe data/sim-index --checkpoint work_dirs/sim_slidr/backbone.safetensors --teacher sim_slidr
  pc3d probe index/own --train train --val val --json probe.json      # references only, own classes
  pc3d probe index/kitti --train train --val-index index/pandaset --val train --common
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s INDEX [--checkpoint [NAME=]FILE ...] [options]"
    parser.add_argument("index", type=Path, metavar="INDEX", help="index folder of the training part")
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        default=[],
        metavar="[NAME=]FILE",
        help="backbone, or a fine-tuned model (default name: its folder); without one the references alone",
    )
    parser.add_argument(
        "--train", metavar="SPLIT", help="that the probes are fitted on (default: the one named so)"
    )
    parser.add_argument(
        "--val", metavar="SPLIT", help="that is scored (default: the one that goes with --train)"
    )
    parser.add_argument(
        "--val-index", type=Path, metavar="FOLDER", help="index of --val, if it is another data set"
    )
    parser.add_argument("--root", type=Path, help="data set root of INDEX, if it has moved")
    parser.add_argument("--val-root", type=Path, help="data set root of --val-index, if it has moved")
    parser.add_argument("--common", action="store_true", help="label by the classes that all data sets share")
    parser.add_argument(
        "--teacher",
        metavar="CONFIG",
        help="pretraining config with a frozen image network: its features, too",
    )
    parser.add_argument("--points", type=int, default=300, help="of each sweep (default %(default)s)")
    parser.add_argument(
        "--sweeps",
        type=int,
        nargs=2,
        default=(50, 40),
        metavar=("TRAIN", "VAL"),
        help="key frames at equal steps through each split, at most (default 50 40)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the points and of the random network")
    add_device(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all scores as JSON, too")


def run(args: argparse.Namespace) -> None:
    from rich.console import Console

    from pc3d.data.index import SweepIndex
    from pc3d.evaluation.protocol.data import draw_points, spread_key_frames
    from pc3d.evaluation.protocol.networks import Teacher
    from pc3d.evaluation.protocol.references import markdown, reference_table
    from pc3d.ops.device import chosen_device
    from pc3d.storage.whole import write_json

    if args.points < 1 or min(args.sweeps) < 1:
        raise ValueError(f"--points {args.points} --sweeps {args.sweeps}: expected at least 1 each")
    if args.val_root and not args.val_index:
        raise ValueError("--val-root goes with --val-index: the root of INDEX is --root")
    index = SweepIndex.open(args.index, root=args.root)
    other = SweepIndex.open(args.val_index, root=args.val_root) if args.val_index else index
    splits = splits_of(args, index, other)
    backbones = named_backbones(args.checkpoint)
    teacher = Teacher.of(args.teacher) if args.teacher else None
    device = chosen_device(args.device)
    for backbone in backbones.values():
        backbone.encoder.to(device)
    if teacher is not None:
        teacher.encoder.to(device)
    train, val = (
        draw_points(data, spread_key_frames(data, split, count), args.points, args.seed, args.common)
        for data, split, count in zip((index, other), splits, args.sweeps, strict=True)
    )
    with Console(stderr=True).status("probing") as status:
        table = reference_table(train, val, backbones, teacher, seed=args.seed, say=status.update)
    if args.json is not None:
        write_json(args.json, table)
    print(markdown(table))


def splits_of(args: argparse.Namespace, index: SweepIndex, other: SweepIndex) -> tuple[str, str]:
    """The training and the validation split.

    Raises:
        DataError: one is not given, and the index leaves a choice.
    """
    train = args.train or _only(index, "train")
    partner = train.replace("train", "val")
    return train, args.val or (
        partner if partner in other.splits and partner != train else _only(other, "val")
    )


def _only(index: SweepIndex, word: str) -> str:
    from pc3d.data.errors import fail

    likely = [word] if word in index.splits else [name for name in index.splits if word in name]
    if len(likely) != 1:
        known = ", ".join(index.splits) or "no split"
        remedy = f"name it with --{word}; `pc3d split` puts whole drives into splits"
        fail(f"which split is the {word} part? The index has {known}", index.folder, remedy)
    return likely[0]


def named_backbones(given: list[str]) -> dict[str, Backbone]:
    """The backbones of `[NAME=]FILE`.

    Raises:
        DataError: a file cannot be used.
        ValueError: two have one name.
    """
    from pc3d.evaluation.protocol.networks import Backbone

    found: dict[str, Backbone] = {}
    for text in given:
        name, is_named, file = text.partition("=")
        if not is_named or "/" in name:
            name, file = "", text
        path = Path(file)
        name = name or path.resolve().parent.name
        if name in found:
            raise ValueError(f"two checkpoints are named {name!r}: name them with --checkpoint NAME=FILE")
        found[name] = Backbone.of(path)
    return found
