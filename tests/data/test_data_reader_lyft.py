"""Lyft: the real tables, points of several LiDARs in one frame, and where its tables are not nuScenes'."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from pc3d.data.build import build_index
from pc3d.data.classes import load_class_set
from pc3d.data.errors import DataError
from pc3d.data.points import load_points, load_sweep
from pc3d.data.readers import nuscenes, open_reader
from pc3d.data.readers.lyft import CUT_SHORT, POINTS, detect
from pc3d.data.records import Sweep
from pc3d.data.selection import Selection
from pc3d.geometry.boxes import points_in_boxes

TABLES = "v1.01-train/v1.01-train"


@pytest.fixture
def sample(real_data: Path) -> Path:
    return real_data / "lyft"


@pytest.fixture
def copy(sample: Path, tmp_path: Path) -> Path:
    """A root with a copy of the real tables, points that lie around the car and grey images."""
    root = tmp_path / "lyft"
    shutil.copytree(sample / TABLES, root / TABLES, copy_function=shutil.copyfile)
    shutil.copyfile(sample / "val.txt", root / "val.txt")
    for folder in ("lidar", "images"):
        (root / folder).mkdir()
    rng = np.random.default_rng(0)
    for row in _rows(root, "sample_data"):
        path = root / row["filename"]
        if path.suffix == ".bin":
            points = np.full((300, 5), [0, 0, 0, 100, 1], np.float32)
            points[:, :3] = rng.uniform(-30, 30, (300, 3))
            points.tofile(path)
        else:
            Image.new("L", (row["width"], row["height"])).save(path)
    return root


def _rows(root: Path, table: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((root / TABLES / f"{table}.json").read_text())
    return rows


def _write(root: Path, table: str, rows: list[dict[str, Any]]) -> None:
    (root / TABLES / f"{table}.json").write_text(json.dumps(rows))


def _read(root: Path, **options: object) -> list[Sweep]:
    return list(open_reader("lyft", root, **options).sweeps())


def _pose(row: dict[str, Any]) -> np.ndarray:
    """(4, 4) of a row with a quaternion w x y z and a translation."""
    w, x, y, z = row["rotation"]
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat([x, y, z, w]).as_matrix()
    pose[:3, 3] = row["translation"]
    return pose


def _world_SE3_sensor(root: Path, channel: str) -> tuple[np.ndarray, dict[str, Any]]:
    """By the rows of the tables, followed by hand."""
    calibrated = {row["token"]: row for row in _rows(root, "calibrated_sensor")}
    channels = {row["token"]: row["channel"] for row in _rows(root, "sensor")}
    poses = {row["token"]: row for row in _rows(root, "ego_pose")}
    row = next(
        row
        for row in _rows(root, "sample_data")
        if channels[calibrated[row["calibrated_sensor_token"]]["sensor_token"]] == channel
    )
    return _pose(poses[row["ego_pose_token"]]) @ _pose(calibrated[row["calibrated_sensor_token"]]), row


def test_the_real_tables_alone(sample: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    with pytest.raises(DataError, match="10 of 10 files are missing"):
        build_index("lyft", sample, out, "the test")
    index = build_index("lyft", sample, out, "the test", Selection(tables_only=True))
    sweep = index[0]
    assert (sweep.split, sweep.is_key_frame, sweep.timestamp) == ("val", True, 1556675185903083)
    assert [lidar.name for lidar in sweep.lidars] == ["LIDAR_FRONT_LEFT", "LIDAR_FRONT_RIGHT"]
    assert len(sweep.cameras) == 7
    assert sweep.boxes is not None
    assert sweep.boxes.names == ("car",) * 4
    assert sweep.boxes.num_lidar_pts.tolist() == [-1] * 4
    assert (sweep.boxes.sizes[:, 0] > sweep.boxes.sizes[:, 1]).all()
    assert index.metadata["classes"] == load_class_set("lyft").to_dict()


def test_the_real_points(sample: Path) -> None:
    for path in (sample / "lidar").iterdir():
        points = load_points(path, POINTS)
        expected = np.fromfile(path, np.float32).reshape(5, 5)[:, :4] / [1, 1, 1, 255]
        np.testing.assert_allclose(points, expected, rtol=1e-6)


def test_boxes_are_those_of_the_world(copy: Path) -> None:
    (sweep,) = _read(copy)
    lidar_SE3_world = np.linalg.inv(_world_SE3_sensor(copy, "LIDAR_TOP")[0])
    assert sweep.boxes is not None
    rng = np.random.default_rng(1)
    for n, row in enumerate(_rows(copy, "sample_annotation")):
        width, length, height = row["size"]
        world_SE3_box = _pose(row)
        local = rng.uniform(-0.7, 0.7, (400, 3)) * [length, width, height]
        local = local[(np.abs(np.abs(local) / [length, width, height] - 0.5) > 0.02).all(axis=1)]
        world = local @ world_SE3_box[:3, :3].T + world_SE3_box[:3, 3]
        ours = world @ lidar_SE3_world[:3, :3].T + lidar_SE3_world[:3, 3]
        boxes = sweep.boxes
        inside = points_in_boxes(ours, boxes.centers[n], boxes.sizes[n], boxes.yaws[n])[0]
        expected = (np.abs(local) < np.array([length, width, height]) / 2).all(axis=1)
        # Boxes stand upright in the frame of the LiDAR, which is tilted by a degree or two.
        assert (inside == expected).mean() > 0.97


def test_points_of_all_lidars_lie_in_the_frame_of_the_top_one(copy: Path) -> None:
    poses = _rows(copy, "ego_pose")
    left = next(row for row in _rows(copy, "sample_data") if "lidar0" in row["filename"])
    # The left LiDAR was read 20 ms later and 0.2 m farther on.
    at = next(row for row in poses if row["token"] == left["ego_pose_token"])
    moved = {**at, "token": "later", "translation": [at["translation"][0] + 0.2, *at["translation"][1:]]}
    _write(copy, "ego_pose", [*poses, moved])
    changed = {"ego_pose_token": "later", "timestamp": left["timestamp"] + 20_000}
    rows = [
        {**row, **changed} if row["token"] == left["token"] else row for row in _rows(copy, "sample_data")
    ]
    _write(copy, "sample_data", rows)
    (sweep,) = _read(copy)
    points = load_sweep(sweep, ("lidar",))
    world_SE3_top = _world_SE3_sensor(copy, "LIDAR_TOP")[0]
    for number, channel in enumerate(("LIDAR_TOP", "LIDAR_FRONT_LEFT", "LIDAR_FRONT_RIGHT")):
        world_SE3_sensor, row = _world_SE3_sensor(copy, channel)
        raw = np.fromfile(copy / row["filename"], np.float32).reshape(-1, 5)[:, :3]
        top_SE3_sensor = np.linalg.inv(world_SE3_top) @ world_SE3_sensor
        expected = raw @ top_SE3_sensor[:3, :3].T + top_SE3_sensor[:3, 3]
        np.testing.assert_allclose(points[points[:, 4] == number, :3], expected, atol=1e-4)
    np.testing.assert_allclose([lidar.time_offset for lidar in sweep.lidars], [0.02, 0], atol=1e-6)
    assert len(load_sweep(_read(copy, one_lidar=True)[0])) == 300


def test_the_published_file_that_is_cut_short(copy: Path) -> None:
    rows = _rows(copy, "sample_data")
    top = next(row for row in rows if "lidar1" in row["filename"])
    whole = np.fromfile(copy / top["filename"], np.float32)
    whole[:-2].tofile(copy / top["filename"])
    with pytest.raises(DataError, match="not a whole number of 20-byte points"):
        load_sweep(_read(copy)[0])
    (copy / top["filename"]).rename(copy / "lidar" / CUT_SHORT)
    top["filename"] = f"lidar/{CUT_SHORT}"
    _write(copy, "sample_data", rows)
    reader = open_reader("lyft", copy, one_lidar=True)
    (sweep,) = reader.sweeps()
    np.testing.assert_array_equal(load_sweep(sweep)[:, :3], whole.reshape(-1, 5)[:-1, :3])
    assert any(CUT_SHORT in finding.text for finding in reader.findings)


def test_layouts(copy: Path, sample: Path) -> None:
    assert detect(sample) == f"{TABLES}/sample_data.json, whose files are in lidar/ and images/"
    assert nuscenes.detect(copy) is None
    assert detect(sample.parent / "nuscenes") is None
    # The archives have sensor files beside the tables.
    for folder in ("lidar", "images"):
        (copy / folder).rename(copy / "v1.01-train" / folder)
    assert detect(copy) == f"{TABLES}/sample_data.json, whose files are in lidar/ and images/"
    assert _read(copy)[0].path.is_file()
    assert _read(copy / "v1.01-train")[0].path.is_file()
    shutil.copytree(copy / TABLES, copy / "other")
    with pytest.raises(
        DataError, match=r"2 folders of tables[\s\S]*--version other or v1.01-train/v1.01-train"
    ):
        _read(copy)
    assert len(_read(copy, version="v1.01-train")) == 1
    with pytest.raises(DataError, match="no folder of tables 'v2'"):
        _read(copy, version="v2")


def test_splits(copy: Path) -> None:
    scene = (copy / "val.txt").read_text().strip()
    (copy / "train.txt").write_text(f"{scene}\n")
    with pytest.raises(DataError, match="is in two lists"):
        _read(copy)
    (copy / "val.txt").unlink()
    assert _read(copy)[0].split == "train"
    (copy / "train.txt").write_text("another\n")
    assert _read(copy)[0].split == "none"
    (copy / TABLES / "splits.json").write_text(json.dumps({"mine": [scene]}))
    assert _read(copy)[0].split == "mine"
    for name in ("train.txt", f"{TABLES}/splits.json"):
        (copy / name).unlink()
    assert _read(copy)[0].split == "train"


def test_a_test_set_has_no_annotations(copy: Path) -> None:
    for table in ("sample_annotation", "instance"):
        (copy / TABLES / f"{table}.json").unlink()
    assert _read(copy)[0].boxes is None


def test_the_download_from_kaggle_and_tables_of_nuscenes(copy: Path, real_data: Path) -> None:
    before = _read(copy)
    (copy / TABLES).rename(copy / "train_data")
    for folder in ("lidar", "images"):
        (copy / folder).rename(copy / f"train_{folder}")
    assert detect(copy) is not None
    after = _read(copy)
    for one, other in zip(before, after, strict=True):
        assert (other.token, other.path) == (one.token, copy / "train_lidar" / one.path.name)
        assert other.path.is_file()
        paths = [*(camera.path for camera in other.cameras), *(lidar.path for lidar in other.lidars)]
        assert len(paths) > 6
        assert all(path.is_file() and path.parent.name.startswith("train_") for path in paths)
    with pytest.raises(DataError, match=r"as those of nuScenes are[\s\S]*--format nuscenes"):
        open_reader("lyft", real_data / "nuscenes")
