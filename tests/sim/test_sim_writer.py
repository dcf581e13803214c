"""The written data set: same bytes by seed, nothing half done, tables whole, annotations counted right."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pc3d.data.errors import DataError
from pc3d.data.readers.nuscenes import NuScenesReader
from pc3d.sim.rig import nuscenes_rig
from pc3d.sim.sizes import SIZES, SimSize
from pc3d.sim.writer import MARKER, write_dataset

SMALL = SimSize(train_scenes=1, val_scenes=1, key_frames=2, sweeps_per_key_frame=1, image_size=(96, 54))
ONE = SimSize(train_scenes=1, val_scenes=0, key_frames=1, image_size=(96, 54))
REPOSITORY = Path(__file__).resolve().parents[2]


def tree_hashes(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(f.relative_to(root)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def load_tables(root: Path) -> dict[str, list[dict]]:
    return {path.stem: json.loads(path.read_text()) for path in (root / "v1.0-sim").glob("*.json")}


@pytest.fixture(scope="module")
def tables(tiny_nuscenes: Path) -> dict[str, list[dict]]:
    return load_tables(tiny_nuscenes)


def test_same_seed_same_bytes_whatever_runs_it(tmp_path: Path) -> None:
    one = tree_hashes(write_dataset(tmp_path / "one", SMALL, seed=3, workers=1))
    two = tree_hashes(write_dataset(tmp_path / "two", SMALL, seed=3, workers=2))
    assert one == two


def test_another_seed_another_drive_and_any_executor(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        given = tree_hashes(write_dataset(tmp_path / "given", ONE, seed=3, executor=pool))
    own = tree_hashes(write_dataset(tmp_path / "own", ONE, seed=3, workers=1))
    other = tree_hashes(write_dataset(tmp_path / "other", ONE, seed=4, workers=1))
    assert given == own
    sensed = {name for name in own if name.endswith((".pcd.bin", ".jpg"))}
    assert len(sensed) == 7
    assert all(own[name] != other[name] for name in sensed)


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "sim", ONE, workers=1, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_replaces_only_what_it_made(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(DataError, match="no simulated data set"):
            write_dataset(foreign, ONE, workers=1, overwrite=overwrite)
    assert (foreign / "thesis.txt").read_text() == "years of work"

    own = tmp_path / "own"
    own.mkdir()  # an empty folder is free
    write_dataset(own, ONE, seed=1, workers=1)
    before = tree_hashes(own)
    with pytest.raises(DataError, match="--force"):
        write_dataset(own, ONE, seed=2, workers=1)
    assert tree_hashes(own) == before
    write_dataset(own, ONE, seed=2, workers=1, overwrite=True)
    assert json.loads((own / MARKER).read_text())["seed"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign", "own"]


def test_unknown_size_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="tiny, demo, bench, study"):
        write_dataset(tmp_path / "sim", "huge")


def test_command_refuses_with_one_line(tiny_nuscenes: Path) -> None:
    command = [sys.executable, "data_prep/simulate.py", str(tiny_nuscenes), "--size", "tiny"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "simulated data set is there already" in result.stderr
    assert "Traceback" not in result.stderr


def test_tokens_are_unique_and_references_resolve(tables: dict[str, list[dict]]) -> None:
    known = {name: {row["token"] for row in rows} for name, rows in tables.items() if name != "splits"}
    for name, rows in tables.items():
        if name == "splits":
            continue
        assert len(known[name]) == len(rows), name
        if name != "visibility":
            assert all(re.fullmatch("[0-9a-f]{32}", token) for token in known[name]), name
        for row in rows:
            for field, value in row.items():
                if field in ("prev", "next"):
                    assert value == "" or value in known[name]
                elif match := re.fullmatch(r"(?:first_|last_)?(\w+?)_tokens?", field):
                    target = {"annotation": "sample_annotation"}.get(match[1], match[1])
                    assert set(value if isinstance(value, list) else [value]) <= known[target], field


def test_every_file_is_listed_and_there(tiny_nuscenes: Path, tables: dict[str, list[dict]]) -> None:
    listed = {row["filename"] for name in ("sample_data", "lidarseg", "map") for row in tables[name]}
    folders = ("samples", "sweeps", "lidarseg", "maps")
    there = {
        str(path.relative_to(tiny_nuscenes))
        for folder in folders
        for path in (tiny_nuscenes / folder).rglob("*")
        if path.is_file() and "expansion" not in path.parts
    }
    assert listed == there


def test_size_is_as_asked(tables: dict[str, list[dict]]) -> None:
    size = SIZES["tiny"]
    scenes = size.train_scenes + size.val_scenes
    keys = scenes * size.key_frames
    lidar = [row for row in tables["sample_data"] if row["fileformat"] == "pcd"]
    cameras = [row for row in tables["sample_data"] if row["fileformat"] == "jpg"]
    assert len(tables["scene"]) == scenes
    assert len(tables["sample"]) == len(tables["lidarseg"]) == keys
    assert sum(not row["is_key_frame"] for row in lidar) == (
        scenes * (size.key_frames - 1) * size.sweeps_per_key_frame
    )
    assert len(cameras) == 6 * keys
    assert {(row["width"], row["height"]) for row in cameras} == {size.image_size}
    splits = tables["splits"]
    assert [len(splits["sim_train"]), len(splits["sim_val"])] == [size.train_scenes, size.val_scenes]
    assert sorted(splits["sim_train"] + splits["sim_val"]) == sorted(s["name"] for s in tables["scene"])


@pytest.mark.parametrize("table", ["sample", "sample_data", "sample_annotation"])
def test_chains_ascend_in_time(tables: dict[str, list[dict]], table: str) -> None:
    rows = {row["token"]: row for row in tables[table]}
    times = {row["token"]: row["timestamp"] for row in tables["sample"]}

    def when(row: dict) -> int:
        return row["timestamp"] if "timestamp" in row else times[row["sample_token"]]

    def thread(row: dict) -> str:
        keys = ("scene_token", "instance_token", "calibrated_sensor_token")
        return next(row[key] for key in keys if key in row)

    walked = 0
    for first in (row for row in rows.values() if not row["prev"]):
        row = first
        while True:
            walked += 1
            if not row["next"]:
                break
            following = rows[row["next"]]
            assert following["prev"] == row["token"]
            assert when(following) > when(row)
            assert thread(following) == thread(row)
            row = following
    assert walked == len(rows)
    threads = {thread(row) for row in rows.values()}
    assert len(threads) == sum(not row["prev"] for row in rows.values()), "one chain for each"


def test_sample_data_carry_the_times_of_their_samples(tables: dict[str, list[dict]]) -> None:
    samples = {row["token"]: row for row in tables["sample"]}
    poses = {row["token"]: row["timestamp"] for row in tables["ego_pose"]}
    for row in tables["sample_data"]:
        sample = samples[row["sample_token"]]
        assert poses[row["ego_pose_token"]] == row["timestamp"]
        if row["is_key_frame"]:
            assert row["timestamp"] == sample["timestamp"]
        else:  # the sample that follows closest
            assert row["timestamp"] < sample["timestamp"]
            assert row["timestamp"] > samples[sample["prev"]]["timestamp"]


def rotation_of(wxyz: list[float]) -> np.ndarray:
    """v -> q v q* of a quaternion, written out by the Rodrigues formula."""
    w, *v = wxyz
    x, y, z = v
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + 2 * w * cross + 2 * cross @ cross


def test_num_lidar_pts_are_the_points_inside(tiny_nuscenes: Path, tables: dict[str, list[dict]]) -> None:
    poses = {row["token"]: row for row in tables["ego_pose"]}
    mounts = {row["token"]: row for row in tables["calibrated_sensor"]}
    clouds = {}
    for row in tables["sample_data"]:
        if row["is_key_frame"] and row["fileformat"] == "pcd":
            points = np.fromfile(tiny_nuscenes / row["filename"], dtype="<f4").reshape(-1, 5)[:, :3]
            for frame in (mounts[row["calibrated_sensor_token"]], poses[row["ego_pose_token"]]):
                points = points.astype(np.float64) @ rotation_of(frame["rotation"]).T + frame["translation"]
            clouds[row["sample_token"]] = points
    counted = []
    for row in tables["sample_annotation"]:
        local = (clouds[row["sample_token"]] - row["translation"]) @ rotation_of(row["rotation"])
        width, length, height = row["size"]
        inside = (np.abs(local) <= np.array([length, width, height]) / 2).all(axis=1)
        counted.append(int(inside.sum()))
    assert counted == [row["num_lidar_pts"] for row in tables["sample_annotation"]]
    assert np.mean(np.array(counted) > 0) > 0.5, "most annotated objects are hit"


def test_annotations_stay_in_range_and_have_at_most_one_attribute(tables: dict[str, list[dict]]) -> None:
    poses = {row["token"]: row["translation"] for row in tables["ego_pose"]}
    ego = {row["sample_token"]: poses[row["token"]] for row in tables["sample_data"] if row["is_key_frame"]}
    names = {row["token"]: row["name"] for row in tables["attribute"]}
    categories = {row["token"]: row["name"] for row in tables["category"]}
    instances = {row["token"]: row for row in tables["instance"]}
    for row in tables["sample_annotation"]:
        assert np.hypot(*np.subtract(row["translation"], ego[row["sample_token"]])[:2]) <= 80.0
        category = categories[instances[row["instance_token"]]["category_token"]]
        attributes = [names[token] for token in row["attribute_tokens"]]
        group = category.split(".")[0]
        if category in ("vehicle.bicycle", "vehicle.motorcycle"):
            assert [a.split(".")[0] for a in attributes] == ["cycle"]
        elif group == "vehicle":
            assert [a.split(".")[0] for a in attributes] == ["vehicle"]
        elif group == "movable_object":
            assert attributes == []
    counts = {row["token"]: row["nbr_annotations"] for row in tables["instance"]}
    assert sum(counts.values()) == len(tables["sample_annotation"])


def test_visibility_has_levels(tables: dict[str, list[dict]]) -> None:
    used = {row["visibility_token"] for row in tables["sample_annotation"]}
    assert {"1", "4"} <= used <= {"1", "2", "3", "4"}


def test_reader_gets_the_rig_back(tiny_nuscenes: Path) -> None:
    rig = nuscenes_rig(SIZES["tiny"].image_size)
    sweep = next(s for s in NuScenesReader(tiny_nuscenes, "v1.0-sim").sweeps() if s.is_key_frame)
    np.testing.assert_allclose(sweep.ego_SE3_lidar, rig.ego_SE3_lidar, atol=1e-9)
    assert len(sweep.cameras) == 6
    for camera in sweep.cameras:
        pose, intrinsics = rig.cameras[camera.name]
        np.testing.assert_allclose(camera.ego_SE3_cam, pose, atol=1e-9)
        np.testing.assert_allclose(camera.intrinsics, intrinsics, atol=1e-9)
        assert camera.timestamp == sweep.timestamp
