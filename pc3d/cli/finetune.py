"""Fine-tune for LiDAR segmentation or BEV detection with few labels, and evaluate."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pc3d.engine.command_line import add_training, start_options

if TYPE_CHECKING:  # imported where used, so that --help need not wait for torch
    from mmengine.config import Config

    from pc3d.data.index import SweepIndex

HELP = "fine-tune with few labels, and evaluate"
EXAMPLES = """\
  pc3d finetune sim_linear_probe --cfg-options init.checkpoint=work_dirs/sim_joint/backbone.safetensors
  pc3d finetune sim_5_percent                                       (random start)
  pc3d finetune sim_5_percent --eval-split sim_val
  pc3d finetune my_config.py --eval-split val
  pc3d finetune sim_5_percent --index index/own --init runs/a/backbone.safetensors --eval-split val \\
      --cfg-options data.fraction=100
  pc3d finetune sim_detection_5_percent --eval-split sim_val --cfg-options init.run=work_dirs/sim_calico
"""


def add(parser: argparse.ArgumentParser) -> None:
    add_training(parser)
    parser.add_argument("--eval-split", help="evaluate on this split when training has ended")
    parser.add_argument(
        "--partial", action="store_true", help="load what fits of a checkpoint, and say what does not"
    )
    group = parser.add_argument_group("your own drives")
    group.add_argument("--index", type=Path, help="to train on, instead of that of the config")
    group.add_argument("--init", type=Path, metavar="FILE", help="backbone to start from")


def run(args: argparse.Namespace) -> None:
    options = start_options(args)
    from pc3d.engine.config import config_file, load_config
    from pc3d.engine.finetuner import finetune

    path = config_file(args.config, "finetune")
    config = load_config(path, "finetune", overrides_of(args, path))
    config.launcher = args.launcher
    work_dir = args.work_dir or Path(config.get("work_dir", f"work_dirs/{path.stem}"))
    index = evaluated_index(config, args.eval_split) if args.eval_split else None
    checkpoint = finetune(config, work_dir, **options)
    print(f"model: {checkpoint}")
    if index is not None:
        from pc3d.engine.averaging import SUFFIX
        from pc3d.evaluation.downstream import evaluate_checkpoint, summary_text
        from pc3d.evaluation.settings import evaluation_folder

        averaged = checkpoint.with_stem(checkpoint.stem + SUFFIX)
        for file in (checkpoint, *([averaged] if config.get("runtime", {}).get("ema") else [])):
            out = work_dir / evaluation_folder(args.eval_split, checkpoint=file)
            result = evaluate_checkpoint(file, index, args.eval_split, out)
            print(f"{file.name}: {summary_text(result)}" if file == averaged else summary_text(result))


def overrides_of(args: argparse.Namespace, path: Path) -> dict[str, Any]:
    """The settings that the arguments change."""
    from pc3d.data.index import SweepIndex
    from pc3d.engine.config import load_config
    from pc3d.engine.own_drives import training_split

    given = dict(args.cfg_options or {})
    changed: dict[str, Any] = {"init.partial": True} if args.partial else {}
    if args.init is not None:
        changed["init.checkpoint"] = str(args.init)
    if args.index is not None:
        changed["data.index"] = str(args.index)
        if not {"data.split", "data.tokens", "data.scenes"} & given.keys():
            config = load_config(path, "finetune", {**given, **changed})
            wanted = config.data.get("split") or "train"
            changed["data.split"] = training_split(SweepIndex.open(args.index), wanted)
    return {**changed, **given}


def evaluated_index(config: Config, split: str) -> SweepIndex:
    """The index that is evaluated when training has ended, found fit for it before training begins."""
    from pc3d.engine.run_data import only, sources_of
    from pc3d.evaluation.downstream import check_evaluation

    index = only(sources_of(config.data), "--eval-split", "evaluate with `pc3d evaluate --index`").open()
    check_evaluation(index, split, config.get("task", "lidarseg"))
    return index
