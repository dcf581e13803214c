"""Evaluate a fine-tuned segmenter with the official nuScenes metrics."""

import argparse
from pathlib import Path

from pc3d.engine.command_line import run_command

EXAMPLES = """\
examples:
  python tools/evaluate.py work_dirs/sim_5_percent/segmenter.safetensors
  python tools/evaluate.py work_dirs/run/segmenter.safetensors --index data/nuscenes-index --split val
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, help="segmenter.safetensors of a run folder")
    parser.add_argument("--index", type=Path, default=Path("data/sim-index"), help="default: %(default)s")
    parser.add_argument("--split", default="sim_val", help="default: %(default)s")
    parser.add_argument("--out", type=Path, help="default: evaluation/ beside the checkpoint")
    parser.add_argument("--workers", type=int, default=0)
    args = parser.parse_args()
    from pc3d.evaluation.segmentation import evaluate_checkpoint, summary_text

    out = args.out or args.checkpoint.parent / "evaluation"
    result = evaluate_checkpoint(args.checkpoint, args.index, args.split, out, args.workers)
    print(summary_text(result))
    print(f"metrics: {out / 'metrics.json'}")


if __name__ == "__main__":
    run_command(main)
