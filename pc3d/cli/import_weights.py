"""Bring a published LiDAR checkpoint in: OpenPCDet, mmdetection3d, Pointcept, SLidR, BEVFusion and others.

docs/published-weights.md says what each network expects.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pc3d.engine.settings.options import OptionsAction

HELP = "bring a published LiDAR checkpoint in"
EXAMPLES = """\
  pc3d import minkunet_slidr_1gpu.pt --format slidr --out weights/slidr.safetensors
  pc3d import lidar-only-det.pth --format bevfusion --out weights/bevfusion.safetensors
  pc3d import second_7862.pth --format openpcdet --intensity-scale 1 --out weights/second.safetensors
  pc3d import spvnas.pth --format scalr --out weights/spvnas.safetensors \\
      --lidar-options voxel_size=[0.05,0.05,0.05]
then, with the printed `lidar` section in CONFIG:
  pc3d evaluate weights/slidr.safetensors --knn --index data/nuscenes-index --train-split train --split val
  pc3d finetune CONFIG --cfg-options init.checkpoint=weights/slidr.safetensors
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="the published file; it is read as data only")
    parser.add_argument(
        "--format",
        required=True,
        metavar="NAME",
        help="whose names it has: openpcdet, mmdet3d, mmdet3d-minkunet, pointcept, slidr, superflow, "
        "bevfusion, scalr",
    )
    parser.add_argument("--out", type=Path, required=True, help="backbone.safetensors to write")
    parser.add_argument(
        "--lidar-options",
        nargs="+",
        action=OptionsAction,
        metavar="KEY=VALUE",
        help="settings of the encoder that the file does not tell, for example voxel_size=[0.1,0.1,0.1]",
    )
    parser.add_argument(
        "--intensity-scale", type=float, help="intensity that the network was fed with, over 0..1"
    )
    parser.add_argument("--prefix", help="of the network's names, where the file holds several networks")


def run(args: argparse.Namespace) -> None:
    from pc3d.engine.settings.options import read
    from pc3d.engine.settings.sections import lidar_setting
    from pc3d.models.lidar.published import import_checkpoint

    overrides = {key: read(text, lidar_setting(key)) for key, text in (args.lidar_options or {}).items()}
    lidar, report = import_checkpoint(
        args.checkpoint, args.format, args.out, overrides, args.intensity_scale, args.prefix
    )
    print(report)
    settings = ", ".join(f"{key}={value!r}" for key, value in lidar.items())
    print(f"backbone: {args.out}\nlidar = dict(_delete_=True, {settings})")
