"""A tree of KITTI-360: the published layout and rig, a world that each file agrees with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.linalg import expm

DRIVE = "2013_05_28_drive_0000_sync"
PERIOD = 0.104
# Row by row, as the calibration of the data set has them.
VELO_SE3_CAM0 = [
    0.04307104361, -0.08829286498, 0.995162929, 0.8043914418, -0.999004371, 0.007784614041, 0.04392796942,
    0.2993489574, -0.01162548558, -0.9960641394, -0.08786966659, -0.1770225824,
]  # fmt: skip
POSE_SE3_CAM0 = [
    0.0371783278, -0.0986182135, 0.9944306009, 1.5752681039, 0.9992675562, -0.0053553387, -0.0378902567,
    0.0043914093, 0.0090621821, 0.9951109327, 0.0983468786, -0.65,
]  # fmt: skip
F, CX, CY = 552.554261, 682.049453, 238.769549
MEI = {"xi": 2.2134, "k1": 0.016798, "k2": 1.6548, "p1": 0.00042, "p2": 0.00042}
FISHEYE = {"gamma1": 1336.3, "gamma2": 1335.8, "u0": 716.94, "v0": 705.76}


def matrix(rows: list[float]) -> np.ndarray:
    return np.vstack([np.reshape(rows, (3, 4)), [0, 0, 0, 1]])


def rotation(axis: list[float]) -> np.ndarray:
    x, y, z = axis
    return expm(np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]))


def twist(v: list[float], w: list[float]) -> np.ndarray:
    x, y, z = w
    return np.array([[0, -z, y, v[0]], [z, 0, -x, v[1]], [-y, x, 0, v[2]], [0, 0, 0, 0]])


# The vehicle drives 8 m/s and turns; x forward, y right, z down in a world with z up.
WORLD_SE3_IMU_0 = np.array([[0.8, 0.6, 0, 500], [0.6, -0.8, 0, 3500], [0, 0, -1, 116], [0, 0, 0, 1]])
IMU_TWIST = twist([8.0, 0.05, 0.02], [0.01, -0.02, 0.35])
IMU_SE3_VELO = matrix(POSE_SE3_CAM0) @ np.linalg.inv(matrix(VELO_SE3_CAM0))
R_RECT = {"image_00": rotation([0.004, -0.01, 0.006]), "image_01": rotation([-0.002, 0.005, 0.003])}
IMU_SE3_CAM = {
    "image_00": matrix(POSE_SE3_CAM0),
    "image_01": matrix(POSE_SE3_CAM0)
    @ np.array([[1, 0, 0, 0.594], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    # Looks to the left: z of the camera along -y of the vehicle.
    "image_02": np.array([[1.0, 0, 0, 0.7], [0, 0, -1, -0.6], [0, 1, 0, -0.6], [0, 0, 0, 1]]),
}


def imu_pose(seconds: float) -> np.ndarray:
    return WORLD_SE3_IMU_0 @ expm(seconds * IMU_TWIST)


def measured(world: np.ndarray, seconds: float) -> np.ndarray:
    """(P, 4) a raw scan: each point in the Velodyne when it faces it, turning clockwise."""
    rows = []
    for point in world:
        turn = 0.0
        for _ in range(6):  # the direction depends on the time, which depends on the direction
            pose = imu_pose(seconds + turn * PERIOD) @ IMU_SE3_VELO
            x, y, z = pose[:3, :3].T @ (point - pose[:3, 3])
            turn = -np.arctan2(y, x) / (2 * np.pi)
        rows.append([x, y, z, 0.5])
    return np.array(rows, dtype=np.float32)


def world_points() -> np.ndarray:
    rng = np.random.default_rng(0)
    velo = WORLD_SE3_IMU_0 @ IMU_SE3_VELO
    around = np.column_stack(
        [rng.uniform(-40, 40, 150), rng.uniform(-20, 20, 150), rng.uniform(-1.7, 4, 150)]
    )
    # Behind, where a scan begins and ends, the side of a point is a matter of rounding.
    around = around[np.abs(np.arctan2(around[:, 1], around[:, 0])) < 2.6]
    return around @ velo[:3, :3].T + velo[:3, 3]


def line(values: object) -> str:
    return " ".join(f"{value:.10f}" for value in np.ravel(values))


def write_calibration(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "calib_cam_to_velo.txt").write_text(line(VELO_SE3_CAM0) + "\n")
    lines = [f"{name}: {line(pose[:3])}" for name, pose in IMU_SE3_CAM.items()]
    (folder / "calib_cam_to_pose.txt").write_text("\n".join(lines) + "\n")
    lines = ["calib_time: 2014-04-04 15:33:00"]
    for name, shift in (("00", 0.0), ("01", -328.318735)):
        lines.append(f"S_rect_{name}: 1408.000000 376.000000")
        lines.append(f"R_rect_{name}: {line(R_RECT[f'image_{name}'])}")
        lines.append(f"P_rect_{name}: {line([[F, 0, CX, shift], [0, F, CY, 0], [0, 0, 1, 0]])}")
    (folder / "perspective.txt").write_text("\n".join(lines) + "\n")
    numbers = "\n".join(f"   {name}:{value}" for name, value in (MEI | FISHEYE).items())
    (folder / "image_02.yaml").write_text(
        "%YAML:1.0\n---\nmodel_type: MEI\ncamera_name: image_02\nimage_width: 1400\nimage_height: 1400\n"
        f"mirror_parameters:\n{numbers}\n"
    )


def write_drive(root: Path, world: np.ndarray, frames: int, posed: list[int]) -> None:
    raw = root / "data_3d_raw" / DRIVE / "velodyne_points"
    (raw / "data").mkdir(parents=True)
    stamps = [f"2013-05-28 08:46:{2 + n * PERIOD:012.9f}" for n in range(frames)]
    (raw / "timestamps.txt").write_text("\n".join(stamps) + "\n")
    for number in range(frames):
        measured(world, number * PERIOD).tofile(raw / "data" / f"{number:010d}.bin")
    poses = root / "data_poses" / DRIVE
    poses.mkdir(parents=True)
    lines = [f"{number} {line(imu_pose(number * PERIOD)[:3])}" for number in posed]
    (poses / "poses.txt").write_text("\n".join(lines) + "\n")
    for name, part, size in (
        ("image_00", "data_rect", (1408, 376)),
        ("image_01", "data_rect", (1408, 376)),
        ("image_02", "data_rgb", (1400, 1400)),
    ):
        folder = root / "data_2d_raw" / DRIVE / name
        (folder / part).mkdir(parents=True)
        (folder / "timestamps.txt").write_text("\n".join(stamps) + "\n")
        picture = Image.new("L", size)
        for number in range(frames - 1):
            picture.save(folder / part / f"{number:010d}.png")
