"""A drive of one's own, written by hand: points, uint32 labels, boxes of own categories, one camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pc3d.data.index import SweepIndex
from pc3d.data.index_writer import write_index
from pc3d.data.records import Boxes, Camera, Sweep

POINTS = 300
LABELS = {0: "ignore", 40: "road", 50: "building", 70: "plant", 10: "car", 30: "walker"}
CLASSES: dict[str, Any] = {
    "name": "mine",
    "classes": ["road", "building", "plant", "car", "walker"],
    "labels": {str(raw): name for raw, name in LABELS.items()},
    "detection": ["car", "walker"],
    "boxes": {"Car": "car", "Van": "car", "Walker": "walker", "Misc": "ignore"},
}
FRAMES = 4
EGO_SE3_LIDAR = np.array([[1.0, 0, 0, 1.0], [0, 1, 0, 0], [0, 0, 1, 1.7], [0, 0, 0, 1]])
FORWARD = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.7], [0, 0, 0, 1]])
"""A camera at the vehicle's origin that looks along +x."""


def write_drive(
    root: Path,
    classes: dict[str, Any] | None = CLASSES,
    change: Any = lambda number, sweep: sweep,
    **facts: Any,
) -> SweepIndex:
    """Write files below `root` and their index, whose split is `val`.

    Args:
        change: a `Sweep` from (number, sweep). facts: of the metadata.
    """
    (root / "data").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    sweeps = [change(number, _sweep(root / "data", rng, number)) for number in range(FRAMES)]
    metadata = {
        "dataset": "mine",
        "root": str(root / "data"),
        "rebuild": "again",
        "classes": classes,
        **facts,
    }
    write_index(root / "index", sweeps, metadata)
    return SweepIndex.open(root / "index")


def _sweep(folder: Path, rng: np.random.Generator, number: int) -> Sweep:
    points = np.column_stack(
        [rng.uniform(-20, 20, (POINTS, 2)), rng.uniform(-2, 2, POINTS), rng.random(POINTS)]
    )
    points.astype("<f4").tofile(folder / f"{number}.bin")
    instances = rng.integers(0, 1 << 16, POINTS) << 16
    (rng.choice(list(LABELS), POINTS) | instances).astype("<u4").tofile(folder / f"{number}.label")
    Image.new("RGB", (64, 48)).save(folder / f"{number}.png")
    camera = Camera(
        name="front",
        path=folder / f"{number}.png",
        size=(64, 48),
        intrinsics=np.array([[32.0, 0, 32], [0, 32, 24], [0, 0, 1]]),
        ego_SE3_cam=FORWARD,
        world_SE3_ego=np.eye(4),
        timestamp=number * 100_000,
    )
    return Sweep(
        token=f"sweep-{number}",
        scene="drive",
        timestamp=number * 100_000,
        is_key_frame=True,
        path=folder / f"{number}.bin",
        lidar_format="bin:x,y,z,intensity",
        ego_SE3_lidar=EGO_SE3_LIDAR,
        world_SE3_ego=np.eye(4),
        split="val",
        cameras=(camera,),
        boxes=_boxes(),
        lidarseg_path=folder / f"{number}.label",
        lidarseg_format="uint32",
    )


def _boxes() -> Boxes:
    """A car and a van ahead, a walker behind, one without points, one that is no class, a car far away."""
    names = ("Car", "Van", "Walker", "Walker", "Misc", "Car")
    centers = np.array([[10.0, 0, -1], [15, 6, -1], [-8, 2, -1], [-5, -5, -1], [9, 9, -1], [80, 0, -1]])
    sizes = np.array([[4.0, 2, 1.5], [5, 2, 2], [0.8, 0.8, 1.8], [0.8, 0.8, 1.8], [1, 1, 1], [4, 2, 1.5]])
    n = len(names)
    return Boxes(
        centers=centers,
        sizes=sizes,
        yaws=np.linspace(-1, 1, n),
        velocities=np.full((n, 2), np.nan),
        names=names,
        tracks=tuple(map(str, range(n))),
        num_lidar_pts=np.array([5, -1, 3, 0, 4, 2]),
        attributes=("",) * n,
    )
