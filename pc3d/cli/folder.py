"""Write drives as own folders: an example to start from, or what another format holds.

Without `--from` it is a small simulated drive with every part of the convention: points, images, calibration,
poses, labels, boxes, classes. Put your files in their places, edit calibration.yaml, and `pc3d index DIR`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pc3d.data.records import Sweep

HELP = "write an example of own folders, or another format as such"
EXAMPLES = """\
  pc3d folder example
  pc3d folder own --from /data/kitti_raw
  pc3d folder own --from /data/drive.bag --scenes 1 --frames 100
"""
EXAMPLE_FRAMES = 4


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="new folder")
    parser.add_argument("--init", action="store_true", help="an example (the default without --from)")
    parser.add_argument("--from", dest="source", type=Path, metavar="ROOT", help="a data set that pc3d reads")
    parser.add_argument("--format", metavar="NAME", help="of that data set (default: found by itself)")
    parser.add_argument("--scenes", type=int, metavar="N", help="the first N scenes (default: all)")
    parser.add_argument("--frames", type=int, metavar="N", help="the first N sweeps of each (default: all)")


def run(args: argparse.Namespace) -> None:
    from pc3d.data.classes import ClassSet
    from pc3d.data.folder_export import export_folder

    if args.source is None:
        print(f"{_example(args.folder)}: edit calibration.yaml, then: pc3d index {args.folder} --out INDEX")
        return
    from pc3d.data.readers import open_reader
    from pc3d.data.readers.detect import detect_format

    reader = open_reader(args.format or detect_format(args.source), args.source)
    classes = ClassSet.of(reader.metadata)
    print(export_folder(_first(reader.sweeps(), args.scenes, args.frames), args.folder, classes))


def _first(sweeps: Iterator[Sweep], scenes: int | None, frames: int | None) -> Iterator[Sweep]:
    """The first sweeps of the first scenes."""
    seen: dict[str, int] = {}
    for sweep in sweeps:
        if sweep.scene not in seen and scenes is not None and len(seen) == scenes:
            return
        seen[sweep.scene] = seen.get(sweep.scene, 0) + 1
        if frames is None or seen[sweep.scene] <= frames:
            yield sweep


def _example(folder: Path) -> Path:
    """A few key frames of two simulated scenes."""
    from tempfile import TemporaryDirectory

    from pc3d.data.classes import load_class_set
    from pc3d.data.folder_export import export_folder
    from pc3d.data.readers.nuscenes import NuScenesReader
    from pc3d.sim.writer import write_dataset

    with TemporaryDirectory() as place:
        write_dataset(Path(place) / "sim", size="tiny")
        reader = NuScenesReader(Path(place) / "sim", version="v1.0-sim")
        frames = (sweep for sweep in reader.sweeps() if sweep.is_key_frame)
        return export_folder(_first(frames, 2, EXAMPLE_FRAMES), folder, load_class_set("nuscenes"))
