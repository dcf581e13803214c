"""Look at a sweep: in a window, or in a picture where --out is given.

views:
  behind, orbit, bev   three-dimensional, by Open3D (without --out: a window)
  flat                 from above with range rings and a legend
  compare              prediction, truth and errors of a segmenter
  CAM_FRONT, ...       the points over the image of that camera
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "look at a sweep: a window or a picture"
EXAMPLES = """\
  pc3d visualize data/sim-index --row 0 --boxes --cameras
  pc3d visualize data/sim-index --row 0 --view flat --colour label --boxes --out sweep.png
  pc3d visualize data/sim-index --row 4 --sweeps 5 --view orbit --out sweeps.png
  pc3d visualize data/sim-index --row 0 --view flat --colour region \\
      --regions data/sim-regions --out regions.png
  pc3d visualize data/sim-index --row 0 --view CAM_FRONT --colour pca \\
      --checkpoint work_dirs/sim_joint/backbone.safetensors --out features.png
  pc3d visualize data/sim-index --row 0 --view flat --colour similarity --anchor 12 -3 \\
      --checkpoint work_dirs/sim_joint/backbone.safetensors --out activation.png
  pc3d visualize data/sim-index --row 0 --view compare \\
      --checkpoint work_dirs/sim_5_percent/segmenter.safetensors --out errors.png
"""


def add(parser: argparse.ArgumentParser) -> None:
    from pc3d.viz.sweep_colours import COLOURINGS

    parser.add_argument("index", type=Path, help="index folder")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--row", type=int, default=0, help="row of the sweep in the index (default: %(default)s)"
    )
    which.add_argument("--token", help="token of the sweep")
    parser.add_argument("--root", type=Path, help="data set root, where it has moved")
    parser.add_argument(
        "--colour", choices=COLOURINGS, default="height", help="of the points (default: %(default)s)"
    )
    parser.add_argument(
        "--checkpoint", type=Path, help="backbone.safetensors or segmenter.safetensors of a run"
    )
    parser.add_argument(
        "--regions", type=Path, help="folder of region caches (default: clusters are made now)"
    )
    parser.add_argument(
        "--anchor",
        type=float,
        nargs=2,
        default=(10.0, 0.0),
        metavar=("X", "Y"),
        help="the point that --colour similarity compares with, metres in the LiDAR frame",
    )
    parser.add_argument("--boxes", action="store_true", help="draw the annotated boxes")
    parser.add_argument("--cameras", action="store_true", help="draw the cameras as frusta")
    parser.add_argument(
        "--sweeps", type=int, default=0, metavar="N", help="draw N earlier sweeps, moved by the poses"
    )
    parser.add_argument("--view", default="behind", help="see above (default: %(default)s)")
    parser.add_argument("--extent", type=float, default=50.0, help="metres to the edge of a flat view")
    parser.add_argument("--out", type=Path, help="picture to write (.png, .jpg)")


def run(args: argparse.Namespace) -> None:
    from pc3d.data.classes import ClassSet
    from pc3d.data.index import SweepIndex
    from pc3d.viz.scene3d import VIEWS, render_scene, show_scene
    from pc3d.viz.sweep_colours import ColourOptions
    from pc3d.viz.sweep_view import draw_camera, draw_comparison, draw_flat, sweep_scene

    if args.out is None and args.view not in VIEWS:
        raise ValueError(f"--view {args.view} makes a picture: give --out picture.png")
    index = SweepIndex.open(args.index, root=args.root)
    row = index.row_of(args.token) if args.token else args.row
    if not 0 <= row < len(index):
        raise ValueError(f"--row {row}: {args.index} has rows 0 to {len(index) - 1}")
    sweep = index[row]
    options = ColourOptions(
        args.colour, ClassSet.of(index.metadata), args.checkpoint, args.regions, tuple(args.anchor)
    )
    title = f"{sweep.scene}  row {row}"
    if args.view == "compare":
        draw_comparison(sweep, args.out, options, title, args.extent)
    else:
        scene = sweep_scene(index, row, options, boxes=args.boxes, cameras=args.cameras, sweeps=args.sweeps)
        title += f"  by {args.colour}"
        if args.view == "flat":
            draw_flat(scene, args.out, options, title, args.extent)
        elif args.view not in VIEWS:
            draw_camera(sweep, scene, args.view, args.out, title)
        elif args.out:
            render_scene(scene, args.out, view=args.view)
        else:
            show_scene(scene, view=args.view, title=title)
    if args.out:
        print(args.out)
