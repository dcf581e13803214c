"""The texts of KITTI object, SemanticKITTI, KITTI-360 and ONCE: small sound trees, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kitti_360_tree
import numpy as np
import once_tree
from fuzzed_formats import Format, Sources
from fuzzed_roots import read_root
from PIL import Image

CALIB = {
    **{f"P{n}": [[72.0, 0, 60, -4.5 * n], [0, 72, 17, 0.2], [0, 0, 1, 0.003]] for n in range(4)},
    "R0_rect": np.eye(3),
    "Tr_velo_to_cam": [[0.0, -1, 0, 0.01], [0, 0, -1, -0.08], [1, 0, 0, -0.27]],
}
LABELS = (
    "Car 0.00 0 1.85 38.63 18.54 42.81 20.12 1.67 1.87 3.69 -16.53 2.39 58.49 1.57\n"
    "DontCare -1 -1 -10 50.89 16.71 59.61 19.13 -1 -1 -1 -1000 -1000 -1000 -10\n"
)


def _points(path: Path) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-30, 30, (50, 4)).astype(np.float32)
    points[:, 3] = 0.5
    points.tofile(path)


def _calibration(path: Path, names: dict[str, str]) -> None:
    entries = {names.get(name, name): values for name, values in CALIB.items() if names.get(name) != ""}
    lines = [f"{name}: " + " ".join(f"{v:.6e}" for v in np.ravel(values)) for name, values in entries.items()]
    path.write_text("\n".join(lines) + "\n\n")


def _kitti_object(root: Path) -> None:
    for part in ("velodyne", "calib", "label_2", "image_2"):
        (root / "training" / part).mkdir(parents=True)
    (root / "ImageSets").mkdir()
    (root / "ImageSets/train.txt").write_text("000000\n")
    (root / "ImageSets/val.txt").write_text("000001\n")
    for stem in ("000000", "000001"):
        _points(root / f"training/velodyne/{stem}.bin")
        _calibration(root / f"training/calib/{stem}.txt", {})
        (root / f"training/label_2/{stem}.txt").write_text(LABELS)
        Image.new("RGB", (124, 37)).save(root / f"training/image_2/{stem}.png")


def _semantic_kitti(root: Path) -> None:
    sequence = root / "sequences/00"
    for part in ("velodyne", "labels", "image_2"):
        (sequence / part).mkdir(parents=True)
    _calibration(sequence / "calib.txt", {"Tr_velo_to_cam": "Tr", "R0_rect": ""})
    rows = [[1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0.7 * step] for step in range(3)]
    (sequence / "poses.txt").write_text("\n".join(" ".join(f"{v:e}" for v in row) for row in rows) + "\n")
    (sequence / "times.txt").write_text("0.0\n1.037359e-01\n2.073381e-01\n")
    for step in range(3):
        _points(sequence / f"velodyne/{step:06d}.bin")
        np.full(50, 40, np.uint32).tofile(sequence / f"labels/{step:06d}.label")
        Image.new("RGB", (124, 37)).save(sequence / f"image_2/{step:06d}.png")


def _kitti_360(root: Path) -> None:
    kitti_360_tree.write_calibration(root / "calibration")
    kitti_360_tree.write_drive(root, kitti_360_tree.world_points()[:5], 3, [0, 2])


def _once(root: Path) -> None:
    once_tree.write_sequence(root, steps=2)
    (root / "ImageSets").mkdir()
    (root / "ImageSets/train.txt").write_text("000076\n")


def _drive(reader: str, write: Any, name: str) -> Format:
    def make(folder: Path, _: Sources) -> Path:
        write(folder / "data")
        return folder / "data" / name

    def read(path: Path) -> Any:
        root = next(
            parent for parent in path.parents if parent.name == "data" and parent.parent.name == "sound"
        )
        return read_root(reader, root)

    return Format(make, read, True)


_POSES = f"data_poses/{kitti_360_tree.DRIVE}/poses.txt"
DRIVES: dict[str, Format] = {
    "kitti object calib": _drive("kitti_object", _kitti_object, "training/calib/000000.txt"),
    "kitti object label_2": _drive("kitti_object", _kitti_object, "training/label_2/000001.txt"),
    "kitti object ImageSets": _drive("kitti_object", _kitti_object, "ImageSets/val.txt"),
    **{
        f"semantic kitti {name}": _drive("semantic_kitti", _semantic_kitti, f"sequences/00/{name}")
        for name in ("calib.txt", "poses.txt", "times.txt")
    },
    **{
        f"kitti-360 {name}": _drive("kitti_360", _kitti_360, f"calibration/{name}")
        for name in ("calib_cam_to_pose.txt", "calib_cam_to_velo.txt", "perspective.txt", "image_02.yaml")
    },
    "kitti-360 poses.txt": _drive("kitti_360", _kitti_360, _POSES),
    "once json": _drive("once", _once, "data/000076/000076.json"),
    "once ImageSets": _drive("once", _once, "ImageSets/train.txt"),
}
