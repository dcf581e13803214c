"""Segments of the published Waymo v2 schema: a vehicle drives and turns in a room with known walls."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet
from scipy.spatial.transform import Rotation

SEGMENT = "10023947602400723454_1120_000_1140_000"
START, STEP = 1_552_440_195_362_591, 100_000
LOW, HIGH = np.array([1980.0, 985.0, 50.0]), np.array([2025.0, 1018.0, 56.0])
"""Corners of the room in the world."""
HEIGHT, WIDTH = {1: 12, 2: 8, 4: 8}, {1: 40, 2: 20, 4: 20}
LASERS = {1: "TOP", 2: "FRONT", 4: "SIDE_RIGHT"}
MOUNTS = {
    1: (Rotation.from_euler("z", 148, degrees=True), [1.43, 0.0, 2.18]),
    2: (Rotation.from_euler("zy", [3, 10], degrees=True), [4.07, 0.0, 0.69]),
    4: (Rotation.from_euler("zx", [-90, 5], degrees=True), [3.2, -1.1, 0.9]),
}
BEAMS = np.deg2rad(np.linspace(-17, 2.5, HEIGHT[1]) + np.linspace(0, 1, HEIGHT[1]) ** 2)
OUTERMOST = (-math.pi / 2, math.pi / 6)
CAMERA_MOUNT = (Rotation.from_euler("zy", [4, 1], degrees=True), [1.5, 0.1, 2.1])
PINHOLE = {"f_u": 90.0, "f_v": 91.0, "c_u": 48.5, "c_v": 32.2}
INTRINSIC = {**PINHOLE, "k1": -0.06, "k2": 0.01, "p1": 0.001, "p2": -0.002, "k3": 0.0}
SIZE = (96, 64)


def pose_at(seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """roll pitch yaw and place of the vehicle in the world."""
    angles = np.array([0.01, -0.02 + 0.05 * seconds, 0.4 + 0.3 * seconds])
    return angles, np.array([2000 + 12 * seconds, 1000 - 2 * seconds, 50.3])


def rotation_of(angles: np.ndarray) -> Rotation:
    return Rotation.from_euler("ZYX", angles[::-1])


def matrix(rotation: Rotation, place: Any) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = rotation.as_matrix(), place
    return T


def wall_ahead(origin: np.ndarray, direction: np.ndarray) -> tuple[float, int]:
    """Distance to the wall that a ray from inside of the room meets, and its number 0 to 5."""
    best, wall = math.inf, -1
    for axis in range(3):
        for side, plane in enumerate((LOW[axis], HIGH[axis])):
            if direction[axis] != 0:
                distance = (plane - origin[axis]) / direction[axis]
                if 0 < distance < best:
                    best, wall = distance, 2 * axis + side
    return best, wall


def range_images(laser: int, seconds: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Both returns (H, W, 4), their labels (H, W, 2), and the pose of each pixel (H, W, 6)."""
    height, width = HEIGHT[laser], WIDTH[laser]
    rotation, place = MOUNTS[laser]
    first, second = np.full((2, height, width, 4), -1.0)
    poses, labels = np.zeros((height, width, 6)), np.zeros((height, width, 2), dtype=np.int64)
    yaw = math.atan2(rotation.as_matrix()[1, 0], rotation.as_matrix()[0, 0])
    if laser == 1:
        inclinations = BEAMS[::-1]
    else:
        low, high = OUTERMOST
        inclinations = low + (height - 1 - np.arange(height) + 0.5) / height * (high - low)
    for column in range(width):
        angles, at = pose_at(seconds + (0.1 * (column / width - 0.5) if laser == 1 else 0.0))
        poses[:, column] = *angles, *at
        to_world = rotation_of(angles)
        origin = to_world.apply(place) + at
        azimuth = ((width - column - 0.5) / width * 2 - 1) * math.pi - yaw
        level = np.cos(inclinations)
        rays = np.stack([level * math.cos(azimuth), level * math.sin(azimuth), np.sin(inclinations)], axis=1)
        zone = 1.0 if column < width // 4 else -1.0
        for row, ray in enumerate((to_world * rotation).apply(rays)):
            distance, wall = wall_ahead(origin, ray)
            if rng.random() < 0.8:
                first[row, column] = distance, 40 * rng.random(), rng.random(), zone
                labels[row, column] = 7, wall + 1
            if rng.random() < 0.2:
                second[row, column] = distance, rng.random(), 0.0, zone
    return {"first": first, "second": second, "labels": labels, "poses": poses}


def write(path: Path, columns: dict[str, Any], rows_in_group: int | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), path, row_group_size=rows_in_group)


def lists(values: list[Any], kind: Any = None, length: int = -1) -> pa.Array:
    flat = [None if value is None else np.asarray(value).reshape(-1).tolist() for value in values]
    return pa.array(flat, pa.list_(kind or pa.float32(), length))


def write_segment(
    split: Path, frames: int = 3, names: bool = False, rows_in_group: int | None = None, seed: int = 0
) -> dict[tuple[int, int], dict[str, np.ndarray]]:
    """Write all components of a segment below the folder of a split; gives the range images.

    Args:
        names: sensors by their names and lists of any length, as some published files have them.
    """
    rng = np.random.default_rng(seed)
    times = [START + n * STEP for n in range(frames)]
    images = {
        (time, laser): range_images(laser, 1e-6 * (time - START), rng) for time in times for laser in LASERS
    }

    def path(tag: str) -> Path:
        return split / tag / f"{SEGMENT}.parquet"

    def keys(rows: list[tuple[int, int]], sensor: str, known: dict[int, str]) -> dict[str, Any]:
        sensors = [known[number] if names else number for _, number in rows]
        kind = pa.string() if names else pa.int8()
        return {
            "key.segment_context_name": [SEGMENT] * len(rows),
            "key.frame_timestamp_micros": pa.array([time for time, _ in rows], pa.int64()),
            f"key.{sensor}": pa.array(sensors, kind),
        }

    transform = pa.list_(pa.float64()) if names else pa.list_(pa.float64(), 16)
    rows = [(time, laser) for time in times for laser in rng.permutation(list(LASERS)).tolist()]
    returns = {1: "first", 2: "second"}
    write(
        path("lidar"),
        {
            **keys(rows, "laser_name", LASERS),
            **{
                f"[LiDARComponent].range_image_return{n}.{part}": column
                for n, name in returns.items()
                for part, column in (
                    ("values", lists([images[row][name] for row in rows])),
                    ("shape", lists([images[row][name].shape for row in rows], pa.int32(), 3)),
                )
            },
        },
        rows_in_group,
    )
    tops = [(time, 1) for time in rng.permutation(times).tolist()]
    pose = "[LiDARPoseComponent].range_image_return1"
    write(
        path("lidar_pose"),
        {
            **keys(tops, "laser_name", LASERS),
            f"{pose}.values": lists([images[row]["poses"] for row in tops]),
            f"{pose}.shape": lists([images[row]["poses"].shape for row in tops], pa.int32(), 3),
        },
        rows_in_group,
    )
    labels = "[LiDARSegmentationLabelComponent].range_image_return"
    first = [(times[0], 1)]
    write(
        path("lidar_segmentation"),
        {
            **keys(first, "laser_name", LASERS),
            **{
                f"{labels}{n}.{part}": column
                for n in returns
                for part, column in (
                    ("values", lists([images[row]["labels"] for row in first], pa.int32())),
                    ("shape", lists([images[row]["labels"].shape for row in first], pa.int32(), 3)),
                )
            },
        },
        rows_in_group,
    )
    order = [4, 1, 2]
    calibration = "[LiDARCalibrationComponent]"
    write(
        path("lidar_calibration"),
        {
            "key.segment_context_name": [SEGMENT] * 3,
            "key.laser_name": [LASERS[n] for n in order] if names else pa.array(order, pa.int8()),
            f"{calibration}.extrinsic.transform": pa.array(
                [matrix(*MOUNTS[n]).reshape(-1).tolist() for n in order], transform
            ),
            f"{calibration}.beam_inclination.min": [OUTERMOST[0]] * 3,
            f"{calibration}.beam_inclination.max": [OUTERMOST[1]] * 3,
            f"{calibration}.beam_inclination.values": pa.array(
                [BEAMS.tolist() if n == 1 else None for n in order], pa.list_(pa.float64())
            ),
        },
        None,
    )
    poses = [
        matrix(rotation_of(pose_at(1e-6 * (t - START))[0]), pose_at(1e-6 * (t - START))[1]) for t in times
    ]
    kind = pa.list_(pa.float32(), 16)
    write(
        path("vehicle_pose"),
        {
            "key.segment_context_name": [SEGMENT] * frames,
            "key.frame_timestamp_micros": times,
            "[VehiclePoseComponent].world_from_vehicle.transform": pa.array(
                [T.reshape(-1).tolist() for T in poses], kind
            ),
        },
        None,
    )
    _write_cameras(path, keys, times, transform, rows_in_group)
    _write_boxes(path("lidar_box"), times)
    return images


def image_seconds(time: int) -> float:
    """Seconds since 1970 of an image, 30 ms after its frame."""
    return 1e-6 * time + 0.03


def _write_cameras(path: Any, keys: Any, times: list[int], transform: Any, rows_in_group: int | None) -> None:
    known = {1: "FRONT", 2: "FRONT_LEFT"}
    image = "[CameraImageComponent]"
    rows = [(time, camera) for time in times for camera in (2, 1)]
    taken = [pose_at(1e-6 * (time - START) + 0.03) for time, _ in rows]

    def jpeg(number: int) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", SIZE, (20 * number, 90, 30)).save(buffer, "JPEG")
        return buffer.getvalue()

    write(
        path("camera_image"),
        {
            **keys(rows, "camera_name", known),
            f"{image}.image": pa.array([jpeg(n) for n in range(len(rows))], pa.binary()),
            f"{image}.pose.transform": pa.array(
                [matrix(rotation_of(angles), at).reshape(-1).tolist() for angles, at in taken], transform
            ),
            f"{image}.pose_timestamp": [image_seconds(time) for time, _ in rows],
        },
        rows_in_group,
    )
    calibration = "[CameraCalibrationComponent]"
    mounts = {1: CAMERA_MOUNT, 2: (Rotation.from_euler("z", 60, degrees=True), [1.5, 0.4, 2.1])}
    columns = keys([(0, 1), (0, 2)], "camera_name", known)
    columns.pop("key.frame_timestamp_micros")
    write(
        path("camera_calibration"),
        {
            **columns,
            **{f"{calibration}.intrinsic.{name}": [value] * 2 for name, value in INTRINSIC.items()},
            f"{calibration}.extrinsic.transform": pa.array(
                [matrix(*mounts[n]).reshape(-1).tolist() for n in (1, 2)], transform
            ),
            f"{calibration}.width": pa.array([SIZE[0]] * 2, pa.int32()),
            f"{calibration}.height": pa.array([SIZE[1]] * 2, pa.int32()),
        },
        None,
    )


def _write_boxes(path: Path, times: list[int]) -> None:
    box = "[LiDARBoxComponent]"
    numbers = {
        **{f"{box}.box.center.{axis}": value for axis, value in zip("xyz", (8.0, 3.0, 0.8), strict=True)},
        **{f"{box}.box.size.{axis}": value for axis, value in zip("xyz", (4.5, 1.9, 1.7), strict=True)},
        **{f"{box}.speed.{axis}": value for axis, value in zip("xyz", (5.0, -2.0, 0.1), strict=True)},
        f"{box}.box.heading": 0.3,
    }
    write(
        path,
        {
            "key.segment_context_name": [SEGMENT] * (2 * len(times)),
            "key.frame_timestamp_micros": [time for time in times for _ in range(2)],
            "key.laser_object_id": ["car-a", "walker-b"] * len(times),
            **{name: [value] * (2 * len(times)) for name, value in numbers.items()},
            f"{box}.type": pa.array([1, 2] * len(times), pa.int8()),
            f"{box}.num_lidar_points_in_box": pa.array([31, None] * len(times), pa.int32()),
            f"{box}.num_top_lidar_points_in_box": pa.array([29, None] * len(times), pa.int32()),
        },
        None,
    )
