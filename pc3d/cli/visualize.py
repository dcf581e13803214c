"""Look at a sweep or a drive: in a window, in pictures where --out is given, or in the rerun viewer.

views:
  behind, orbit, bev   three-dimensional, by Open3D (without --out: a window)
  flat                 from above with range rings and a legend
  sheet                from above, and all images with their points and boxes
  compare              prediction, truth and errors of a segmenter
  CAM_FRONT, ...       the points over the image of that camera
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pc3d.data.index import SweepIndex
    from pc3d.viz.sweep_colours import ColourOptions

HELP = "look at a sweep or a drive: a window, pictures, a recording for rerun"
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
  pc3d visualize data/sim-index --row 0 --view CAM_FRONT --boxes --out front.png
  pc3d visualize data/sim-index --sequence 0 20 --view sheet --out drive.gif
  pc3d visualize data/sim-index --sequence 0 20 --rerun drive.rrd
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
    parser.add_argument(
        "--sequence",
        type=int,
        nargs=2,
        metavar=("FIRST", "LAST"),
        help="draw these rows: --out is a folder of numbered pictures, or a .gif",
    )
    parser.add_argument("--key-frames", action="store_true", help="of a sequence, only the key frames")
    parser.add_argument("--step", type=int, default=1, metavar="K", help="of a sequence, every K-th row")
    parser.add_argument("--out", type=Path, help="picture to write (.png, .jpg)")
    parser.add_argument(
        "--rerun",
        type=Path,
        metavar="FILE.rrd",
        help="write a recording of --sequence, or of the scene of --row, for the rerun viewer",
    )


def run(args: argparse.Namespace) -> None:
    from pc3d.data.classes import ClassSet
    from pc3d.data.index import SweepIndex
    from pc3d.viz.sweep_colours import ColourOptions

    _check(args)
    index = SweepIndex.open(args.index, root=args.root)
    row = index.row_of(args.token) if args.token else args.row
    for one, option in ((row, "--row"), *((one, "--sequence") for one in args.sequence or ())):
        if not 0 <= one < len(index):
            raise ValueError(f"{option} {one}: {args.index} has rows 0 to {len(index) - 1}")
    classes = ClassSet.of(index.metadata)
    options = ColourOptions(args.colour, classes, args.checkpoint, args.regions, tuple(args.anchor))
    if args.rerun is not None:
        _record(args, index, row, options)
    elif args.sequence is not None:
        _draw_sequence(args, index, options)
    else:
        _draw(args, index, row, options, args.out)
        if args.out:
            print(args.out)


def _check(args: argparse.Namespace) -> None:
    """Refuse options that do not go together, before anything is read."""
    from pc3d.viz.scene3d import VIEWS

    if args.step < 1 or (args.sequence is not None and args.sequence[1] < args.sequence[0]):
        raise ValueError(f"--sequence {args.sequence} --step {args.step}: expected FIRST to LAST, upwards")
    if args.rerun is not None:
        if args.rerun.suffix != ".rrd" or args.out is not None:
            raise ValueError("--rerun FILE.rrd writes a recording, and goes without --out")
        return
    if args.out is None and args.sequence is not None:
        raise ValueError("--sequence makes pictures: give --out FOLDER or --out drive.gif")
    if args.out is None and args.view not in VIEWS:
        raise ValueError(f"--view {args.view} makes a picture: give --out picture.png")


def _draw(
    args: argparse.Namespace, index: SweepIndex, row: int, options: ColourOptions, out: Path | None
) -> None:
    """Draw the sweep of a row into a file, or show it in a window where there is none."""
    from pc3d.viz.scene3d import VIEWS, render_scene, show_scene
    from pc3d.viz.sweep_view import draw_camera, draw_comparison, draw_flat, draw_sheet, sweep_scene

    sweep = index[row]
    title = f"{sweep.scene}  row {row}"
    if out is not None and args.view == "compare":
        draw_comparison(sweep, out, options, title, args.extent)
        return
    if out is not None and args.view == "sheet":
        draw_sheet(sweep, out, options.classes, args.extent)
        return
    # Sweeps of a sequence that are not annotated are drawn without boxes.
    boxes = args.boxes and (args.sequence is None or sweep.boxes is not None)
    scene = sweep_scene(index, row, options, boxes=boxes, cameras=args.cameras, sweeps=args.sweeps)
    title += f"  by {args.colour}"
    if out is None:
        show_scene(scene, view=args.view, title=title)
    elif args.view == "flat":
        draw_flat(scene, out, options, title, args.extent)
    elif args.view in VIEWS:
        render_scene(scene, out, view=args.view)
    else:
        draw_camera(sweep, scene, args.view, out, title)


def _draw_sequence(args: argparse.Namespace, index: SweepIndex, options: ColourOptions) -> None:
    from rich.console import Console

    from pc3d.viz.sequence import draw_sequence

    rows = _rows(args, index, range(args.sequence[0], args.sequence[1] + 1))
    with Console(stderr=True).status("drawing") as status:
        draw_sequence(
            index,
            rows,
            args.out,
            lambda row, path: _draw(args, index, row, options, path),
            lambda done, total: status.update(f"drawing: {done} of {total}"),
        )
    print(args.out)


def _rows(args: argparse.Namespace, index: SweepIndex, rows: range) -> list[int]:
    """The rows of a sequence that are drawn."""
    from pc3d.data.errors import fail

    keys = index.key_rows(None)
    chosen = [int(row) for row in keys if row in rows] if args.key_frames else list(rows)
    if not chosen:
        fail("no key frame is in the sequence", args.index, f"rows {rows.start} to {rows.stop - 1} have none")
    return chosen[:: args.step]


def _record(args: argparse.Namespace, index: SweepIndex, row: int, options: ColourOptions) -> None:
    from pc3d.viz.rerun import RecordingOptions, write_recording

    rows = index.scene_rows(row)
    if args.sequence is not None:
        rows = range(args.sequence[0], args.sequence[1] + 1)
    write_recording(index, _rows(args, index, rows), args.rerun, RecordingOptions(options))
    print(args.rerun)
