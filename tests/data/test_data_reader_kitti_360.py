"""KITTI-360 on a tree of the published layout with the published rig: a world that each file agrees with."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from kitti_360_tree import (
    CX,
    CY,
    DRIVE,
    FISHEYE,
    IMU_SE3_CAM,
    IMU_SE3_VELO,
    MEI,
    PERIOD,
    R_RECT,
    F,
    imu_pose,
    world_points,
    write_calibration,
    write_drive,
)
from scipy.spatial.transform import Rotation

from pc3d.data.build import build_index
from pc3d.data.errors import DataError
from pc3d.data.points import load_sweep
from pc3d.data.readers import kitti_raw, open_reader
from pc3d.data.readers.kitti_360 import detect
from pc3d.data.records import Sweep
from pc3d.data.selection import Selection
from pc3d.geometry.camera import project
from pc3d.geometry.rigid import transform_points


@pytest.fixture(scope="module")
def world() -> np.ndarray:
    return world_points()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, world: np.ndarray) -> Path:
    """Six frames; poses of 1, 2, 4 and 5."""
    root = tmp_path_factory.mktemp("kitti360")
    write_calibration(root / "calibration")
    write_drive(root, world, 6, [1, 2, 4, 5])
    return root


def _read(root: Path, **options: object) -> list[Sweep]:
    return list(open_reader("kitti_360", root, **options).sweeps())


def _in_world(sweep: Sweep) -> np.ndarray:
    points = load_sweep(sweep)[:, :3].astype(np.float64)
    return transform_points(sweep.world_SE3_ego @ sweep.ego_SE3_lidar, points)


def test_a_scan_lies_where_the_world_is(tree: Path, world: np.ndarray) -> None:
    sweeps = _read(tree)
    assert [sweep.path.stem[-1] for sweep in sweeps] == ["1", "2", "3", "4", "5"]
    for sweep, raw in zip(sweeps, _read(tree, compensate=False), strict=True):
        assert np.abs(_in_world(sweep) - world).max() < 0.002
        assert raw.motion is None
        # 0.83 m and 2 degrees in a turn: half of both where a scan begins and ends.
        assert 0.2 < np.abs(_in_world(raw) - world).max() < 1.0


def test_points_are_moved_as_the_development_kit_moves_them(tree: Path) -> None:
    """By the part atan2(y, x) / (2 pi) of the motion from this frame to the one before."""
    sweep = _read(tree)[1]
    raw = np.fromfile(sweep.path, np.float32).reshape(-1, 4)[:, :3].astype(np.float64)
    velo, before = (imu_pose(n * PERIOD) @ IMU_SE3_VELO for n in (2, 1))
    delta = np.linalg.inv(velo) @ before
    rotation = Rotation.from_matrix(delta[:3, :3]).as_rotvec()
    share = np.arctan2(raw[:, 1], raw[:, 0]) / (2 * np.pi)
    expected = Rotation.from_rotvec(share[:, None] * rotation).apply(raw) + share[:, None] * delta[:3, 3]
    np.testing.assert_allclose(load_sweep(sweep)[:, :3], expected, atol=0.01)


def test_poses_between_and_beyond(tree: Path) -> None:
    reader = open_reader("kitti_360", tree)
    for sweep in reader.sweeps():
        seconds = PERIOD * int(sweep.path.stem)
        expected = imu_pose(seconds) @ IMU_SE3_VELO
        np.testing.assert_allclose(sweep.world_SE3_ego @ sweep.ego_SE3_lidar, expected, atol=1e-6)
        assert sweep.timestamp == 1_369_730_762_000_000 + round(1e6 * seconds)
        assert sweep.world_SE3_ego[2, 2] > 0.95  # z up
    notes = " ".join(reader.metadata["notes"])
    assert f"{DRIVE}: 1 scans have a pose between" in notes
    assert "1 of 6 scans have no pose and are left out" in notes


def test_no_pose_is_made_over_a_gap(tree: Path, tmp_path: Path) -> None:
    root = _linked(tree, tmp_path)
    path = root / "data_poses" / DRIVE / "poses.txt"
    path.write_text("\n".join(line for line in path.read_text().splitlines() if line[0] in "15") + "\n")
    assert [sweep.path.stem[-1] for sweep in _read(root)] == ["1", "5"]  # 3 m apart


def test_perspective_cameras(tree: Path, world: np.ndarray) -> None:
    """x = K R_rect inv(imu_SE3_cam) inv(world_SE3_imu) X, as the development kit projects."""
    sweep = _read(tree)[1]
    names = [camera.name for camera in sweep.cameras]
    assert names == ["image_00", "image_01", "image_02"]
    world_SE3_imu = imu_pose(2 * PERIOD)
    for camera in sweep.cameras[:2]:
        assert camera.size == (1408, 376)
        assert camera.timestamp == sweep.timestamp
        uv, depth = _projected(sweep, camera.name, world)
        for n, point in enumerate(world):
            x = np.linalg.inv(world_SE3_imu @ IMU_SE3_CAM[camera.name]) @ [*point, 1]
            u, v, w = np.array([[F, 0, CX], [0, F, CY], [0, 0, 1]]) @ R_RECT[camera.name] @ x[:3]
            assert abs(depth[n] - w) < 1e-4
            if w > 1:
                np.testing.assert_allclose(uv[n], [u / w + 0.5, v / w + 0.5], atol=1e-2)


def test_fisheye_camera(tree: Path, world: np.ndarray) -> None:
    """Mei: onto the unit sphere, from xi behind its centre onto a plane, bent, then to pixels."""
    sweep = _read(tree)[1]
    uv, depth = _projected(sweep, "image_02", world)
    world_SE3_cam = imu_pose(2 * PERIOD) @ IMU_SE3_CAM["image_02"]
    seen = 0
    for n, point in enumerate(world):
        x, y, z = (np.linalg.inv(world_SE3_cam) @ [*point, 1])[:3]
        assert abs(depth[n] - z) < 1e-4
        if z < 0.5:
            continue
        length = np.sqrt(x * x + y * y + z * z)
        a, b = x / length / (z / length + MEI["xi"]), y / length / (z / length + MEI["xi"])
        r2 = a * a + b * b
        radial = 1 + MEI["k1"] * r2 + MEI["k2"] * r2 * r2
        bent_a = a * radial + 2 * MEI["p1"] * a * b + MEI["p2"] * (r2 + 2 * a * a)
        bent_b = b * radial + MEI["p1"] * (r2 + 2 * b * b) + 2 * MEI["p2"] * a * b
        expected = [FISHEYE["gamma1"] * bent_a + FISHEYE["u0"], FISHEYE["gamma2"] * bent_b + FISHEYE["v0"]]
        np.testing.assert_allclose(uv[n], np.array(expected) + 0.5, atol=1e-2)
        seen += 1
    assert seen > 20


def _projected(sweep: Sweep, name: str, world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    camera = next(camera for camera in sweep.cameras if camera.name == name)
    cam_SE3_world = np.linalg.inv(camera.world_SE3_ego @ camera.ego_SE3_cam)
    return project(transform_points(cam_SE3_world, world), camera.intrinsics, camera.lens)


def test_the_index(tree: Path, tmp_path: Path) -> None:
    assert detect(tree) == f"data_3d_raw/{DRIVE}/velodyne_points/data"
    assert kitti_raw.detect(tree) is None
    index = build_index(
        "kitti_360", tree, tmp_path / "index", "the test", Selection(("image_00",)), key_every=2
    )
    sweeps = [index[row] for row in range(len(index))]
    assert [sweep.is_key_frame for sweep in sweeps] == [True, False, True, False, True]
    assert [len(sweep.cameras) for sweep in sweeps] == [1, 0, 1, 0, 0]
    assert index.metadata["classes"]["name"] == "kitti_360"
    assert any("lacks 1 of 3 images of image_00" in note for note in index.metadata["notes"])
    assert load_sweep(sweeps[0], ("time",))[:, 4].max() < PERIOD / 2


def _linked(tree: Path, tmp_path: Path) -> Path:
    """A root that may be changed: texts are copied, the rest linked."""
    root = tmp_path / "kitti360"
    for path in tree.rglob("*.*"):
        target = root / path.relative_to(tree)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".txt", ".yaml"):
            target.write_text(path.read_text())
        elif path.is_file():
            target.symlink_to(path)
    return root


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("calibration/calib_cam_to_velo.txt", " ", " 1 ", "line 1 of the calibration has 13 numbers"),
        ("calibration/calib_cam_to_velo.txt", "0.99516", "0.5", "the transform holds no rotation"),
        ("calibration/calib_cam_to_pose.txt", "image_00", "image", "entry image_00 is missing"),
        ("calibration/perspective.txt", "R_rect_01", "R", "entry R_rect_01 is missing"),
        ("calibration/perspective.txt", "1408.0", "1400.0", r"1408 x 376 pixels, the calibration is of"),
        ("calibration/image_02.yaml", "xi:", "chi:", "entry xi is missing"),
        ("calibration/image_02.yaml", "gamma1:1", "gamma1:-1", "image_02 is no camera"),
        (f"data_poses/{DRIVE}/poses.txt", "\n2 ", "\n1 ", "frame 1 follows frame 1"),
        (f"data_poses/{DRIVE}/poses.txt", "\n2 ", "\n2 0 ", "line 2 of the pose file has 14 numbers"),
        (f"data_3d_raw/{DRIVE}/velodyne_points/timestamps.txt", "08:46:02.104", "x", "is no time"),
    ],
)
def test_broken_texts_are_named(tree: Path, tmp_path: Path, name: str, old: str, new: str, said: str) -> None:
    root = _linked(tree, tmp_path)
    text = (root / name).read_text()
    assert old in text
    (root / name).write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=said) as caught:
        _read(root)
    assert Path(name).name in str(caught.value)


def test_a_drive_without_poses(tree: Path, tmp_path: Path) -> None:
    root = _linked(tree, tmp_path)
    (root / "data_poses" / DRIVE / "poses.txt").unlink()
    with pytest.raises(DataError, match=r"no drive with scans and poses: drive \S+ has no data_poses"):
        _read(root)


def test_a_drive_with_broken_poses_beside_another(tree: Path, tmp_path: Path) -> None:
    root = _linked(tree, tmp_path)
    for folder in ("data_3d_raw", "data_poses"):
        shutil.copytree(root / folder / DRIVE, root / folder / "other_sync", symlinks=True)
    (root / "data_poses" / "other_sync" / "poses.txt").write_text("1 2 3\n")
    reader = open_reader("kitti_360", root)
    assert {sweep.scene for sweep in reader.sweeps()} == {DRIVE}
    assert any("1 of 2 drives cannot be read" in found.text for found in reader.findings)
