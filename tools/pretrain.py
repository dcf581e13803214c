"""Pretrain LiDAR and image backbones on unlabelled drives."""

from pathlib import Path

from pc3d.engine.command_line import run_command, start_options, training_parser

EXAMPLES = """\
  python tools/pretrain.py configs/pretrain/sim_joint.py
  python tools/pretrain.py configs/pretrain/sim_joint.py --resume
  python tools/pretrain.py configs/pretrain/sim_joint.py --resume --allow-change optimizer.lr \\
      --cfg-options optimizer.lr=1e-3
  python tools/pretrain.py configs/pretrain/sim_joint.py --overwrite       # what is there is removed
  python tools/pretrain.py configs/pretrain/sim_calico.py                  # both stages
  python tools/pretrain.py configs/pretrain/sim_prc.py --cfg-options schedule.iterations=1000
  torchrun --nproc-per-node 8 tools/pretrain.py configs/pretrain/nuscenes_superflowpp.py --launcher pytorch
"""


def main() -> None:
    args = training_parser(__doc__, EXAMPLES).parse_args()
    options = start_options(args)
    from pc3d.engine.config import load_config
    from pc3d.engine.pretrainer import pretrain

    config = load_config(args.config, "pretrain", args.cfg_options)
    config.launcher = args.launcher
    work_dir = args.work_dir or Path(config.get("work_dir", f"work_dirs/{args.config.stem}"))
    print(f"backbone: {pretrain(config, work_dir, **options)}")


if __name__ == "__main__":
    run_command(main)
