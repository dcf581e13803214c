"""Fine-tune for LiDAR segmentation or BEV detection with few labels, and evaluate officially."""

from pathlib import Path

from pc3d.engine.command_line import run_command, start_options, training_parser

EXAMPLES = """\
  python tools/finetune.py configs/finetune/sim_linear_probe.py \\
      --cfg-options init.checkpoint=work_dirs/sim_joint/backbone.safetensors
  python tools/finetune.py configs/finetune/sim_5_percent.py        (random start)
  python tools/finetune.py configs/finetune/sim_5_percent.py --eval-split sim_val
  python tools/finetune.py configs/finetune/sim_detection_5_percent.py --eval-split sim_val \\
      --cfg-options init.run=work_dirs/sim_calico
"""


def main() -> None:
    parser = training_parser(__doc__, EXAMPLES)
    parser.add_argument("--eval-split", help="evaluate on this split when training has ended")
    parser.add_argument(
        "--partial", action="store_true", help="load what fits of a checkpoint, and say what does not"
    )
    args = parser.parse_args()
    options = start_options(args)
    from pc3d.engine.config import load_config
    from pc3d.engine.finetuner import finetune

    partial = {"init.partial": True} if args.partial else {}
    config = load_config(args.config, "finetune", {**(args.cfg_options or {}), **partial})
    config.launcher = args.launcher
    work_dir = args.work_dir or Path(config.get("work_dir", f"work_dirs/{args.config.stem}"))
    checkpoint = finetune(config, work_dir, **options)
    print(f"model: {checkpoint}")
    if args.eval_split:
        from pc3d.evaluation.downstream import evaluate_checkpoint, summary_text
        from pc3d.evaluation.settings import evaluation_folder

        out = work_dir / evaluation_folder(args.eval_split)
        result = evaluate_checkpoint(checkpoint, config.data.index, args.eval_split, out)
        print(summary_text(result))


if __name__ == "__main__":
    run_command(main)
