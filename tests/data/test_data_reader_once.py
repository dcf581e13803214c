"""ONCE on a tree of the published layout: a world that points, boxes, poses and images agree with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from once_tree import BOX, RAW_SE3_CAM, SIZE, START, K, world_points, write_sequence

from pc3d.data.build import build_index
from pc3d.data.classes import load_class_set
from pc3d.data.errors import DataError
from pc3d.data.points import load_sweep
from pc3d.data.readers import open_reader
from pc3d.data.readers.once import _height, detect
from pc3d.data.records import Sweep
from pc3d.data.selection import Selection
from pc3d.geometry.boxes import points_in_boxes
from pc3d.geometry.camera import project


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_sequence(tmp_path / "once")
    return tmp_path / "once"


def _read(root: Path, **options: object) -> list[Sweep]:
    return list(open_reader("once", root, **options).sweeps())


def _change(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = root / "data/000076/000076.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_scans_lie_in_one_world_with_x_ahead(root: Path) -> None:
    sweeps = _read(root)
    assert [sweep.timestamp for sweep in sweeps] == [1000 * START + 500_000 * step for step in range(4)]
    for sweep in sweeps:
        points = load_sweep(sweep)[:, :3].astype(np.float64)
        pose = sweep.world_SE3_ego @ sweep.ego_SE3_lidar
        np.testing.assert_allclose(points @ pose[:3, :3].T + pose[:3, 3], world_points(), atol=1e-4)
        raw = np.fromfile(sweep.path, np.float32).reshape(-1, 4)
        np.testing.assert_allclose(points, np.column_stack([-raw[:, 1], raw[:, 0], raw[:, 2]]), atol=1e-5)
        np.testing.assert_allclose(load_sweep(sweep)[:, 3], raw[:, 3] / 255, atol=1e-6)
    # The LiDAR is at z = 2 of a world whose road is at 0, and the vehicle drives along its x axis.
    assert abs(sweeps[0].ego_SE3_lidar[2, 3] - 2) < 0.05
    assert np.abs([sweep.world_SE3_ego[2, 3] for sweep in sweeps]).max() < 0.05
    step = np.linalg.inv(sweeps[0].world_SE3_ego) @ sweeps[1].world_SE3_ego[:, 3]
    assert step[0] > 0.39


def test_boxes_hold_the_points_that_they_held(root: Path) -> None:
    sweep = _read(root)[0]
    rng = np.random.default_rng(2)
    raw = np.array(BOX[:3]) + rng.uniform(-3, 3, (500, 3))
    boxes = sweep.boxes
    assert boxes is not None
    turned = np.column_stack([-raw[:, 1], raw[:, 0], raw[:, 2]])
    inside = points_in_boxes(turned, boxes.centers, boxes.sizes, boxes.yaws)[0]
    for n, (x, y, z) in enumerate(raw - BOX[:3]):
        along = np.cos(BOX[6]) * x + np.sin(BOX[6]) * y
        across = np.cos(BOX[6]) * y - np.sin(BOX[6]) * x
        assert inside[n] == (abs(along) <= 2.2 and abs(across) <= 0.9 and abs(z) <= 0.8)
    assert inside.sum() > 20
    assert abs(boxes.yaws[0] - 0.3) < 1e-9
    assert [sweep.boxes is None for sweep in _read(root)] == [False, False, True, True]


@pytest.mark.parametrize("distorted", [False, True])
def test_images(root: Path, distorted: bool) -> None:
    """inv(cam_to_velo), then K, as the development kit projects; its lens by OpenCV."""
    cv2 = pytest.importorskip("cv2")
    sweep = _read(root, distorted=distorted)[0]
    raw = np.fromfile(sweep.path, np.float32).reshape(-1, 4)[:, :3].astype(np.float64)
    points = load_sweep(sweep)[:, :3].astype(np.float64) + sweep.ego_SE3_lidar[:3, 3]
    assert [camera.name for camera in sweep.cameras] == list(RAW_SE3_CAM)
    for camera in sweep.cameras:
        assert camera.size == SIZE
        cam_SE3_ego = np.linalg.inv(camera.ego_SE3_cam)
        uv, _ = project(points @ cam_SE3_ego[:3, :3].T + cam_SE3_ego[:3, 3], camera.intrinsics, camera.lens)
        cam_SE3_raw = np.linalg.inv(RAW_SE3_CAM[camera.name])
        seen = raw @ cam_SE3_raw[:3, :3].T + cam_SE3_raw[:3, 3]
        ahead = (seen[:, 2] > 1) & (np.abs(seen[:, :2]) < 0.8 * seen[:, 2:]).all(axis=1)
        bend = np.array([-0.3, 0.1, 0, 0]) if distorted else np.zeros(4)
        expected = cv2.projectPoints(seen[ahead], np.zeros(3), np.zeros(3), K, bend)[0][:, 0]
        assert ahead.sum() > 20
        np.testing.assert_allclose(uv[ahead], expected + 0.5, atol=1e-2)


def test_frames_without_a_pose(root: Path) -> None:
    expected = _read(root)[1].world_SE3_ego

    def drop(content: dict[str, Any]) -> None:
        content["frames"][1]["pose"] = [0] * 7
        content["frames"][3]["pose"] = []

    _change(root, drop)
    reader = open_reader("once", root)
    sweeps = list(reader.sweeps())
    # Between two that are 0.8 m apart, and beyond the last.
    assert [sweep.timestamp // 1000 - START for sweep in sweeps] == [0, 500, 1000]
    np.testing.assert_allclose(sweeps[1].world_SE3_ego, expected, atol=1e-2)
    assert f"000076/{START + 1500}" in reader.findings[0].text
    _change(root, lambda content: [row.pop("pose") for row in content["frames"]])
    reader = open_reader("once", root)
    assert all((sweep.world_SE3_ego == np.eye(4)).all() for sweep in reader.sweeps())
    assert "1 of 1 sequences have no poses" in reader.findings[0].text


def test_splits_and_the_index(root: Path, tmp_path: Path) -> None:
    for name in ("000080", "000099"):
        write_sequence(root, name, 1)
    lists = root / "ImageSets"
    lists.mkdir()
    (lists / "raw_large.txt").write_text("000076\n000080\n")
    (lists / "val.txt").write_text("000080")
    assert detect(root) in {f"data/{name}/lidar_roof" for name in ("000076", "000080", "000099")}
    index = build_index("once", root, tmp_path / "index", "the test", Selection(cameras=()))
    splits = {index[row].scene: index[row].split for row in range(len(index))}
    assert splits == {"000076": "raw_large", "000080": "val", "000099": "none"}
    assert index.metadata["classes"] == load_class_set("once").to_dict()


def test_the_height_of_the_lidar_in_real_scans(real_data: Path) -> None:
    """Of KITTI: 1.73 m above the road."""
    for path in sorted((real_data / "semantic_kitti").rglob("*.bin")):
        assert abs(_height(path) - 1.73) < 0.1


def test_what_the_first_scan_says_can_be_given(root: Path) -> None:
    sweep = _read(root, lidar_height=1.9, intensity=510)[0]
    assert sweep.ego_SE3_lidar[2, 3] == 1.9
    assert load_sweep(sweep)[:, 3].max() < 0.51
    np.full((10, 4), 5, np.float32).tofile(sweep.path)
    with pytest.raises(DataError, match=r"no road in the first scan[\s\S]*--lidar-height"):
        open_reader("once", root)


def test_intensity_and_distortion_are_not_assumed(tmp_path: Path) -> None:
    write_sequence(tmp_path, steps=1, scale=1.0)
    reader = open_reader("once", tmp_path)
    (sweep,) = reader.sweeps()
    assert sweep.lidar_format == "bin:x,y,z,intensity/1"
    assert "the calibration has distortion of cam01, cam05, which is not used" in reader.findings[0].text
    points = np.fromfile(sweep.path, np.float32).reshape(-1, 4)
    points[:, 3] *= 4095
    points.tofile(sweep.path)
    with pytest.raises(DataError, match=r"intensity goes up to \d+[\s\S]*--intensity FULL"):
        open_reader("once", tmp_path)
    (sweep,) = open_reader("once", tmp_path, intensity=4095).sweeps()
    assert load_sweep(sweep)[:, 3].max() <= 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["frames"][0].update(frame_id="12"), r"frame_id is '12', expected 13 digits"),
        (lambda c: c["frames"][0].update(frame_id=c["frames"][1]["frame_id"]), "same frame_id"),
        (lambda c: c["frames"][0].update(pose=[1, 2, 3]), r"pose is \[1, 2, 3\]"),
        (lambda c: c["frames"][0].update(pose=[1, 1, 0, 0, 5, 5, 5]), "expected a unit quaternion x y z w"),
        (lambda c: c["frames"][0]["annos"].update(names=[]), "0 names and 1 boxes"),
        (lambda c: c["frames"][0]["annos"].update(boxes_3d=[[1] * 6]), "boxes_3d is"),
        (lambda c: c["frames"][0]["annos"]["boxes_3d"][0].__setitem__(3, -1), "the size is out of range"),
        (lambda c: c["calib"]["cam01"].pop("cam_intrinsic"), "cam_intrinsic is None"),
        (lambda c: c["calib"]["cam01"]["cam_to_velo"][0].__setitem__(0, 5), "cam_to_velo holds no rotation"),
        (lambda c: c.pop("frames"), "`frames` is no list"),
    ],
)
def test_broken_files_are_named(root: Path, change: Callable[[dict[str, Any]], object], said: str) -> None:
    _change(root, change)
    with pytest.raises(DataError, match=said) as caught:
        _read(root)
    assert "000076.json" in str(caught.value)


def test_no_sequence_and_no_json(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no sequence with lidar_roof"):
        open_reader("once", tmp_path)
    (root / "data/000076/000076.json").write_text("{")
    with pytest.raises(DataError, match=r"sequence file is no JSON[\s\S]*000076.json"):
        open_reader("once", root)
    # Beside a sound sequence it is left out, the first as any other.
    write_sequence(root, "000080")
    write_sequence(root, "000090")
    (root / "data/000090/000090.json").write_text("{")
    reader = open_reader("once", root)
    assert {sweep.scene for sweep in reader.sweeps()} == {"000080"}
    assert any("2 of 3 sequences cannot be read" in found.text for found in reader.findings)
