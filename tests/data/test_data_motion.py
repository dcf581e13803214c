"""Several LiDARs in one frame, and points moved to the time of their sweep, against matrix exponentials."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from pc3d.data.errors import DataError
from pc3d.data.motion import with_motion
from pc3d.data.points import load_sweep
from pc3d.data.points.motion import compensated, moved_by, twist_between
from pc3d.data.records import Lidar, Sweep
from pc3d.geometry.rigid import invert_SE3, make_SE3, transform_points, yaw_matrix

FORMAT = "bin:x,y,z,intensity/255,time*1e-6"
EGO_SE3_TOP = make_SE3(yaw_matrix(-1.5), [0.9, 0.1, 1.8])
EGO_SE3_REAR = make_SE3(yaw_matrix(3.0), [-1.0, 0.0, 0.6])
TWIST = np.array([8.0, 0.5, -0.1, 0.05, -0.02, 0.6])
"""m/s and rad/s of the ego vehicle."""
numbers = st.lists(st.floats(-3, 3), min_size=6, max_size=6)


def pose_after(twist: np.ndarray, seconds: float) -> np.ndarray:
    """(4, 4) of a body that moves with a constant twist, by the exponential of its matrix."""
    v, (a, b, c) = twist[:3], twist[3:]
    generator = np.zeros((4, 4))
    generator[:3, :3] = [[0, -c, b], [c, 0, -a], [-b, a, 0]]
    generator[:3, 3] = v
    return expm(generator * seconds)


@settings(max_examples=60, deadline=None)
@given(numbers, st.floats(-1, 1))
def test_a_twist_and_back(values: list[float], seconds: float) -> None:
    twist = np.array(values)
    pose = pose_after(twist, seconds)
    points = np.random.default_rng(0).normal(size=(5, 3)) * 20
    found = moved_by(twist, np.full(5, seconds), points)
    np.testing.assert_allclose(found, transform_points(pose, points), atol=1e-9)
    if abs(seconds) > 1e-2 and np.linalg.norm(twist[3:]) * abs(seconds) < 3:
        np.testing.assert_allclose(twist_between(pose, seconds), twist, atol=1e-6)


def scan(world: np.ndarray, ego_SE3_lidar: np.ndarray, seconds: np.ndarray, path: Path) -> None:
    """Write what a LiDAR sees of points at rest, each at its own time since the time of the sweep."""
    seen = [
        transform_points(invert_SE3(pose_after(TWIST, t) @ ego_SE3_lidar), point[None])[0]
        for point, t in zip(world, seconds, strict=True)
    ]
    table = np.column_stack([np.array(seen), np.full(len(world), 51.0), np.rint(seconds * 1e6)])
    table.astype("<f4").tofile(path)


@pytest.fixture
def drive(tmp_path: Path) -> tuple[list[Sweep], np.ndarray]:
    """Three sweeps of a vehicle with a constant twist; the middle one has a scan of two LiDARs."""
    rng = np.random.default_rng(3)
    world = rng.uniform(-30, 30, (40, 3))
    scan(world, EGO_SE3_TOP, rng.uniform(0, 0.1, 40), tmp_path / "top.bin")
    # The rear LiDAR stamps its scan 20 ms later, and its times count from there.
    late = rng.uniform(-0.05, 0.05, 40)
    seen = [
        transform_points(invert_SE3(pose_after(TWIST, 0.02 + t) @ EGO_SE3_REAR), point[None])[0]
        for point, t in zip(world, late, strict=True)
    ]
    table = np.column_stack([np.array(seen), np.full(40, 255.0), np.rint(late * 1e6)]).astype("<f4")
    table.tofile(tmp_path / "rear.bin")
    top_SE3_rear = invert_SE3(EGO_SE3_TOP) @ pose_after(TWIST, 0.02) @ EGO_SE3_REAR
    rear = Lidar("rear", tmp_path / "rear.bin", FORMAT, top_SE3_rear, "", 0.02)
    sweeps = []
    for number in (-1, 0, 1):
        pose = make_SE3(yaw_matrix(0.7), [100.0, 50.0, 3.0]) @ pose_after(TWIST, 0.1 * number)
        sweeps.append(
            Sweep(
                *(f"s{number}", "drive", 1_000_000 + 100_000 * number, True, tmp_path / "top.bin", FORMAT),
                *(EGO_SE3_TOP, pose, "train"),
                lidars=(rear,) if number == 0 else (),
            )
        )
    return sweeps, world


def test_points_at_rest_stand_still(drive: tuple[list[Sweep], np.ndarray]) -> None:
    sweeps, world = drive
    moving = list(with_motion(sweeps))
    motion = moving[1].motion
    assert motion is not None
    np.testing.assert_allclose(motion, TWIST, atol=1e-9)
    where = transform_points(invert_SE3(EGO_SE3_TOP), world)
    points = load_sweep(moving[1], ["time", "lidar"])
    assert points.shape == (80, 6)
    np.testing.assert_array_equal(points[:, 5], np.repeat([0, 1], 40))
    # Times are whole microseconds: at 30 m and 0.6 rad/s no more than 0.02 mm.
    np.testing.assert_allclose(points[:40, :3], where, atol=1e-3)
    np.testing.assert_allclose(points[40:, :3], where, atol=1e-3)
    np.testing.assert_allclose(points[:, 3], np.repeat([0.2, 1.0], 40), rtol=1e-6)
    assert (points[40:, 4] > -0.04).all()
    assert (points[40:, 4] < 0.08).all()
    # Without the compensation the first LiDAR's points are up to 0.1 s of driving away.
    raw = load_sweep(sweeps[1])
    assert np.linalg.norm(raw[:40, :3] - where, axis=1).max() > 0.5


def test_compensation_of_one_frame() -> None:
    points = np.random.default_rng(1).normal(size=(30, 3)) * 10
    seconds = np.random.default_rng(2).uniform(-0.1, 0.1, 30)
    found = compensated(points, seconds, TWIST, EGO_SE3_TOP)
    for point, t, moved in zip(points, seconds, found, strict=True):
        chain = invert_SE3(EGO_SE3_TOP) @ pose_after(TWIST, t) @ EGO_SE3_TOP
        np.testing.assert_allclose(moved, transform_points(chain, point[None])[0], atol=1e-9)


def test_what_cannot_be_compensated(drive: tuple[list[Sweep], np.ndarray]) -> None:
    sweeps, _ = drive
    bare = [replace(sweep, lidar_format="bin:x,y,z,intensity/255,_", lidars=()) for sweep in sweeps]
    with pytest.raises(DataError, match="no times"):
        list(with_motion(bare))
    alone = list(with_motion(sweeps[:1]))
    assert alone[0].motion is None
    far = [sweeps[0], replace(sweeps[1], timestamp=9_000_000)]
    assert all(sweep.motion is None for sweep in with_motion(far))
    with pytest.raises(DataError, match="no column 'ring'"):
        load_sweep(sweeps[0], ["ring"])
