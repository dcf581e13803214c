"""Write which key frames a backbone finds alike, and clusters of them: the table of `data.sampler`.

The features of a frame's points are pooled; frames are compared by the cosine, and clustered by spherical
k-means. With --after, the clusters of an earlier table are divided.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write which key frames a backbone finds alike, for data.sampler"
EXAMPLES = """\
  pc3d neighbours data/sim-index --checkpoint work_dirs/sim_prc/backbone.safetensors \\
      --split sim_train --out data/sim-neighbours.npz
  pc3d pretrain sim_prc --cfg-options data.sampler.type=Neighbours data.sampler.table=data/sim-neighbours.npz
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("index", type=Path, nargs="+", metavar="INDEX", help="index folders")
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help="backbone")
    parser.add_argument("--split", help="that is trained on (default: all key frames)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="of the table, .npz")
    parser.add_argument("--root", type=Path, help="data set root, if it has moved (of one INDEX)")
    parser.add_argument("--count", type=int, default=128, help="neighbours of a frame (default: %(default)s)")
    parser.add_argument("--clusters", type=int, default=10, help="0 for none (default: %(default)s)")
    parser.add_argument("--after", type=Path, metavar="TABLE", help="of an earlier stage, to be divided")


def run(args: argparse.Namespace) -> None:
    import torch
    from rich.console import Console

    from pc3d.data.index import SweepIndex
    from pc3d.data.sampler_table import SamplerTable
    from pc3d.evaluation.likeness import likeness_table
    from pc3d.evaluation.protocol.networks import Backbone

    if args.count < 1 or args.clusters < 0:
        raise ValueError(f"--count {args.count} --clusters {args.clusters}: expected at least 1, and 0")
    if args.root is not None and len(args.index) > 1:
        raise ValueError("--root goes with one INDEX: the others say themselves where their data set is")
    if args.after is not None and not args.clusters:
        raise ValueError("--after divides the clusters of a table: ask for some with --clusters")
    indexes = [SweepIndex.open(folder, root=args.root) for folder in args.index]
    after = None if args.after is None else SamplerTable.open(args.after)
    backbone = Backbone.of(args.checkpoint)
    backbone.encoder.to("cuda" if torch.cuda.is_available() else "cpu")
    with Console(stderr=True).status("pooling features"):
        table = likeness_table(indexes, args.split, backbone, args.count, args.clusters, after)
    table.save(args.out)
    labels = len(set(table.labels[table.labels >= 0].tolist()))
    print(
        f"{len(table.rows):,} key frames, {table.neighbours.shape[1]} neighbours, {labels} labels: {args.out}"
    )
