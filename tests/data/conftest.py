"""A small drive made by hand: two scenes of three key frames with plain sweeps between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pc3d.data.classes import load_class_set
from pc3d.data.index import SweepIndex, write_index
from pc3d.data.records import Boxes, Camera, Sweep
from pc3d.geometry.rigid import make_SE3, yaw_matrix

IMAGE_SIZE = (160, 90)
POINTS = 400
# Camera axes (x right, y down, z forward) in an ego frame with x forward, y left, z up.
EGO_R_CAM = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


def make_camera(root: Path, name: str, yaw: float, pose: np.ndarray, stamp: int) -> Camera:
    path = root / "images" / f"{name}_{stamp}.jpg"
    K = np.array([[80.0, 0, 80], [0, 80.0, 45], [0, 0, 1]])
    ego_SE3_cam = make_SE3(yaw_matrix(yaw) @ EGO_R_CAM, [0.5, 0.0, 1.5])
    return Camera(name, path, IMAGE_SIZE, K, ego_SE3_cam, pose, stamp)


def make_boxes(rng: np.random.Generator, n: int) -> Boxes:
    return Boxes(
        centers=rng.normal(size=(n, 3)) * 10,
        sizes=rng.uniform(0.5, 5, (n, 3)),
        yaws=rng.uniform(-3, 3, n),
        velocities=np.where(rng.random((n, 1)) < 0.3, np.nan, rng.normal(size=(n, 2))),
        names=tuple(rng.choice(["vehicle.car", "human.pedestrian.adult"], n).tolist()),
        tracks=tuple(f"track{number}" for number in range(n)),
        num_lidar_pts=rng.integers(-1, 50, n),
        attributes=tuple(rng.choice(["", "vehicle.moving"], n).tolist()),
    )


def make_sweep(root: Path, scene: int, step: int, split: str, rng: np.random.Generator) -> Sweep:
    """Every third sweep is a key frame; the car drives 1 m a step and turns."""
    pose = make_SE3(yaw_matrix(0.05 * step), [float(step), 0.2 * step, 0.0])
    stamp = 1_000_000 * scene + 50_000 * step
    name = f"s{scene}f{step}"
    key = step % 3 == 0
    return Sweep(
        token=name,
        scene=f"scene-{scene}",
        timestamp=stamp,
        is_key_frame=key,
        path=root / "lidar" / f"{name}.bin",
        lidar_format="nuscenes",
        ego_SE3_lidar=make_SE3(yaw_matrix(-np.pi / 2), [0.9, 0.0, 1.8]),
        world_SE3_ego=pose,
        split=split,
        cameras=tuple(make_camera(root, n, a, pose, stamp) for n, a in (("FRONT", 0.0), ("LEFT", 1.3)))
        if key
        else (),
        boxes=make_boxes(rng, 3) if key else None,
        lidarseg_path=root / "labels" / f"{name}.bin" if key else None,
        sample_token=f"sample-{name}" if key else "",
    )


def write_files(sweep: Sweep, rng: np.random.Generator) -> None:
    points = np.empty((POINTS, 5), np.float32)
    points[:, :2] = rng.uniform(-30, 30, (POINTS, 2))
    points[:, 2] = rng.uniform(-2, 2, POINTS)
    points[:, 3] = rng.integers(0, 256, POINTS)
    elevation = np.arctan2(points[:, 2], np.linalg.norm(points[:, :2], axis=1))
    points[np.argsort(elevation), 4] = np.sort(rng.integers(0, 32, POINTS))
    sweep.path.parent.mkdir(parents=True, exist_ok=True)
    points.tofile(sweep.path)
    if sweep.lidarseg_path is not None:
        sweep.lidarseg_path.parent.mkdir(parents=True, exist_ok=True)
        rng.integers(0, 32, POINTS).astype(np.uint8).tofile(sweep.lidarseg_path)
    for camera in sweep.cameras:
        camera.path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (9, 16, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize(IMAGE_SIZE).save(camera.path)


@pytest.fixture(scope="session")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> list[Sweep]:
    """Seven sweeps of `train` scene 0, of `train` scene 1, and of `val` scene 2, with their files."""
    root = tmp_path_factory.mktemp("drive")
    rng = np.random.default_rng(0)
    made = [
        make_sweep(root, scene, step, split, rng)
        for scene, split in enumerate(("train", "train", "val"))
        for step in range(7)
    ]
    for sweep in made:
        write_files(sweep, rng)
    return made


@pytest.fixture(scope="session")
def drive(sweeps: list[Sweep], tmp_path_factory: pytest.TempPathFactory) -> SweepIndex:
    """The index of the drive."""
    return index_of(sweeps, tmp_path_factory.mktemp("index") / "drive")


def index_of(sweeps: list[Sweep], folder: Path) -> SweepIndex:
    root = sweeps[0].path.parents[1]
    metadata = {
        "dataset": "hand",
        "root": str(root),
        "rebuild": "make drive",
        "classes": load_class_set("nuscenes").to_dict(),
    }
    return SweepIndex.open(write_index(folder, sweeps, metadata))


@pytest.fixture
def make_index(sweeps: list[Sweep], tmp_path: Path) -> Callable[[int, int], SweepIndex]:
    """Index of (scenes, key frames each) without files, split `train`."""

    def make(scenes: int, frames: int) -> SweepIndex:
        rows = [
            replace(sweeps[0], token=f"s{s:03d}f{f:02d}", scene=f"scene-{s:03d}", timestamp=f)
            for s in range(scenes)
            for f in range(frames)
        ]
        return index_of(rows, tmp_path / "many")

    return make
