"""Label the unlabelled frames of a split with a fine-tuned segmenter, where it is sure and scans agree."""

from __future__ import annotations

import argparse
from pathlib import Path

from pc3d.evaluation.command_line import add_device, add_voting, tracks_of, voting_of

HELP = "label unlabelled frames with a fine-tuned segmenter"
EXAMPLES = """\
  pc3d pseudo-label work_dirs/sim_1_percent/segmenter.safetensors data/sim-index \\
      --split sim_train --tokens-excluded configs/splits/sim_bench_1_percent.txt --out data/sim-pseudo
  pc3d finetune configs/finetune/sim_semi_supervised.py --eval-split sim_val
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="segmenter.safetensors")
    parser.add_argument("index", type=Path, metavar="INDEX", help="index folder")
    parser.add_argument("--split", required=True, help="split to label, for example sim_train")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of the pseudo-labels")
    parser.add_argument("--tokens-excluded", type=Path, metavar="LIST", help="frames that have true labels")
    parser.add_argument("--threshold", type=float, default=0.9, help="probability (default: %(default)s)")
    parser.add_argument("--agree", type=int, default=2, help="scans that agree (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="data workers (default: %(default)s)")
    add_device(parser)
    add_voting(parser, default=1)


def run(args: argparse.Namespace) -> None:
    from pc3d.data.splits import read_tokens
    from pc3d.evaluation.pseudo_labels import PseudoLabelConfig, summary_text, write_pseudo_labels

    voting = voting_of(args)
    assert voting is not None  # it has a default
    result = write_pseudo_labels(
        args.checkpoint,
        args.index,
        args.split,
        args.out,
        PseudoLabelConfig(args.threshold, args.agree, voting),
        excluded=set(read_tokens(args.tokens_excluded)) if args.tokens_excluded else set(),
        workers=args.workers,
        tracks=tracks_of(args),
        device=args.device,
    )
    print(summary_text(result))
    print(f"pseudo-labels: {args.out}, their frames: {args.out / 'tokens.txt'}")
