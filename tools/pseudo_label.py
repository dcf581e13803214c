"""Label the unlabelled frames of a split with a fine-tuned segmenter, where it is sure and scans agree."""

import argparse
from pathlib import Path

from pc3d.engine.command_line import run_command
from pc3d.evaluation.command_line import add_voting, tracks_of, voting_of

EXAMPLES = """\
examples:
  python tools/pseudo_label.py work_dirs/sim_1_percent/segmenter.safetensors data/sim-index \\
      --split sim_train --tokens-excluded configs/splits/sim_bench_1_percent.txt --out data/sim-pseudo
  python tools/finetune.py configs/finetune/sim_semi_supervised.py --eval-split sim_val
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, help="segmenter.safetensors")
    parser.add_argument("index", type=Path, metavar="INDEX", help="index folder")
    parser.add_argument("--split", required=True, help="split to label, for example sim_train")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of the pseudo-labels")
    parser.add_argument("--tokens-excluded", type=Path, metavar="LIST", help="frames that have true labels")
    parser.add_argument("--threshold", type=float, default=0.9, help="probability (default: %(default)s)")
    parser.add_argument("--agree", type=int, default=2, help="scans that agree (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="data workers (default: %(default)s)")
    add_voting(parser, default=1)
    args = parser.parse_args()
    from pc3d.data.splits import read_tokens
    from pc3d.evaluation.pseudo_labels import PseudoLabelConfig, summary_text, write_pseudo_labels

    result = write_pseudo_labels(
        args.checkpoint,
        args.index,
        args.split,
        args.out,
        PseudoLabelConfig(args.threshold, args.agree, voting_of(args)),
        excluded=set(read_tokens(args.tokens_excluded)) if args.tokens_excluded else set(),
        workers=args.workers,
        tracks=tracks_of(args),
    )
    print(summary_text(result))
    print(f"pseudo-labels: {args.out}, their frames: {args.out / 'tokens.txt'}")


if __name__ == "__main__":
    run_command(main)
