"""A small sound drive with all that can be verified: two LiDARs with rings and times, two cameras, labels,
boxes and tracks; and what to do to its records and files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pc3d.data.classes import load_class_set
from pc3d.data.index import SweepIndex, write_index
from pc3d.data.records import Boxes, Camera, Lidar, Sweep
from pc3d.findings import State
from pc3d.geometry.rigid import make_SE3, yaw_matrix

SCENES, STEPS = 2, 8
FORMAT = "bin:x,y,z,intensity/255,ring,time"
SIZE = (64, 36)
HEIGHT = 1.8
REAR = make_SE3(np.eye(3), [-1.0, 0.0, 0.0])
EGO_R_CAM = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
OBJECTS = np.array([[12.0, 6.0, 0.8], [20.0, -5.0, 0.8], [-9.0, 7.0, 0.8], [3.0, -8.0, 0.8]])
BOX = np.array([4.0, 2.0, 1.6])
GROUND, WALL, CAR = 24, 28, 17  # raw ids of nuScenes-lidarseg

Sweeps = list[Sweep]
Spoil = Callable[[Sweeps, Path], "Sweeps | None"]


@dataclass(frozen=True)
class Injected:
    """A fault.

    Attributes:
        name: what is wrong, as the table of docs/verify.md has it.
        finding: name of the finding that says it. state: of that.
        spoil: changes files below a root, or gives other records.
    """

    name: str
    finding: str
    state: State
    spoil: Spoil


def pose_of(step: int, motion: str) -> np.ndarray:
    """Along x at 8 m/s, a curve of 0.5 rad/s, or where it stands."""
    if motion == "stands":
        return make_SE3(yaw_matrix(0.3), [100.0, 50.0, 0.0])
    if motion == "turns":
        angle = 0.05 * step
        return make_SE3(yaw_matrix(angle), [16 * np.sin(angle), 16 * (1 - np.cos(angle)), 0.0])
    return make_SE3(np.eye(3), [0.8 * step, 0.0, 0.0])


def records(root: Path, motion: str = "straight", images: bool = True) -> Sweeps:
    """The sweeps of the drive; `write_files` makes what they name."""
    made = []
    for scene in range(SCENES):
        for step in range(STEPS):
            name, pose, stamp = (
                f"s{scene}f{step}",
                pose_of(step, motion),
                10**15 + 10**8 * scene + 10**5 * step,
            )
            made.append(
                Sweep(
                    token=name,
                    scene=f"scene-{scene}",
                    timestamp=stamp,
                    is_key_frame=True,
                    path=root / "lidar" / f"{name}.bin",
                    lidar_format=FORMAT,
                    ego_SE3_lidar=make_SE3(np.eye(3), [0.0, 0.0, HEIGHT]),
                    world_SE3_ego=pose,
                    split="val" if scene else "train",
                    cameras=_cameras(root, name, pose, stamp) if images else (),
                    boxes=_boxes(pose),
                    lidarseg_path=root / "labels" / f"{name}.label",
                    sample_token=f"sample-{name}",
                    lidars=(Lidar("rear", root / "rear" / f"{name}.bin", FORMAT, REAR),),
                )
            )
    return made


def _cameras(root: Path, name: str, pose: np.ndarray, stamp: int) -> tuple[Camera, ...]:
    K = np.array([[32.0, 0, 32], [0, 32.0, 18], [0, 0, 1]])
    return tuple(
        Camera(
            camera,
            root / camera / f"{name}.png",
            SIZE,
            K,
            make_SE3(yaw_matrix(yaw) @ EGO_R_CAM, [0.5, 0.0, 1.5]),
            pose,
            stamp + 10_000,
        )
        for camera, yaw in (("FRONT", 0.0), ("LEFT", 1.3))
    )


def _boxes(pose: np.ndarray) -> Boxes:
    """Objects that stand in the world around the start of the drive."""
    R, t = pose[:3, :3], pose[:3, 3]
    start = pose_of(0, "straight") if t[0] < 50 else pose
    world = OBJECTS @ start[:3, :3].T + start[:3, 3]
    centers = (world - t) @ R - [0, 0, HEIGHT]
    n = len(OBJECTS)
    yaw = float(np.arctan2(start[1, 0], start[0, 0]) - np.arctan2(R[1, 0], R[0, 0]))
    return Boxes(
        centers=centers,
        sizes=np.tile(BOX, (n, 1)),
        yaws=np.full(n, yaw),
        velocities=np.zeros((n, 2)),
        names=("vehicle.car",) * n,
        tracks=tuple(f"car-{k}" for k in range(n)),
        num_lidar_pts=np.full(n, 20),
        attributes=("",) * n,
    )


def cloud(sweep: Sweep, number: int) -> tuple[np.ndarray, np.ndarray]:
    """(P, 6) points of the first LiDAR (0) or the rear one (1) and the (P,) raw labels of them.

    Sixteen rings that meet the road or a wall 30 m away, and points in the objects.
    """
    rng = np.random.default_rng([number, *sweep.token.encode()])
    elevation = np.radians(np.linspace(-20, 4, 16))[:, None]
    azimuth = np.linspace(-np.pi, np.pi, 60, endpoint=False)[None]
    slope = np.tan(elevation)
    reach = np.where(slope < -HEIGHT / 30, -HEIGHT / np.minimum(slope, -1e-6), 30.0)
    reach = reach + rng.normal(0, 0.01, (16, 60))
    xyz = np.stack([reach * np.cos(azimuth), reach * np.sin(azimuth), reach * slope], axis=-1).reshape(-1, 3)
    labels = np.where(np.repeat(slope[:, 0] < -HEIGHT / 30, 60), GROUND, WALL)
    ring = np.repeat(np.arange(16), 60)
    boxes = sweep.boxes
    assert boxes is not None
    inside = [
        (rng.uniform(-0.4, 0.4, (12, 3)) * BOX) @ yaw_matrix(float(yaw)).T + center
        for center, yaw in zip(boxes.centers, boxes.yaws, strict=True)
    ]
    if number == 0:
        objects = np.concatenate(inside)
        up = np.degrees(np.arctan2(objects[:, 2], np.hypot(objects[:, 0], objects[:, 1])))
        xyz = np.concatenate([xyz, objects])
        ring = np.append(ring, np.clip(np.rint((up + 20) / 1.6), 0, 15))
        labels = np.append(labels, np.full(len(objects), CAR))
    time = rng.uniform(0, 0.1, len(xyz))
    table = np.column_stack([xyz, rng.integers(0, 256, len(xyz)), ring, time]).astype(np.float32)
    return table, labels.astype(np.uint8)


def write_files(sweeps: Sequence[Sweep]) -> None:
    """The files that the records name."""
    for sweep in sweeps:
        labels = []
        for number, path in enumerate((sweep.path, *(lidar.path for lidar in sweep.lidars))):
            points, of_points = cloud(sweep, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            points.tofile(path)
            labels.append(of_points)
        if sweep.lidarseg_path is not None:
            sweep.lidarseg_path.parent.mkdir(parents=True, exist_ok=True)
            np.concatenate(labels).tofile(sweep.lidarseg_path)
        for camera in sweep.cameras:
            rng = np.random.default_rng(list(f"{camera.name}{sweep.token}".encode()))
            camera.path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)).save(camera.path)


def index_of(sweeps: Sequence[Sweep], root: Path, folder: Path, **metadata: Any) -> SweepIndex:
    facts = {
        "dataset": "hand",
        "root": str(root),
        "rebuild": "make it",
        "classes": load_class_set("nuscenes").to_dict(),
        **metadata,
    }
    return SweepIndex.open(write_index(folder, sweeps, facts))


def change(sweeps: Sweeps, at: Callable[[int], bool] | int, **fields: Any) -> Sweeps:
    """Sweeps of which some have other fields; a field that is a function gets the sweep."""
    chosen = at if callable(at) else (lambda n: n == at)
    return [
        replace(sweep, **{k: v(sweep) if callable(v) else v for k, v in fields.items()})
        if chosen(n)
        else sweep
        for n, sweep in enumerate(sweeps)
    ]


def change_camera(sweeps: Sweeps, at: Callable[[int], bool] | int, name: str, **fields: Any) -> Sweeps:
    """The same for one camera of some sweeps."""

    def cameras(sweep: Sweep) -> tuple[Camera, ...]:
        return tuple(
            replace(c, **{k: v(c) if callable(v) else v for k, v in fields.items()}) if c.name == name else c
            for c in sweep.cameras
        )

    return change(sweeps, at, cameras=cameras)


def change_boxes(sweeps: Sweeps, at: Callable[[int], bool] | int, **fields: Any) -> Sweeps:
    """The same for the boxes of some sweeps."""

    def boxes(sweep: Sweep) -> Boxes:
        assert sweep.boxes is not None
        return replace(sweep.boxes, **{k: v(sweep.boxes) if callable(v) else v for k, v in fields.items()})

    return change(sweeps, at, boxes=boxes)
