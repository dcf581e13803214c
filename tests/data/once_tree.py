"""A tree of ONCE in the published layout: a world that points, boxes, poses and images agree with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

START = 1_616_000_000_000
SIZE = (192, 102)
K = np.array([[95.0, 0, 96], [0, 95.0, 50], [0, 0, 1]])
# In the axes of the files (x left, y back, z up): cam01 looks ahead, cam05 to the left and back.
RAW_SE3_CAM = {
    "cam01": np.array([[-1.0, 0, 0, 0.1], [0, 0, -1, -1.6], [0, -1, 0, -0.3], [0, 0, 0, 1]]),
    "cam05": np.array([[0.6, 0, 0.8, 0.4], [-0.8, 0, 0.6, 0.2], [0, -1, 0, -0.3], [0, 0, 0, 1]]),
}
# Ten metres ahead, longer than wide, its heading turned by 0.3 from straight ahead (-y) to the left (+x).
BOX = [-1.0, -10.0, -0.8, 4.4, 1.8, 1.6, -np.pi / 2 + 0.3]


def raw_pose(step: int) -> np.ndarray:
    """world_SE3_raw: 0.4 m ahead (-y) a frame, turning."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("zyx", [0.02 * step, 0.002, -0.001]).as_matrix()
    pose[:3, 3] = [5.0, -0.4 * step, 2.0]
    return pose


def world_points() -> np.ndarray:
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(-25, 25, 600), rng.uniform(-25, 25, 600), rng.uniform(0, 5, 600)])
    points[:200, 2] = 0.0  # the road
    return points


def frame_row(name: str, step: int, pose: object, annos: object = None) -> dict[str, Any]:
    row = {"sequence_id": name, "frame_id": str(START + 500 * step), "pose": pose}
    return row if annos is None else {**row, "annos": annos}


def write_sequence(root: Path, name: str = "000076", steps: int = 4, scale: float = 255.0) -> None:
    folder = root / "data" / name
    for part in ("lidar_roof", *RAW_SE3_CAM):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(1)
    rows = []
    for step in range(steps):
        stamp, pose = START + 500 * step, raw_pose(step)
        points = (world_points() - pose[:3, 3]) @ pose[:3, :3]
        intensity = np.round(rng.uniform(0, 1, len(points)), 2) * scale
        np.column_stack([points, intensity]).astype(np.float32).tofile(folder / f"lidar_roof/{stamp}.bin")
        for camera in RAW_SE3_CAM:
            Image.new("RGB", SIZE, (step * 20, 80, 90)).save(folder / camera / f"{stamp}.jpg")
        quaternion = Rotation.from_matrix(pose[:3, :3]).as_quat().tolist()  # scalar last
        annos = {"names": ["Car"], "boxes_3d": [BOX], "boxes_2d": {"cam01": [[1, 2, 3, 4]]}}
        rows.append(frame_row(name, step, [*quaternion, *pose[:3, 3]], annos if step < 2 else None))
    calib = {
        camera: {"cam_to_velo": pose.tolist(), "cam_intrinsic": K.tolist(), "distortion": [-0.3, 0.1, 0, 0]}
        for camera, pose in RAW_SE3_CAM.items()
    }
    content = {"meta_info": {"weather": "sunny"}, "calib": calib, "frames": rows}
    (folder / f"{name}.json").write_text(json.dumps(content))
