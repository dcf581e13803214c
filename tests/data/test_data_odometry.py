"""Poses from LiDAR odometry and OXTS: the simulator's truth, the real KITTI drive, and by hand."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from pc3d.data.batch import Needs
from pc3d.data.build import build_index
from pc3d.data.dataset import FrameDataset
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.odometry import OdometryConfig, lidar_odometry
from pc3d.data.points import load_points
from pc3d.data.readers import open_reader
from pc3d.data.readers.kitti_poses import ODOMETRY
from pc3d.data.readers.kitti_rig import EGO_SE3_LIDAR
from pc3d.data.records import Sweep
from pc3d.geometry.rigid import make_SE3, transform_points

pytest.importorskip("kiss_icp", reason="the extra `odometry` is not installed")


@pytest.fixture(scope="module")
def kitti(real_data: Path) -> list[Sweep]:
    return list(open_reader("kitti_raw", real_data / "kitti_raw", poses="kiss-icp").sweeps())


def lidar_poses(sweeps: list[Sweep]) -> np.ndarray:
    """(N, 4, 4) first_SE3_lidar."""
    poses = np.stack([sweep.world_SE3_ego @ sweep.ego_SE3_lidar for sweep in sweeps])
    return np.linalg.inv(poses[0]) @ poses


def standing(sweep: Sweep) -> np.ndarray:
    """Points of things that stand up, within 40 m."""
    points = load_points(sweep.path, sweep.lidar_format)[:, :3]
    return points[(points[:, 2] > -1.2) & (np.linalg.norm(points[:, :2], axis=1) < 40)]


def misfit(sweeps: list[Sweep], poses: np.ndarray, first: int, last: int) -> float:
    """Mean distance (m, at most 1) of scan `last`, moved into scan `first`, to its nearest neighbour."""
    moved = transform_points(np.linalg.inv(poses[first]) @ poses[last], standing(sweeps[last])[::5])
    return float(cKDTree(standing(sweeps[first])).query(moved)[0].clip(max=1).mean())


def test_the_real_drive_goes_forward_smoothly(kitti: list[Sweep]) -> None:
    poses = lidar_poses(kitti)
    steps = np.diff(poses[:, :3, 3], axis=0)
    # Point-to-plane ICP of Open3D between scans 0 and 9 gives 2.17 m, 0.234 to 0.247 m a scan.
    assert steps[:, 0].sum() == pytest.approx(2.17, abs=0.12)
    np.testing.assert_allclose(steps[:, 0], 0.241, atol=0.08)
    assert np.abs(steps[:, 1:]).max() < 0.04
    turns = np.trace((np.linalg.inv(poses[:-1]) @ poses[1:])[:, :3, :3], axis1=1, axis2=2)
    assert turns.min() > 1 + 2 * np.cos(np.deg2rad(0.5))
    for sweep in kitti:
        assert all(np.array_equal(c.world_SE3_ego, sweep.world_SE3_ego) for c in sweep.cameras)
    np.testing.assert_allclose(kitti[0].world_SE3_ego, np.eye(4), atol=1e-12)


def test_what_stands_on_the_real_drive_fits_better_than_with_the_identity(kitti: list[Sweep]) -> None:
    """Neighbours in time are 0.24 m apart, less than the rings: the gap must be some scans wide."""
    still = np.tile(np.eye(4), (len(kitti), 1, 1))
    poses = lidar_poses(kitti)
    for gap, better in ((9, 0.77), (5, 0.85)):
        assert misfit(kitti, poses, 0, gap) < better * misfit(kitti, still, 0, gap)
    # The best of all shifts along x is not much better.
    shifts = np.arange(1.5, 2.8, 0.1)
    shifted = [misfit(kitti, np.stack([np.eye(4), make_SE3(np.eye(3), [x, 0, 0])] * 5), 0, 9) for x in shifts]
    assert misfit(kitti, poses, 0, 9) < 1.05 * min(shifted)


def test_rings_on_the_road_hold_a_slow_vehicle_back(kitti: list[Sweep]) -> None:
    def distance(config: OdometryConfig) -> float:
        clouds = ((load_points(sweep.path, sweep.lidar_format), None) for sweep in kitti)
        return float(np.linalg.norm(list(lidar_odometry(clouds, config))[-1][:3, 3]))

    assert distance(replace(ODOMETRY, ground_below=None)) < 2.17 - 0.2
    assert distance(ODOMETRY) > 2.17 - 0.12


def test_the_simulators_truth(tiny_index: Path) -> None:
    index = SweepIndex.open(tiny_index)
    sweeps = [index[row] for row in index.scene_rows(0)]
    truth = lidar_poses(sweeps)
    clouds = ((load_points(s.path, s.lidar_format), None) for s in sweeps)
    config = OdometryConfig(ground_below=0.4 - float(sweeps[0].ego_SE3_lidar[2, 3]))
    found = np.stack(list(lidar_odometry(clouds, config)))
    error = np.linalg.inv(truth) @ found
    assert np.linalg.norm(truth[-1, :3, 3]) > 5
    assert np.linalg.norm(error[:, :3, 3], axis=1).max() < 0.15
    assert np.rad2deg(np.arccos(np.clip((np.trace(error[-1, :3, :3]) - 1) / 2, -1, 1))) < 1


@pytest.mark.parametrize("with_times", [True, False])
def test_times_straighten_a_scan_to_its_latest_point(with_times: bool) -> None:
    rng = np.random.default_rng(0)
    world = rng.uniform([-30, -30, -2], [30, 30, 6], (6000, 3))
    v = np.array([1.0, 0.0, 0.0])
    scans = [((world).astype(np.float32), None)]
    for number in range(1, 8):
        times = rng.random(len(world))
        points = (world - v * (number - 1 + times[:, None])).astype(np.float32)
        scans.append((points, times if with_times else None))
    final = list(lidar_odometry(scans))[-1][:3, 3]
    if with_times:
        np.testing.assert_allclose(final, 7 * v, atol=0.1)
    else:
        np.testing.assert_allclose(final, 6.5 * v, atol=0.2)


def random_cloud(count: int = 2000, seed: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).uniform(-20, 20, (count, 4)).astype(np.float32)
    points[:, 3] = 0.5
    return points


def test_bad_scans() -> None:
    points = random_cloud()
    same = np.full(len(points), 5.0)  # KISS-ICP would divide by their range and abort the process
    (pose,) = lidar_odometry([(points, same)])
    np.testing.assert_array_equal(pose, np.eye(4))
    with pytest.raises(ValueError, match=r"times \(3,\) of 2000 points"):
        list(lidar_odometry([(points, np.zeros(3))]))
    with pytest.raises(DataError, match=r"only 0 points[\s\S]*scan 1"):
        list(lidar_odometry([(points, None), (points * 0.01, None)]))
    with pytest.raises(ValueError, match="max_range"):
        OdometryConfig(min_range=5, max_range=4)


def test_ground_stride_keeps_every_so_manyth_low_point() -> None:
    from pc3d.data.odometry import _registered

    points = random_cloud()
    low = points[:, 2] < -1
    far = np.linalg.norm(points[:, :3], axis=1) > 3
    keep = _registered(points, OdometryConfig(ground_below=-1, ground_stride=10))
    assert keep[~low & far].all()
    assert not keep[~far].any()
    assert int(keep[low].sum()) == -(-int((low & far).sum()) // 10)
    everything = _registered(points, OdometryConfig(ground_below=-1, ground_stride=1))
    np.testing.assert_array_equal(everything, far)


@pytest.fixture
def hand_drive(tmp_path: Path) -> Path:
    """A date folder with a drive of one scan, without cameras."""
    drive = tmp_path / "2011_01_01" / "2011_01_01_drive_0001_sync"
    (drive / "velodyne_points" / "data").mkdir(parents=True)
    random_cloud().tofile(drive / "velodyne_points" / "data" / "0000000000.bin")
    return drive


def add_scans(drive: Path, count: int) -> None:
    for number in range(1, count):
        random_cloud().tofile(drive / "velodyne_points" / "data" / f"{number:010d}.bin")


def test_a_drive_with_a_single_scan(hand_drive: Path) -> None:
    (sweep,) = open_reader("kitti_raw", hand_drive.parent, poses="kiss-icp", key_every=5).sweeps()
    np.testing.assert_allclose(sweep.world_SE3_ego, np.eye(4), atol=1e-12)
    assert sweep.is_key_frame


def test_without_the_package_the_extra_is_named(
    hand_drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kiss_icp", None)
    with pytest.raises(ImportError, match=r"pc3d\[odometry\]"):
        open_reader("kitti_raw", hand_drive.parent, poses="kiss-icp")
    with pytest.raises(ImportError, match=r"pc3d\[odometry\]"):
        build_index("kitti_raw", hand_drive.parent, tmp_path / "index", "again", poses="kiss-icp")
    assert len(list(open_reader("kitti_raw", hand_drive.parent).sweeps())) == 1


def test_key_every(hand_drive: Path) -> None:
    add_scans(hand_drive, 7)
    reader = open_reader("kitti_raw", hand_drive.parent, key_every=3)
    sweeps = list(reader.sweeps())
    assert [sweep.is_key_frame for sweep in sweeps] == [True, False, False, True, False, False, True]
    assert [bool(sweep.sample_token) for sweep in sweeps] == [sweep.is_key_frame for sweep in sweeps]
    assert "one scan in 3 is a key frame" in reader.metadata["notes"]
    with pytest.raises(ValueError, match="key_every"):
        open_reader("kitti_raw", hand_drive.parent, key_every=0)
    with pytest.raises(ValueError, match="unknown poses 'gps'"):
        open_reader("kitti_raw", hand_drive.parent, poses="gps")


def test_frames_in_time_of_the_real_drive(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "kitti_raw"
    index = build_index("kitti_raw", root, tmp_path / "index", "again", poses="kiss-icp", key_every=3)
    assert index.key_rows("train").tolist() == [0, 3, 6, 9]
    needs = Needs(images=True, frames=("t", "t-1", "t+1", "dense"))
    sample = FrameDataset(index, needs, split="train")[1]
    now, dense = sample.frames["t"], sample.frames["dense"]
    assert dense.num_points > 2.8 * now.num_points
    positions = [sample.frames[name].world_SE3_lidar[0, 3] for name in ("t-1", "t", "t+1")]
    np.testing.assert_allclose(np.diff(positions), 3 * 0.241, atol=0.15)


def test_oxts_poses_by_hand(hand_drive: Path) -> None:
    """A vehicle that drives north, then turns left by 90 degrees on the spot of its IMU."""
    add_scans(hand_drive, 3)
    with pytest.raises(DataError, match=r"no oxts/data[\s\S]*kiss-icp"):
        list(open_reader("kitti_raw", hand_drive.parent, poses="oxts").sweeps())
    (hand_drive / "oxts" / "data").mkdir(parents=True)
    rows = [
        (49.0, 8.4, 100.0, 0, 0, np.pi / 2),
        (49.0 + np.rad2deg(10.0 / 6378137.0), 8.4, 101.0, 0, 0, np.pi / 2),
    ]
    rows.append((*rows[1][:3], 0.1, 0.2, np.pi))
    for number, row in enumerate(rows):
        text = " ".join(repr(float(value)) for value in (*row, 1.0, 2.0))
        (hand_drive / "oxts" / "data" / f"{number:010d}.txt").write_text(text)
    arm = np.array([-0.8, 0.3, -0.8])  # of the IMU's origin in the LiDAR frame
    (hand_drive.parent / "calib_imu_to_velo.txt").write_text(
        f"calib_time: 25-May-2012\nR: 1 0 0 0 1 0 0 0 1\nT: {' '.join(map(str, arm))}\n"
    )
    sweeps = list(open_reader("kitti_raw", hand_drive.parent, poses="oxts").sweeps())
    np.testing.assert_allclose(sweeps[0].world_SE3_ego, np.eye(4), atol=1e-6)
    np.testing.assert_allclose(sweeps[1].world_SE3_ego, make_SE3(np.eye(3), [10.0, 0.0, 1.0]), atol=1e-3)
    # The IMU itself stays where it is while the vehicle turns, and its axes follow Rz Ry Rx.
    imu = (EGO_SE3_LIDAR @ [*arm, 1])[:3]
    places = [(sweep.world_SE3_ego @ [*imu, 1])[:3] for sweep in sweeps]
    np.testing.assert_allclose(places[2], places[1], atol=1e-6)
    cr, sr, cp, sp = np.cos(0.1), np.sin(0.1), np.cos(0.2), np.sin(0.2)
    nose, left = sweeps[2].world_SE3_ego[:3, :2].T
    np.testing.assert_allclose(nose, [0, cp, -sp], atol=1e-9)  # turned left, pitched down
    np.testing.assert_allclose(left, [-cr, sp * sr, cp * sr], atol=1e-9)
    shutil.copy(hand_drive / "oxts/data/0000000000.txt", hand_drive / "oxts/data/0000000002.txt")
    (hand_drive / "oxts" / "data" / "0000000001.txt").write_text("49.0 8.4")
    with pytest.raises(DataError, match=r"2 of its first 6 numbers"):
        list(open_reader("kitti_raw", hand_drive.parent, poses="oxts").sweeps())
