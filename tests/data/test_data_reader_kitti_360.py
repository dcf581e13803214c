"""KITTI-360 on a tree of the published layout with the published rig: a world that each file agrees with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.linalg import expm
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


def _matrix(rows: list[float]) -> np.ndarray:
    return np.vstack([np.reshape(rows, (3, 4)), [0, 0, 0, 1]])


def _rotation(axis: list[float]) -> np.ndarray:
    x, y, z = axis
    return expm(np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]))


def _twist(v: list[float], w: list[float]) -> np.ndarray:
    x, y, z = w
    return np.array([[0, -z, y, v[0]], [z, 0, -x, v[1]], [-y, x, 0, v[2]], [0, 0, 0, 0]])


# The vehicle drives 8 m/s and turns; x forward, y right, z down in a world with z up.
WORLD_SE3_IMU_0 = np.array([[0.8, 0.6, 0, 500], [0.6, -0.8, 0, 3500], [0, 0, -1, 116], [0, 0, 0, 1]])
IMU_TWIST = _twist([8.0, 0.05, 0.02], [0.01, -0.02, 0.35])
IMU_SE3_VELO = _matrix(POSE_SE3_CAM0) @ np.linalg.inv(_matrix(VELO_SE3_CAM0))
R_RECT = {"image_00": _rotation([0.004, -0.01, 0.006]), "image_01": _rotation([-0.002, 0.005, 0.003])}
IMU_SE3_CAM = {
    "image_00": _matrix(POSE_SE3_CAM0),
    "image_01": _matrix(POSE_SE3_CAM0)
    @ np.array([[1, 0, 0, 0.594], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    # Looks to the left: z of the camera along -y of the vehicle.
    "image_02": np.array([[1.0, 0, 0, 0.7], [0, 0, -1, -0.6], [0, 1, 0, -0.6], [0, 0, 0, 1]]),
}


def _imu_pose(seconds: float) -> np.ndarray:
    return WORLD_SE3_IMU_0 @ expm(seconds * IMU_TWIST)


def _measured(world: np.ndarray, seconds: float) -> np.ndarray:
    """(P, 4) a raw scan: each point in the Velodyne when it faces it, turning clockwise."""
    rows = []
    for point in world:
        turn = 0.0
        for _ in range(6):  # the direction depends on the time, which depends on the direction
            pose = _imu_pose(seconds + turn * PERIOD) @ IMU_SE3_VELO
            x, y, z = pose[:3, :3].T @ (point - pose[:3, 3])
            turn = -np.arctan2(y, x) / (2 * np.pi)
        rows.append([x, y, z, 0.5])
    return np.array(rows, dtype=np.float32)


def _world_points() -> np.ndarray:
    rng = np.random.default_rng(0)
    velo = WORLD_SE3_IMU_0 @ IMU_SE3_VELO
    around = np.column_stack(
        [rng.uniform(-40, 40, 150), rng.uniform(-20, 20, 150), rng.uniform(-1.7, 4, 150)]
    )
    # Behind, where a scan begins and ends, the side of a point is a matter of rounding.
    around = around[np.abs(np.arctan2(around[:, 1], around[:, 0])) < 2.6]
    return around @ velo[:3, :3].T + velo[:3, 3]


def _line(values: object) -> str:
    return " ".join(f"{value:.10f}" for value in np.ravel(values))


def _write_calibration(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "calib_cam_to_velo.txt").write_text(_line(VELO_SE3_CAM0) + "\n")
    lines = [f"{name}: {_line(pose[:3])}" for name, pose in IMU_SE3_CAM.items()]
    (folder / "calib_cam_to_pose.txt").write_text("\n".join(lines) + "\n")
    lines = ["calib_time: 2014-04-04 15:33:00"]
    for name, shift in (("00", 0.0), ("01", -328.318735)):
        lines.append(f"S_rect_{name}: 1408.000000 376.000000")
        lines.append(f"R_rect_{name}: {_line(R_RECT[f'image_{name}'])}")
        lines.append(f"P_rect_{name}: {_line([[F, 0, CX, shift], [0, F, CY, 0], [0, 0, 1, 0]])}")
    (folder / "perspective.txt").write_text("\n".join(lines) + "\n")
    numbers = "\n".join(f"   {name}:{value}" for name, value in (MEI | FISHEYE).items())
    (folder / "image_02.yaml").write_text(
        "%YAML:1.0\n---\nmodel_type: MEI\ncamera_name: image_02\nimage_width: 1400\nimage_height: 1400\n"
        f"mirror_parameters:\n{numbers}\n"
    )


def _write_drive(root: Path, world: np.ndarray, frames: int, posed: list[int]) -> None:
    raw = root / "data_3d_raw" / DRIVE / "velodyne_points"
    (raw / "data").mkdir(parents=True)
    stamps = [f"2013-05-28 08:46:{2 + n * PERIOD:012.9f}" for n in range(frames)]
    (raw / "timestamps.txt").write_text("\n".join(stamps) + "\n")
    for number in range(frames):
        _measured(world, number * PERIOD).tofile(raw / "data" / f"{number:010d}.bin")
    poses = root / "data_poses" / DRIVE
    poses.mkdir(parents=True)
    lines = [f"{number} {_line(_imu_pose(number * PERIOD)[:3])}" for number in posed]
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


@pytest.fixture(scope="module")
def world() -> np.ndarray:
    return _world_points()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, world: np.ndarray) -> Path:
    """Six frames; poses of 1, 2, 4 and 5."""
    root = tmp_path_factory.mktemp("kitti360")
    _write_calibration(root / "calibration")
    _write_drive(root, world, 6, [1, 2, 4, 5])
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
    velo, before = (_imu_pose(n * PERIOD) @ IMU_SE3_VELO for n in (2, 1))
    delta = np.linalg.inv(velo) @ before
    rotation = Rotation.from_matrix(delta[:3, :3]).as_rotvec()
    share = np.arctan2(raw[:, 1], raw[:, 0]) / (2 * np.pi)
    expected = Rotation.from_rotvec(share[:, None] * rotation).apply(raw) + share[:, None] * delta[:3, 3]
    np.testing.assert_allclose(load_sweep(sweep)[:, :3], expected, atol=0.01)


def test_poses_between_and_beyond(tree: Path) -> None:
    reader = open_reader("kitti_360", tree)
    for sweep in reader.sweeps():
        seconds = PERIOD * int(sweep.path.stem)
        expected = _imu_pose(seconds) @ IMU_SE3_VELO
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
    world_SE3_imu = _imu_pose(2 * PERIOD)
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
    world_SE3_cam = _imu_pose(2 * PERIOD) @ IMU_SE3_CAM["image_02"]
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
