"""Logs of the published Argoverse 2 layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import feather
from scipy.spatial.transform import Rotation

START, STEP = 315_966_265_000_000_000, 100_000_000


def write(path: Path, **columns: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    feather.write_feather(pa.table(columns), str(path), compression="lz4")


def pose_at(time: int) -> tuple[Rotation, np.ndarray]:
    """city_SE3_ego of a car that turns while it drives."""
    s = 1e-9 * (time - START)
    return Rotation.from_euler("zyx", [0.3 + 0.2 * s, 0.02, -0.01]), np.array([5000 + 8 * s, 3 * s, 60.0])


EGO_R_CAM = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
MOUNTS = {
    "up_lidar": (np.eye(3), [1.35, 0.0, 1.64]),
    "down_lidar": (np.diag([1.0, -1, -1]), [1.35, 0.0, 1.53]),
    "ring_front_center": (EGO_R_CAM, [1.6, 0.0, 1.4]),
    "ring_rear_left": (Rotation.from_euler("z", 150, degrees=True).as_matrix() @ EGO_R_CAM, [1.1, 0.2, 1.4]),
}
PINHOLES = {"ring_front_center": (80.0, 38.0, 49.0), "ring_rear_left": (81.0, 50.0, 39.0)}
"""Focal length, and the principal point where pixel centres are at integers."""
WORLD = np.random.default_rng(3).uniform([4940, -60, 59], [5060, 60, 68], (300, 3))


def write_log(folder: Path) -> Path:
    """A log of three sweeps with images of two cameras 12 ms after each; points of a fixed world."""
    quaternion = lambda rotation: np.roll(rotation.as_quat(), 1)  # noqa: E731
    times = [START + n * STEP // 20 for n in range(-4, 60)]
    poses = [pose_at(time) for time in times]
    q, t = np.array([quaternion(r) for r, _ in poses]), np.array([t for _, t in poses])
    write(
        folder / "city_SE3_egovehicle.feather",
        timestamp_ns=times,
        **{name: q[:, n] for n, name in enumerate(("qw", "qx", "qy", "qz"))},
        **{name: t[:, n] for n, name in enumerate(("tx_m", "ty_m", "tz_m"))},
    )
    q = np.array([quaternion(Rotation.from_matrix(r)) for r, _ in MOUNTS.values()])
    t = np.array([t for _, t in MOUNTS.values()])
    write(
        folder / "calibration" / "egovehicle_SE3_sensor.feather",
        sensor_name=list(MOUNTS),
        **{name: q[:, n] for n, name in enumerate(("qw", "qx", "qy", "qz"))},
        **{name: t[:, n] for n, name in enumerate(("tx_m", "ty_m", "tz_m"))},
    )
    cameras = ["ring_front_center", "ring_rear_left"]
    write(
        folder / "calibration" / "intrinsics.feather",
        sensor_name=cameras,
        fx_px=[80.0, 81.0],
        fy_px=[80.0, 81.0],
        cx_px=[38.0, 50.0],
        cy_px=[49.0, 39.0],
        **{k: [-0.2, -0.3] for k in ("k1", "k2", "k3")},
        height_px=pa.array([100, 78], pa.uint16()),
        width_px=pa.array([76, 100], pa.uint16()),
    )
    for n in range(3):
        time = START + n * STEP
        rotation, shift = pose_at(time)
        xyz = rotation.inv().apply(WORLD - shift).astype(np.float16)
        write(
            folder / "sensors" / "lidar" / f"{time}.feather",
            **{name: xyz[:, k] for k, name in enumerate("xyz")},
            intensity=np.arange(300).astype(np.uint8),
            laser_number=(np.arange(300) % 64).astype(np.uint8),
            offset_ns=np.linspace(0, 1e8, 300).astype(np.int32),
        )
        for camera, size in zip(cameras, ((76, 100), (100, 78)), strict=True):
            path = folder / "sensors" / "cameras" / camera / f"{time + 12_000_000}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size).save(path)
    return folder
