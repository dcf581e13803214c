"""Readers against the real samples and the devkit; one clear error for what is missing or broken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pc3d.data.errors import DataError
from pc3d.data.points import load_points
from pc3d.data.readers import open_reader
from pc3d.data.readers.json_tables import stream_rows
from pc3d.data.readers.nuscenes_boxes import track_velocities
from pc3d.geometry.boxes import points_in_boxes


@pytest.fixture
def tables(real_data: Path, tmp_path: Path) -> Path:
    """A root with a copy of the real tables, without sensor files."""
    shutil.copytree(real_data / "nuscenes" / "v1.0-mini", tmp_path / "v1.0-mini")
    return tmp_path


def _edit(root: Path, table: str, row: int, **changes: Any) -> None:
    path = root / "v1.0-mini" / f"{table}.json"
    path.chmod(0o644)
    rows = json.loads(path.read_text())
    rows[row].update(changes)
    path.write_text(json.dumps(rows))


def _read(root: Path, version: str = "v1.0-mini") -> list:
    return list(open_reader("nuscenes", root, version=version).sweeps())


def test_the_real_key_frame(real_data: Path) -> None:
    (sweep,) = _read(real_data / "nuscenes")
    assert sweep.scene == "scene-0061"
    assert sweep.split == "mini_train"
    assert sweep.is_key_frame
    assert [camera.name for camera in sweep.cameras] == sorted(camera.name for camera in sweep.cameras)
    # Every camera has a pose of its own: the car moved between the exposures.
    moved = [np.linalg.norm((c.world_SE3_ego - sweep.world_SE3_ego)[:3, 3]) for c in sweep.cameras]
    assert len(set(moved)) == 6
    assert 0.2 < max(moved) < 0.5
    assert sweep.boxes is not None
    points = load_points(sweep.path, sweep.lidar_format)
    boxes = sweep.boxes
    inside = points_in_boxes(points, boxes.centers, boxes.sizes, boxes.yaws).sum(axis=1)
    assert np.abs(inside - boxes.num_lidar_pts).mean() < 0.5
    # A car is longer than wide, and a wrong yaw would lose its points.
    cars = np.array([name == "vehicle.car" for name in boxes.names])
    assert (boxes.sizes[cars, 0] > boxes.sizes[cars, 1]).all()
    assert np.isnan(boxes.velocities).all()


def test_the_devkit_draws_the_same_boxes_and_cameras(real_data: Path) -> None:
    nuscenes = pytest.importorskip("nuscenes")
    nusc = nuscenes.NuScenes("v1.0-mini", str(real_data / "nuscenes"), verbose=False)
    (sweep,) = _read(real_data / "nuscenes")
    _, expected, _ = nusc.get_sample_data(sweep.token)
    assert sweep.boxes is not None
    for n, box in enumerate(expected):
        np.testing.assert_allclose(sweep.boxes.centers[n], box.center, atol=1e-6)
        np.testing.assert_allclose(sweep.boxes.sizes[n], box.wlh[[1, 0, 2]])
        heading = box.rotation_matrix[:, 0]
        assert np.cos(sweep.boxes.yaws[n] - np.arctan2(heading[1], heading[0])) > 1 - 1e-9
        assert sweep.boxes.names[n] == box.name
    data = nusc.get("sample", sweep.sample_token)["data"]
    for camera in sweep.cameras:
        path, _, K = nusc.get_sample_data(data[camera.name])
        assert camera.path.resolve() == Path(path).resolve()
        np.testing.assert_allclose(camera.intrinsics - K, [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])


def test_velocities_are_the_devkits() -> None:
    nuscenes = pytest.importorskip("nuscenes")
    times = [0, 500_000, 1_000_000, 3_500_000, 4_000_000, 9_000_000]
    rng = np.random.default_rng(0)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    links = [(-1, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, -1), (-1, -1)]
    translation = rng.normal(size=(7, 3))
    for number, (before, after) in enumerate(links):
        token = [f"a{before}" if before >= 0 else "", f"a{after}" if after >= 0 else ""]
        rows["sample_annotation", f"a{number}"] = {
            "prev": token[0],
            "next": token[1],
            "translation": translation[number],
            "sample_token": f"s{number}",
        }
        rows["sample", f"s{number}"] = {"timestamp": times[number % 6]}

    class Tables:
        def get(self, table: str, token: str) -> dict[str, Any]:
            return rows[table, token]

    seconds = 1e-6 * np.array([times[number % 6] for number in range(7)])
    velocity = track_velocities(translation, seconds, np.array(links))
    expected = [nuscenes.NuScenes.box_velocity(Tables(), f"a{number}") for number in range(7)]
    np.testing.assert_allclose(velocity, expected)
    assert np.isnan(velocity).all(axis=1).tolist() == [False, False, False, False, True, True, True]


def test_splits_come_from_the_custom_file(tables: Path) -> None:
    path = tables / "v1.0-mini" / "splits.json"
    path.write_text(json.dumps({"mine": ["scene-0061"], "other": ["scene-0061", "scene-1"]}))
    assert _read(tables)[0].split == "mine"
    path.write_text(json.dumps({"other": []}))
    assert _read(tables)[0].split == "none"
    path.write_text(json.dumps({"other": ["scene-61"]}))
    with pytest.raises(DataError, match=r"'scene-61', which is not there; did you mean 'scene-0061'"):
        _read(tables)
    path.write_text("{")
    with pytest.raises(DataError, match=r"cannot be read[\s\S]*splits.json"):
        _read(tables)


def test_wrong_root_and_version(tables: Path) -> None:
    with pytest.raises(DataError, match=r"no version folder 'v1.0-trainval'[\s\S]*--version v1.0-mini"):
        _read(tables, "v1.0-trainval")
    with pytest.raises(DataError, match="name the folder that holds"):
        _read(tables / "v1.0-mini")


@pytest.mark.parametrize("table", ["sample_data", "ego_pose", "sample_annotation", "scene", "category"])
def test_a_missing_or_truncated_table_is_named(tables: Path, table: str) -> None:
    path = tables / "v1.0-mini" / f"{table}.json"
    text = path.read_text()
    path.unlink()
    with pytest.raises(DataError, match=rf"cannot be read[\s\S]*{table}.json"):
        _read(tables)
    path.write_text(text[: len(text) // 2])
    with pytest.raises(DataError, match=rf"truncated[\s\S]*{table}.json"):
        _read(tables)
    path.write_text("{}")
    with pytest.raises(DataError, match=rf"no JSON array|not a JSON array[\s\S]*{table}.json"):
        _read(tables)


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("sample_data", "sample_token"),
        ("sample_data", "ego_pose_token"),
        ("sample_data", "calibrated_sensor_token"),
        ("calibrated_sensor", "sensor_token"),
        ("sample", "scene_token"),
        ("sample_annotation", "instance_token"),
        ("sample_annotation", "sample_token"),
        ("sample_annotation", "next"),
        ("instance", "category_token"),
    ],
)
def test_a_dangling_token_is_named(tables: Path, table: str, column: str) -> None:
    _edit(tables, table, 0, **{column: "nobody"})
    with pytest.raises(DataError, match=r"nobody|category|leads nowhere"):
        _read(tables)


def test_a_broken_rotation_is_named(tables: Path) -> None:
    _edit(tables, "ego_pose", 0, rotation=[0, 0, 0, 0])
    with pytest.raises(DataError, match=r"'rotation' is \[0, 0, 0, 0\][\s\S]*ego_pose.json, row 0"):
        _read(tables)


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
def test_tables_stream_in_any_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr("pc3d.data.readers.json_tables._CHUNK", chunk)
    rows = [{"a": n, "t": [1.5, -2], "s": 'x"]},[{' * n} for n in range(5)]
    for indent in (None, 0, 2):
        (tmp_path / "t.json").write_text(json.dumps(rows, indent=indent))
        assert list(stream_rows(tmp_path / "t.json")) == rows
    (tmp_path / "t.json").write_text(" []\n")
    assert list(stream_rows(tmp_path / "t.json")) == []
    (tmp_path / "t.json").write_text("[1]")
    with pytest.raises(DataError, match="no row"):
        list(stream_rows(tmp_path / "t.json"))


def test_the_real_kitti_drive(real_data: Path) -> None:
    reader = open_reader("kitti_raw", real_data / "kitti_raw")
    sweeps = list(reader.sweeps())
    assert len(reader) == len(sweeps) == 10
    assert {sweep.split for sweep in sweeps} == {"train"}
    assert np.diff([sweep.timestamp for sweep in sweeps]).tolist() == [100_000] * 9
    assert any("identity" in note for note in reader.metadata["notes"])
    camera = sweeps[0].cameras[0]
    assert camera.size == (1242, 375)
    # P_rect_02 of the file, applied to a point by hand, agrees up to the half pixel.
    P = np.array([721.5377, 0, 609.5593, 44.85728, 0, 721.5377, 172.854, 0.2163791, 0, 0, 1, 0.002745884])
    velo = np.array([15.0, 2.0, -1.0, 1.0])
    lines = (real_data / "kitti_raw" / "2011_09_26" / "calib_velo_to_cam.txt").read_text().splitlines()
    R, T = (np.array(line.split()[1:], float) for line in lines if line[:2] in ("R:", "T:"))
    cam_to_cam = (real_data / "kitti_raw" / "2011_09_26" / "calib_cam_to_cam.txt").read_text().splitlines()
    rect = next(np.array(line.split()[1:], float) for line in cam_to_cam if line.startswith("R_rect_00"))
    x = P.reshape(3, 4) @ [*(rect.reshape(3, 3) @ (R.reshape(3, 3) @ velo[:3] + T)), 1]
    ours = camera.intrinsics @ (np.linalg.inv(camera.ego_SE3_cam) @ sweeps[0].ego_SE3_lidar @ velo)[:3]
    np.testing.assert_allclose(ours[:2] / ours[2], x[:2] / x[2] + 0.5, atol=1e-4)


def test_kitti_errors(real_data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no drive"):
        open_reader("kitti_raw", tmp_path)
    drive = tmp_path / "date" / "drive_sync"
    for folder in ("velodyne_points", "image_02"):
        (drive / folder / "data").mkdir(parents=True)
    source = real_data / "kitti_raw" / "2011_09_26"
    shutil.copy(min(source.rglob("*.bin")), drive / "velodyne_points" / "data")
    shutil.copy(min(source.rglob("*.png")), drive / "image_02" / "data")
    with pytest.raises(DataError, match=r"calibration cannot be read[\s\S]*calib_velo_to_cam.txt"):
        list(open_reader("kitti_raw", tmp_path).sweeps())
    shutil.copy(source / "calib_velo_to_cam.txt", tmp_path / "date")
    (tmp_path / "date" / "calib_cam_to_cam.txt").write_text("R_rect_00: 1 0 0\n")
    with pytest.raises(DataError, match="R_rect_00 has 3 numbers, expected 9"):
        list(open_reader("kitti_raw", tmp_path).sweeps())
    shutil.copy(
        source / "calib_cam_to_cam.txt", tmp_path / "date" / "calib_cam_to_cam.txt", follow_symlinks=True
    )
    stamps = drive / "velodyne_points" / "timestamps.txt"
    stamps.write_text("2011-09-26 13:02:25.951199337\n")
    (sweep,) = open_reader("kitti_raw", tmp_path).sweeps()
    assert sweep.timestamp == 1317042145951199
    stamps.write_text("\n")
    with pytest.raises(DataError, match="0 timestamps, but there is a scan 0"):
        open_reader("kitti_raw", tmp_path)
    # Beside a sound drive it is left out.
    sound = shutil.copytree(drive, drive.parent / "sound_sync")
    (Path(sound) / "velodyne_points" / "timestamps.txt").unlink()
    reader = open_reader("kitti_raw", tmp_path)
    assert [sweep.scene for sweep in reader.sweeps()] == ["sound_sync"]
    assert any("1 of 2 drives cannot be read" in found.text for found in reader.findings)


def test_an_unknown_format_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'apollo'[\s\S]*nuscenes"):
        open_reader("apollo", tmp_path)


def test_the_location_of_a_scene_is_that_of_its_log(real_data: Path, tables: Path) -> None:
    reader = open_reader("nuscenes", real_data / "nuscenes", version="v1.0-mini")
    assert reader.metadata["scene_locations"] == {"scene-0061": "singapore-onenorth"}
    _edit(tables, "scene", 0, log_token="gone")
    with pytest.raises(DataError, match="not in table log"):
        _read(tables)


def test_formats_are_known_by_their_files(real_data: Path, tables: Path) -> None:
    from pc3d.data.readers import kitti_raw, nuscenes

    assert nuscenes.detect(real_data / "nuscenes") == "v1.0-mini/sample_data.json"
    assert kitti_raw.detect(real_data / "kitti_raw").endswith("velodyne_points/data")
    for name in ("kitti_object", "semantic_kitti", "lyft", "pcd"):
        assert nuscenes.detect(real_data / name) is kitti_raw.detect(real_data / name) is None
    # The only version is taken, and of several the one of the whole data set.
    assert open_reader("nuscenes", tables).metadata["version"] == "v1.0-mini"
    shutil.copytree(tables / "v1.0-mini", tables / "v1.0-other")
    with pytest.raises(DataError, match=r"'v1.0-trainval'[\s\S]*v1.0-mini or v1.0-other"):
        open_reader("nuscenes", tables)
