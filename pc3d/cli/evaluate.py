"""Evaluate a fine-tuned model (nuScenes officially, other data by pc3d), or probe a backbone with kNN."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pc3d.evaluation.command_line import (
    add_device,
    add_scoring,
    add_tta,
    add_voting,
    scoring_of,
    tracks_of,
    tta_of,
    voting_of,
)

if TYPE_CHECKING:  # imported where used, so that --help need not wait for torch
    from pc3d.data.index import SweepIndex

HELP = "evaluate a fine-tuned model, or probe a backbone"
EXAMPLES = """\
  pc3d evaluate work_dirs/sim_5_percent/segmenter.safetensors
  pc3d evaluate work_dirs/run/segmenter.safetensors --index data/other-index --split val
  pc3d evaluate work_dirs/sim_5_percent/segmenter.safetensors --temporal-voting 1
  pc3d evaluate work_dirs/sim_5_percent/segmenter.safetensors --tta 8
  pc3d evaluate work_dirs/sim_detection/detector.safetensors --pictures 4
  pc3d evaluate work_dirs/kitti_detection/detector.safetensors --iou Car=0.7 Cyclist=0.5
  pc3d evaluate work_dirs/run/detector.safetensors --device cuda:1 --workers 8
  pc3d evaluate work_dirs/sim_joint/backbone.safetensors --knn
"""


def data_of(args: argparse.Namespace) -> tuple[SweepIndex, str, str | None]:
    """Index and split to evaluate, and the split that was trained on: by default those of the run."""
    from pc3d.engine.averaging import SUFFIX
    from pc3d.engine.finetuner import FILES
    from pc3d.engine.run_data import RunData, check_file, evaluation_split, read_run_data

    wanted = ["backbone", *FILES.values()] if args.knn else list(FILES.values())
    check_file(args.checkpoint, [f"{name}{end}.safetensors" for name in wanted for end in ("", SUFFIX)])
    run = RunData(args.index, args.root) if args.index else read_run_data(args.checkpoint)
    index = run.open()
    return index, args.split or evaluation_split(index, run.split), run.split


def knn(args: argparse.Namespace) -> None:
    from pc3d.engine.checkpoints import frames_of, load_encoder
    from pc3d.evaluation.probes import knn_of_encoder
    from pc3d.ops.device import chosen_device

    index, split, trained_on = data_of(args)
    train = args.train_split or trained_on or split.replace("val", "train")
    encoder, features = load_encoder(args.checkpoint), frames_of(args.checkpoint).features
    result = knn_of_encoder(
        encoder.to(chosen_device(args.device)), index, train, split, args.percent, features=features
    )
    print(f"kNN probe: mIoU {100 * result['miou']:.1f} %, accuracy {100 * result['accuracy']:.1f} %")


def pictures(args: argparse.Namespace, index: SweepIndex, split: str, out: Path, result: dict) -> list[Path]:
    """What there is to see of a detector or a map segmenter."""
    from pc3d.viz.detections import draw_detections
    from pc3d.viz.maps import draw_worst_maps
    from pc3d.viz.own_detections import draw_own_detections

    if result.get("evaluator") == "pc3d" and "class_ap" in result:
        return draw_own_detections(index, out, args.pictures)
    if "nds" in result:
        return draw_detections(index, split, out, args.pictures)
    if "miou_fixed" in result:
        return draw_worst_maps(args.checkpoint, index, out, args.pictures, args.device)
    return []


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint",
        type=Path,
        help="segmenter, detector or map_segmenter.safetensors; with --knn a backbone",
    )
    parser.add_argument("--index", type=Path, help="default: the one that the run of the checkpoint read")
    parser.add_argument("--root", type=Path, help="data set root of --index, if it has moved")
    parser.add_argument("--split", help="default: the validation split that goes with the run's split")
    parser.add_argument(
        "--out",
        type=Path,
        help="default: evaluation/ beside the checkpoint; with other settings evaluation-tta8/ and the like",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace metrics of other settings in --out")
    parser.add_argument("--workers", type=int, default=0, help="data workers (default: %(default)s)")
    parser.add_argument("--knn", action="store_true", help="kNN probe of the backbone's point features")
    parser.add_argument("--train-split", help="of the kNN bank (default: the split that the run read)")
    parser.add_argument("--percent", type=float, default=100.0, help="label fraction of the kNN bank")
    parser.add_argument(
        "--pictures",
        type=int,
        default=4,
        metavar="N",
        help="draw the N worst key frames of a detector or map segmenter (default: %(default)s)",
    )
    add_device(parser)
    add_tta(parser)
    add_voting(parser)
    add_scoring(parser)


def run(args: argparse.Namespace) -> None:
    if args.knn:
        knn(args)
        return
    from pc3d.evaluation.downstream import evaluate_checkpoint, summary_text
    from pc3d.evaluation.settings import evaluation_folder

    index, split, _ = data_of(args)
    voting, tracks, tta = voting_of(args), tracks_of(args), tta_of(args)
    name = evaluation_folder(split, tta, voting, tracks is not None, args.evaluator, args.checkpoint)
    out = args.out or args.checkpoint.parent / name
    result = evaluate_checkpoint(
        args.checkpoint,
        index,
        split,
        out,
        args.workers,
        overwrite=args.overwrite,
        device=args.device,
        evaluator=args.evaluator,
        scoring=scoring_of(args),
        voting=voting,
        tracks=tracks,
        tta=tta,
    )
    print(summary_text(result))
    print(f"metrics: {out / 'metrics.json'}")
    for path in pictures(args, index, split, out, result) if args.pictures else []:
        print(f"picture: {path}")
