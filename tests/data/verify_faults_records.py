"""The faults of times, poses, mounts, boxes and splits that `pc3d verify` finds: other records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from verify_drives import (
    HEIGHT,
    STEPS,
    Injected,
    Sweeps,
    change,
    change_boxes,
    change_camera,
    make_SE3,
    yaw_matrix,
)


def everywhere(_: int) -> bool:
    return True


def moved(by: tuple[float, float, float]) -> Callable[[object], np.ndarray]:
    def pose(record: object) -> np.ndarray:
        return make_SE3(np.eye(3), by) @ record.world_SE3_ego  # type: ignore[attr-defined]

    return pose


def from_step(n: int) -> Callable[[int], bool]:
    return lambda row: row % STEPS >= n


def late(seconds: float) -> Callable[[object], int]:
    return lambda record: record.timestamp + round(1e6 * seconds)  # type: ignore[attr-defined]


def own_pose(
    sweeps: Sweeps, make: Callable[[np.ndarray], np.ndarray], at: Callable[[int], bool] | int
) -> Sweeps:
    """Other poses of sweeps and of their images alike."""
    changed = change(sweeps, at, world_SE3_ego=lambda s: make(s.world_SE3_ego))
    for name in ("FRONT", "LEFT"):
        changed = change_camera(changed, at, name, world_SE3_ego=lambda c: make(c.world_SE3_ego))
    return changed


def stuck(sweeps: Sweeps, _: Path) -> Sweeps:
    """Poses at a third of the rate of the sweeps."""
    poses = [sweeps[n - n % STEPS % 3].world_SE3_ego for n in range(len(sweeps))]
    return [replace(sweep, world_SE3_ego=pose) for sweep, pose in zip(sweeps, poses, strict=True)]


def tilt(pose: np.ndarray) -> np.ndarray:
    return pose @ make_SE3([[1, 0, 0], [0, 0, -1], [0, 1, 0]], [0, 0, 0])


TIMES_AND_POSES = [
    Injected(
        "a gap of three seconds",
        "gaps in time",
        "warning",
        lambda s, _: change(s, from_step(4), timestamp=late(3), cameras=()),
    ),
    Injected(
        "two sweeps of one time",
        "equal times",
        "warning",
        lambda s, _: change(s, 4, timestamp=s[3].timestamp),
    ),
    Injected(
        "times in milliseconds",
        "unit of time",
        "problem",
        lambda s, _: change(s, everywhere, timestamp=lambda one: one.timestamp // 1000, cameras=()),
    ),
    Injected(
        "an image of two seconds later",
        "times of images",
        "warning",
        lambda s, _: change_camera(s, 3, "FRONT", timestamp=late(2)),
    ),
    Injected(
        "a jump of 50 m",
        "jumps",
        "warning",
        lambda s, _: own_pose(s, lambda p: make_SE3(np.eye(3), [50.0, 0, 0]) @ p, from_step(4)),
    ),
    Injected("poses at a lower rate than sweeps", "repeated poses", "warning", stuck),
    Injected(
        "a heading that turns by 60 degrees at once",
        "turns",
        "warning",
        lambda s, _: own_pose(s, lambda p: p @ make_SE3(yaw_matrix(1.05), [0.0, 0, 0]), 3),
    ),
    Injected("a vehicle on its side", "ego axes", "problem", lambda s, _: own_pose(s, tilt, everywhere)),
    Injected(
        "a vehicle that drives sideways",
        "heading",
        "problem",
        lambda s, _: own_pose(s, lambda p: p @ make_SE3(yaw_matrix(np.pi / 2), [0.0, 0, 0]), everywhere),
    ),
    Injected(
        "poses that are all the identity",
        "poses",
        "warning",
        lambda s, _: own_pose(s, lambda p: np.eye(4), everywhere),
    ),
    Injected(
        "an image with the pose of another place",
        "poses of images",
        "warning",
        lambda s, _: change_camera(s, 3, "FRONT", world_SE3_ego=moved((30.0, 0, 0))),
    ),
]

MOUNTS = [
    Injected(
        "the mount of the LiDAR in millimetres",
        "mount of the LiDAR",
        "problem",
        lambda s, _: change(s, everywhere, ego_SE3_lidar=make_SE3(np.eye(3), [900.0, 0, 1800.0])),
    ),
    Injected(
        "the mount of a camera in millimetres",
        "mounts of cameras",
        "problem",
        lambda s, _: change_camera(
            s, everywhere, "FRONT", ego_SE3_cam=lambda c: make_SE3(c.ego_SE3_cam[:3, :3], [500.0, 0, 1500.0])
        ),
    ),
    Injected(
        "the mount of a further LiDAR in millimetres",
        "mounts of further LiDARs",
        "problem",
        lambda s, _: change(
            s,
            everywhere,
            lidars=lambda one: (
                replace(one.lidars[0], lidar_SE3_sensor=make_SE3(np.eye(3), [-1000.0, 0, 0])),
            ),
        ),
    ),
    Injected(
        "a LiDAR that is mounted otherwise in the middle of a scene",
        "moved LiDAR",
        "warning",
        lambda s, _: change(s, from_step(4), ego_SE3_lidar=make_SE3(yaw_matrix(0.1), [0.0, 0, HEIGHT])),
    ),
    Injected(
        "a camera that is turned in the middle of a scene",
        "moved cameras",
        "warning",
        lambda s, _: change_camera(
            s,
            from_step(4),
            "FRONT",
            ego_SE3_cam=lambda c: make_SE3(yaw_matrix(0.1), [0.0, 0, 0]) @ c.ego_SE3_cam,
        ),
    ),
    Injected(
        "a focal length that changes in a scene",
        "changed intrinsics",
        "warning",
        lambda s, _: change_camera(
            s, 3, "FRONT", intrinsics=lambda c: c.intrinsics * [[1.2, 1, 1], [1, 1.2, 1], [1, 1, 1]]
        ),
    ),
    Injected(
        "intrinsics of an image of another size",
        "intrinsics",
        "problem",
        lambda s, _: change_camera(
            s, everywhere, "FRONT", intrinsics=lambda c: np.diag([4.0, 4.0, 1.0]) @ c.intrinsics
        ),
    ),
    Injected(
        "two cameras in one place",
        "equal cameras",
        "problem",
        lambda s, _: change_camera(s, everywhere, "LEFT", ego_SE3_cam=s[0].cameras[0].ego_SE3_cam),
    ),
    Injected(
        "a camera that some frames lack",
        "camera LEFT",
        "warning",
        lambda s, _: change(s, 3, cameras=lambda one: one.cameras[:1]),
    ),
    Injected(
        "a LiDAR that some sweeps lack",
        "absent LiDARs",
        "warning",
        lambda s, _: change(s, 3, lidars=(), lidarseg_path=None),
    ),
    Injected("a file for two sweeps", "shared files", "warning", lambda s, _: change(s, 3, path=s[2].path)),
]

BOXES = [
    Injected(
        "boxes in the world frame",
        "far boxes",
        "warning",
        lambda s, _: change_boxes(s, everywhere, centers=lambda b: b.centers + np.array([4e5, 5e6, 0])),
    ),
    Injected(
        "boxes in millimetres",
        "sizes of boxes",
        "warning",
        lambda s, _: change_boxes(s, everywhere, sizes=lambda b: b.sizes * 1000),
    ),
    Injected(
        "boxes beside their points",
        "boxes on points",
        "warning",
        lambda s, _: change_boxes(s, everywhere, centers=lambda b: b.centers[:, [1, 0, 2]]),
    ),
    Injected(
        "the boxes of one sweep beside their points",
        "boxes beside points",
        "warning",
        lambda s, _: change_boxes(
            s, 3, centers=lambda b: b.centers[:, [1, 0, 2]], num_lidar_pts=np.full(4, 30)
        ),
    ),
    Injected(
        "boxes beside their points, whose number is not said",
        "empty boxes",
        "warning",
        lambda s, _: change_boxes(
            s, everywhere, centers=lambda b: b.centers + np.array([0, 0, 8]), num_lidar_pts=np.full(4, -1)
        ),
    ),
    Injected(
        "boxes that all hold no point",
        "points in boxes",
        "problem",
        lambda s, _: change_boxes(s, everywhere, num_lidar_pts=np.zeros(4, np.int64)),
    ),
    Injected(
        "a category that no class takes",
        "box categories",
        "warning",
        lambda s, _: change_boxes(s, 3, names=("Car", *("vehicle.car",) * 3)),
    ),
    Injected(
        "annotations without a box",
        "boxes",
        "warning",
        lambda s, _: change(s, everywhere, boxes=lambda one: _none(one.boxes)),
    ),
    Injected(
        "a box that is there twice",
        "boxes twice",
        "warning",
        lambda s, _: change_boxes(s, 3, centers=lambda b: b.centers[[0, 0, 2, 3]]),
    ),
    Injected(
        "a track of two objects at once",
        "tracks twice",
        "warning",
        lambda s, _: change_boxes(s, 3, tracks=("car-0", "car-0", "car-2", "car-3")),
    ),
    Injected(
        "tracks that change their objects",
        "jumps of tracks",
        "warning",
        lambda s, _: change_boxes(s, from_step(4), tracks=("car-1", "car-2", "car-3", "car-0")),
    ),
    Injected(
        "key frames of which some have no labels",
        "labels",
        "warning",
        lambda s, _: change(s, 3, lidarseg_path=None),
    ),
    Injected(
        "a split without a key frame",
        "split val",
        "warning",
        lambda s, _: change(s, lambda n: n >= STEPS, is_key_frame=False),
    ),
]


def _none(boxes: object) -> object:
    empty = {
        name: getattr(boxes, name)[:0] for name in ("centers", "sizes", "yaws", "velocities", "num_lidar_pts")
    }
    return replace(boxes, names=(), tracks=(), attributes=(), **empty)  # type: ignore[type-var]
