"""Argoverse 2 against the real log, and against a log that the test writes."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from argoverse2_logs import MOUNTS, PINHOLES, START, STEP, WORLD, pose_at, write, write_log
from pyarrow import feather
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation, Slerp

from pc3d.data.build import build_index
from pc3d.data.errors import DataError
from pc3d.data.pairing import cam_SE3_lidar
from pc3d.data.points import load_sweep
from pc3d.data.readers import Reader, open_reader
from pc3d.data.readers.argoverse2 import detect
from pc3d.geometry.boxes import points_in_boxes
from pc3d.geometry.camera import in_image, project

LOG = "7fab2350-7eaf-3b7e-a39d-6937a4c1bede"


@pytest.fixture(scope="module")
def real_log(real_data: Path) -> Path:
    folder = real_data / "argoverse2" / "sensor" / "val" / LOG
    if not folder.is_dir():
        pytest.skip(f"no real Argoverse 2 log at {folder}")
    return folder


def test_the_real_log(real_log: Path) -> None:
    reader = open_reader("argoverse2", real_log.parents[1])
    sweeps = list(reader.sweeps())
    assert len(sweeps) == len(reader) == 2
    assert not reader.findings
    for sweep in sweeps:
        assert (sweep.split, sweep.scene, sweep.cameras) == ("val", LOG, ())
        points = load_sweep(sweep, ("ring", "time"))
        table = feather.read_table(sweep.path)
        lidar = np.array([[table[name].to_numpy().astype(float) for name in "xyz"]])[0].T
        in_ego = points[:, :3] @ sweep.ego_SE3_lidar[:3, :3].T + sweep.ego_SE3_lidar[:3, 3]
        # The ego frame is on the road, 0.33 m below the rear axle.
        np.testing.assert_allclose(in_ego - [0, 0, 0.33], lidar, atol=1e-4)
        np.testing.assert_allclose(points[:, 5], table["offset_ns"].to_numpy() * 1e-9, rtol=1e-6)
        assert points[:, 3].max() == 1.0
        boxes = sweep.boxes
        assert boxes is not None
        assert len(boxes) == 81
        inside = points_in_boxes(points, boxes.centers, boxes.sizes, boxes.yaws).sum(axis=1)
        np.testing.assert_array_equal(inside, boxes.num_lidar_pts)
        # The lasers of a LiDAR are at one elevation where its rays start.
        elevation = np.degrees(np.arctan2(points[:, 2], np.linalg.norm(points[:, :2], axis=1)))
        for ring in (0, 20, 40):
            far = (points[:, 4] == ring) & (np.linalg.norm(points[:, :2], axis=1) > 20)
            assert elevation[far].std() < 0.3


def test_static_points_lie_in_one_place(real_log: Path) -> None:
    first, second = open_reader("argoverse2", real_log).sweeps()
    a, b = load_sweep(first)[:, :3], load_sweep(second)[:, :3]
    flow = feather.read_table(real_log / "flow_labels.feather")
    is_ground = flow["is_ground_0"].to_numpy()
    static = ~flow["dynamic"].to_numpy() & ~is_ground
    points = a
    a = a[static & (np.linalg.norm(a, axis=1) < 40)]
    relative = np.linalg.inv(second.world_SE3_ego @ second.ego_SE3_lidar)
    relative = relative @ first.world_SE3_ego @ first.ego_SE3_lidar
    tree = cKDTree(b)
    moved, stayed = tree.query(a @ relative[:3, :3].T + relative[:3, 3])[0], tree.query(a)[0]
    assert np.mean(moved) < 0.7 * np.mean(stayed)
    # The motion that is published with the scene flow, between ego frames.
    published = np.load(real_log / "ego_motion.npz")["ego_motion"][0]
    axle = np.eye(4)
    axle[2, 3] = 0.33
    ours = np.linalg.inv(second.world_SE3_ego @ axle) @ first.world_SE3_ego @ axle
    np.testing.assert_allclose(ours, published, atol=2e-3)
    # Around the vehicle the ground is where the ego frame has it.
    near = (np.abs(points[:, 0]) < 15) & (np.abs(points[:, 1]) < 4) & is_ground
    assert abs(np.median(points[near, 2]) + first.ego_SE3_lidar[2, 3]) < 0.1


def test_velocities_are_those_of_a_plain_loop(real_log: Path) -> None:
    first, _ = open_reader("argoverse2", real_log).sweeps()
    table = feather.read_table(real_log / "annotations.feather").to_pydict()
    poses = feather.read_table(real_log / "city_SE3_egovehicle.feather").to_pydict()
    pose_of = {
        time: (
            Rotation.from_quat([poses[k][n] for k in ("qx", "qy", "qz", "qw")]),
            np.array([poses[k][n] for k in ("tx_m", "ty_m", "tz_m")]),
        )
        for n, time in enumerate(poses["timestamp_ns"])
    }
    assert first.boxes is not None
    rotation = pose_of[int(first.path.stem)][0]
    for track, velocity in list(zip(first.boxes.tracks, first.boxes.velocities, strict=True))[::8]:
        rows = sorted(
            (table["timestamp_ns"][n], n) for n, uuid in enumerate(table["track_uuid"]) if uuid == track
        )
        at = [time for time, _ in rows].index(int(first.path.stem))
        (t0, n0), (t1, n1) = rows[max(at - 1, 0)], rows[min(at + 1, len(rows) - 1)]
        places = []
        for time, n in ((t0, n0), (t1, n1)):
            turn, shift = pose_of[time]
            places.append(turn.apply([table[k][n] for k in ("tx_m", "ty_m", "tz_m")]) + shift)
        expected = rotation.inv().apply((places[1] - places[0]) / (1e-9 * (t1 - t0)))
        np.testing.assert_allclose(velocity, expected[:2], atol=1e-5)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_log(tmp_path / "data" / "train" / "log-0")


def test_images_have_the_pose_of_their_own_time(log: Path) -> None:
    """World points land where OpenCV puts them: 12 ms lie between two poses, the images are undistorted."""
    for sweep in open_reader("argoverse2", log.parents[1]).sweeps():
        assert [camera.name for camera in sweep.cameras] == ["ring_front_center", "ring_rear_left"]
        assert sweep.boxes is None
        taken = int(sweep.path.stem) + 12_000_000
        before = taken - (taken - START) % (STEP // 20)
        track = Slerp(
            [before, before + STEP // 20],
            Rotation.concatenate([pose_at(before)[0], pose_at(before + STEP // 20)[0]]),
        )
        shift = pose_at(taken)[1]
        in_ego = track([taken])[0].inv().apply(WORLD - shift)
        points = load_sweep(sweep)
        for camera in sweep.cameras:
            assert camera.timestamp == taken // 1000
            rotation, t = MOUNTS[camera.name]
            cam = (in_ego - t) @ rotation
            f, cx, cy = PINHOLES[camera.name]
            K = np.array([[f, 0.0, cx], [0.0, f, cy], [0.0, 0.0, 1.0]])
            expected = cv2.projectPoints(cam, np.zeros(3), np.zeros(3), K, None)[0][:, 0] + 0.5
            to_cam = cam_SE3_lidar(sweep, camera)
            ours, depth = project(points[:, :3] @ to_cam[:3, :3].T + to_cam[:3, 3], camera.intrinsics)
            seen = (depth > 5) & in_image(expected, camera.size)
            assert seen.sum() > 10
            # float16 points: up to 3 cm at 60 m.
            assert np.abs(ours - expected)[seen].max() < 0.2


def test_the_lidar_data_set_and_logs_that_lack_something(log: Path, tmp_path: Path) -> None:
    """No images, no calibration of cameras, no annotations; a log without poses is left out and named."""
    shutil.copytree(log, log.parent / "log-1")
    shutil.rmtree(log.parent / "log-1" / "sensors" / "cameras")
    (log.parent / "log-1" / "calibration" / "intrinsics.feather").unlink()
    shutil.copytree(log, log.parent / "log-2")
    (log.parent / "log-2" / "city_SE3_egovehicle.feather").unlink()
    assert detect(log.parents[1]) is not None
    assert detect(log / "sensors" / "cameras") is None
    index = build_index("argoverse2", log.parents[1], tmp_path / "index", "the test", key_every=2)
    assert len(index) == 6
    sweeps = [index[row] for row in range(6)]
    assert [len(sweep.cameras) for sweep in sweeps] == [2, 0, 2, 0, 0, 0]
    assert {sweep.scene for sweep in sweeps} == {"log-0", "log-1"}
    reader = open_reader("argoverse2", log.parents[1])
    list(reader.sweeps())
    assert "log-2 has no city_SE3_egovehicle.feather" in reader.findings[0].text
    with pytest.raises(DataError, match="compensated its points for motion already"):
        build_index("argoverse2", log, tmp_path / "other", "the test", compensate_motion=True)
    (log / "calibration" / "egovehicle_SE3_sensor.feather").write_bytes(b"ARROW1\0\0 and no more")
    with pytest.raises(DataError, match="egovehicle_SE3_sensor"):
        list(open_reader("argoverse2", log).sweeps())
    with pytest.raises(DataError, match="there is no log"):
        open_reader("argoverse2", log / "sensors")


ONE_BOX = {
    **dict.fromkeys(("qx", "qy", "qz", "ty_m", "tz_m"), 0.0),
    **dict.fromkeys(("qw", "length_m", "width_m", "height_m"), 1.0),
    "tx_m": 9.0,
    "category": "BUS",
    "track_uuid": "a",
    "num_interior_pts": 3,
}


def _annotate(log: Path, *times: int) -> None:
    columns = {name: pa.array([value] * len(times), pa.scalar(value).type) for name, value in ONE_BOX.items()}
    write(log / "annotations.feather", timestamp_ns=pa.array(times, pa.int64()), **columns)


def _warnings(reader: Reader) -> list[str]:
    return [f"{found.name}: {found.text}" for found in reader.findings if found.state == "warning"]


def test_a_sweep_outside_the_times_of_a_cut_table_has_no_boxes_rather_than_none_around(log: Path) -> None:
    _annotate(log, START, START + 2 * STEP)
    reader = open_reader("argoverse2", log)
    boxes = [sweep.boxes for sweep in reader.sweeps()]
    assert [None if one is None else len(one) for one in boxes] == [1, 0, 1]
    assert not _warnings(reader)
    _annotate(log, START, START + STEP)
    reader = open_reader("argoverse2", log)
    boxes = [sweep.boxes for sweep in reader.sweeps()]
    assert [None if one is None else len(one) for one in boxes] == [1, 1, None]
    (text,) = _warnings(reader)
    assert text.startswith("boxes: 1 of 3 sweeps are outside the times of annotations.feather")
    assert str(START + 2 * STEP) in text
    _annotate(log)
    reader = open_reader("argoverse2", log)
    assert [sweep.boxes for sweep in reader.sweeps()] == [None] * 3
    assert "3 of 3" in _warnings(reader)[0]


def test_a_damaged_table_costs_what_it_says_and_no_more(log: Path) -> None:
    other = Path(shutil.copytree(log, log.parent / "log-1"))
    write(log / "annotations.feather", timestamp_ns=[START], category=["BUS"])
    _annotate(other, START, START + 2 * STEP)
    (other / "calibration" / "intrinsics.feather").write_bytes(b"ARROW1")
    reader = open_reader("argoverse2", log.parent)
    sweeps = list(reader.sweeps())
    assert [(len(s.cameras), s.boxes is None) for s in sweeps] == [(2, True)] * 3 + [(0, False)] * 3
    cameras, tables = _warnings(reader)
    assert "1 of 2 intrinsics.feather of logs cannot be read" in cameras
    assert "1 of 2 annotations.feather of logs cannot be read and were left out, first: log-0" in tables
    assert "no column 'tx_m'" in tables
    poses = log / "city_SE3_egovehicle.feather"
    poses.write_bytes(poses.read_bytes()[:100])
    reader = open_reader("argoverse2", log.parent)
    assert {sweep.scene for sweep in reader.sweeps()} == {"log-1"}
    assert "logs: 1 of 2 logs cannot be read and were left out, first: log-0" in _warnings(reader)[0]


def test_missing_and_nearly_named_annotations_are_said(log: Path) -> None:
    other = Path(shutil.copytree(log, log.parent / "log-1"))
    _annotate(other, START, START + 2 * STEP)
    (log / "annotation.feather").touch()
    reader = open_reader("argoverse2", log.parent)
    list(reader.sweeps())
    near, missing = _warnings(reader)
    assert "annotation.feather is not read, annotations.feather would be" in near
    assert "1 of 2 annotations.feather of logs are missing, first: log-0" in missing
