"""A drive as somebody keeps it: the KITTI sample in millimetres, with rings and point times, JPEGs at their
own times through a lens, poses in a CSV, and labels of five own classes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pc3d.data.points import load_sweep
from pc3d.data.readers.kitti_raw import EGO_SE3_LIDAR, KittiRawReader
from pc3d.data.records import Sweep
from pc3d.geometry.camera import shift_pixel_centres
from pc3d.geometry.rigid import invert_SE3, matrix_to_quaternion

START = 1_700_000_000_000_000_000  # ns
PERIOD, EXPOSURE = 100_000_000, 13_000_000
DISTORTION = (-0.08, 0.02, 0.001, -0.0005, 0.0)
CLASSES = ("ground", "low", "middle", "high", "far")
CLASS_FILE = """\
name: mine
classes: [ground, low, middle, high, far]
colours: {ground: [90, 90, 90], high: [40, 160, 70]}
labels: {0: ignore, 7: ground, 8: low, 9: middle, 400: high, 401: far}
"""
RAW = np.array([7, 8, 9, 400, 401], dtype=np.uint32)


def classes_of(points: np.ndarray) -> np.ndarray:
    """(P,) own class of each point: far beyond 40 m, else by height over the road."""
    height = points[:, 2] + EGO_SE3_LIDAR[2, 3]
    labels = np.digitize(height, [0.25, 1.0, 2.5])
    return np.where(np.hypot(points[:, 0], points[:, 1]) > 40, 4, labels)


def six_columns(points: np.ndarray) -> np.ndarray:
    """(P, 6) float32 x y z (mm), intensity 0 to 255, ring, time (us from the start of the turn)."""
    elevation = np.degrees(np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1])))
    ring = np.clip(np.floor((elevation + 25) / 28 * 64), 0, 63)
    turn = (np.pi - np.arctan2(points[:, 1], points[:, 0])) / (2 * np.pi)
    return np.column_stack(
        [points[:, :3] * 1000, np.rint(points[:, 3] * 255), ring, np.floor(turn * 99_000)]
    ).astype("<f4")


def write_own_drive(real_data: Path, folder: Path, scenes: int = 2) -> list[Sweep]:
    """Write the drive; its scans are those of the sweeps that are given back, in the order of time."""
    sweeps = list(KittiRawReader(real_data / "kitti_raw" / "2011_09_26", poses="kiss-icp").sweeps())
    parts = np.array_split(np.arange(len(sweeps)), scenes)
    for number, part in enumerate(parts):
        scene = folder / f"drive{number}"
        for name in ("top", "front", "labels"):
            (scene / name).mkdir(parents=True)
        rows = ["timestamp,tx,ty,tz,qx,qy,qz,qw"]
        for n in part:
            stamp = START + int(n) * PERIOD
            points = load_sweep(sweeps[n])
            six_columns(points).tofile(scene / "top" / f"{stamp}.bin")
            instance = np.arange(len(points), dtype=np.uint32) % 5
            (RAW[classes_of(points)] | instance << np.uint32(16)).tofile(scene / "labels" / f"{stamp}.label")
            _write_image(sweeps[n], scene / "front" / f"{stamp + EXPOSURE}.jpg")
            rows.append(_pose_row(stamp, sweeps[n].world_SE3_ego))
        after = sweeps[min(part[-1] + 1, len(sweeps) - 1)].world_SE3_ego
        rows.append(_pose_row(START + int(part[-1] + 1) * PERIOD, after))
        (scene / "poses.csv").write_text("\n".join(rows) + "\n")
    (folder / "classes.yaml").write_text(CLASS_FILE)
    (folder / "splits.json").write_text('{"train": ["drive0"], "val": ["drive1"]}')
    (folder / "calibration.yaml").write_text(calibration(sweeps[0]))
    return sweeps


def calibration(sweep: Sweep) -> str:
    """What its owner knows: the lens, the mounts; units, scales and stamps are left out."""
    camera = sweep.cameras[0]
    K = shift_pixel_centres(camera.intrinsics, -0.5)
    lidar_SE3_cam = invert_SE3(sweep.ego_SE3_lidar) @ camera.ego_SE3_cam
    return f"""\
lidars:
  top:
    columns: [x, y, z, intensity, ring, time]
    ego_SE3_lidar: {{translation: [0, 0, 1.73], euler_degrees: [0, 0, 0]}}
cameras:
  front:
    intrinsics: {[K[0, 0], K[1, 1], K[0, 2], K[1, 2]]}
    distortion: {list(DISTORTION)}
    lidar_SE3_cam: {lidar_SE3_cam.tolist()}
"""


FACTS = """\
stamps: ns
poses: {file: poses.csv, of: ego}
labels: {folder: labels, format: uint32}
"""
LIDAR_FACTS = """\
    units: mm
    intensity: 255
    time: {unit: us, start: sweep}
"""


def edited(text: str) -> str:
    """The calibration once its owner has said what is right."""
    return FACTS + text.replace("    ego_SE3_lidar", f"{LIDAR_FACTS}    ego_SE3_lidar")


def _pose_row(stamp: int, pose: np.ndarray) -> str:
    w, x, y, z = matrix_to_quaternion(pose[:3, :3]).tolist()
    return ",".join(map(str, [stamp, *pose[:3, 3].tolist(), x, y, z, w]))


def _write_image(sweep: Sweep, path: Path) -> None:
    """The rectified image as the lens would have shown it."""
    camera = sweep.cameras[0]
    image = np.asarray(Image.open(camera.path).convert("RGB"))
    K = shift_pixel_centres(camera.intrinsics, -0.5)
    v, u = np.indices(image.shape[:2], dtype=np.float64)
    seen = np.stack([u, v], axis=-1).reshape(-1, 1, 2)
    straight = cv2.undistortPoints(seen, K, np.array(DISTORTION), P=K).reshape(*image.shape[:2], 2)
    bent = cv2.remap(image, straight.astype(np.float32), None, cv2.INTER_LINEAR)  # type: ignore[call-overload]
    Image.fromarray(bent).save(path, quality=90)
