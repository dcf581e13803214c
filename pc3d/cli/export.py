"""Write the network of a checkpoint for another stack: its weights, and the snippet of that stack's config.

What cannot be equal there is refused, with the reason. docs/export.md has the targets and what was compared.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write the weights for OpenPCDet, mmdetection3d, Pointcept and others"
EXAMPLES = """\
  pc3d export work_dirs/run/backbone.safetensors --to openpcdet --points nuscenes --out exports
  pc3d export work_dirs/run --to mmdet3d --points kitti --out exports
  pc3d export work_dirs/run --to pointcept --out exports
  pc3d export work_dirs/run/image_backbone.safetensors --to timm --out exports
  pc3d export --list
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", type=Path, nargs="?", help=".safetensors of pc3d, or the folder of a run"
    )
    parser.add_argument("--to", metavar="TARGET", help="which stack; --list names them")
    parser.add_argument("--out", type=Path, default=Path("exports"), help="folder to write into (exports)")
    parser.add_argument(
        "--points",
        metavar="COLUMNS",
        help="what the target feeds: nuscenes, kitti, waymo, or columns such as x,y,z,intensity*255,time; "
        "detectors need it, the others take the encoder's own",
    )
    parser.add_argument(
        "--fold-eps",
        action="store_true",
        help="scale the norms to the target's epsilon where it differs: equal in inference only",
    )
    parser.add_argument(
        "--leave-out", nargs="+", default=[], metavar="PART", help="parts that may be left out (point_head)"
    )
    parser.add_argument(
        "--style", help="detector of mmdet3d: centerpoint or voxelnet, by default by its blocks"
    )
    parser.add_argument("--list", action="store_true", help="the targets, and what each takes")


def run(args: argparse.Namespace) -> None:
    from pc3d.export import TARGETS, export_checkpoint
    from pc3d.export.base import Options
    from pc3d.export.points import TargetPoints

    if args.list:
        width = max(map(len, TARGETS))
        print("\n".join(f"{name:{width}}  {target.title}" for name, target in TARGETS.items()))
        return
    if args.checkpoint is None or args.to is None:
        raise ValueError("name a checkpoint and --to TARGET; --list has the targets")
    points = None if args.points is None else TargetPoints.parse(args.points)
    options = Options(points, args.fold_eps, tuple(args.leave_out), args.style)
    files, exported = export_checkpoint(args.checkpoint, args.to, args.out, options)
    for note in exported.notes:
        print(note)
    for part, why in exported.left_out.items():
        print(f"left out: {part} ({why})")
    print(f"weights: {files[0]}\n" + "".join(f"beside them: {file}\n" for file in files[1:]), end="")
