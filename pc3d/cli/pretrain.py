"""Pretrain LiDAR and image backbones on unlabelled drives.

With --data the drives are indexed and their regions cut first, where that is not done yet.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pc3d.engine.command_line import add_training, start_options

if TYPE_CHECKING:  # imported where used, so that --help need not wait for torch
    from mmengine.config import Config

HELP = "pretrain backbones without labels"
EXAMPLES = """\
  pc3d pretrain sim_joint
  pc3d pretrain sim_joint --resume
  pc3d pretrain sim_joint --resume --allow-change optimizer.lr --cfg-options optimizer.lr=1e-3
  pc3d pretrain sim_joint --overwrite                               # what is there is removed
  pc3d pretrain sim_calico                                          # both stages
  pc3d pretrain my_config.py --cfg-options schedule.iterations=1000
  pc3d pretrain sim_slidr --data /data/drives --work-dir runs/a     # indexes, cuts regions, trains
  pc3d pretrain sim_slidr --data /data/drives --work-dir runs/a --resume
  torchrun --nproc-per-node 8 -m pc3d pretrain nuscenes_superflowpp --launcher pytorch
"""


def add(parser: argparse.ArgumentParser) -> None:
    add_training(parser)
    group = parser.add_argument_group("your own drives")
    group.add_argument("--data", type=Path, metavar="ROOT", help="data set to train on, raw as it is")
    group.add_argument(
        "--index", type=Path, help="of ROOT: read, or made (default: index/ in the run folder)"
    )
    group.add_argument("--regions", type=Path, help="of ROOT: added to (default: regions/ in the run folder)")
    group.add_argument("--workers", type=int, help="processes that cut regions (default: one per core)")
    group.add_argument("--prepare-only", action="store_true", help="make index and regions, and stop")


def run(args: argparse.Namespace) -> None:
    options = start_options(args)
    from pc3d.engine.config import config_file
    from pc3d.engine.pretrainer import pretrain

    path = config_file(args.config, "pretrain")
    config, work_dir = configured(args, path)
    if args.prepare_only:
        return
    config.launcher = args.launcher
    print(f"backbone: {pretrain(config, work_dir, **options)}")


def configured(args: argparse.Namespace, path: Path) -> tuple[Config, Path]:
    """The effective config and the run folder; with --data after index and regions are made."""
    from pc3d.engine.config import load_config

    overrides = args.cfg_options or {}
    if args.data is None:
        _refuse_without_data(args)
        config = load_config(path, "pretrain", overrides)
        return config, args.work_dir or Path(config.get("work_dir", f"work_dirs/{path.stem}"))
    from pc3d.engine.own_drives import Drives, config_on_drives

    work_dir = args.work_dir or Path(f"work_dirs/{path.stem}")
    drives = Drives(
        args.data,
        args.index or work_dir / "index",
        args.regions or work_dir / "regions",
        workers=args.workers or os.cpu_count() or 1,
    )
    return config_on_drives(path, overrides, drives, only_look=args.launcher != "none"), work_dir


def _refuse_without_data(args: argparse.Namespace) -> None:
    given = [name for name in ("index", "regions", "workers", "prepare_only") if getattr(args, name)]
    if given:
        flag = given[0].replace("_", "-")
        raise ValueError(f"--{flag} goes with --data ROOT; a config's own data set is data.index=FOLDER")
