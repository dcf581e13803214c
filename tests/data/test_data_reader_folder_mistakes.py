"""Own folders with a mistake in them: each is refused or said, whatever the mistake would have done."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.data.classes import load_class_set
from pc3d.data.drive_splits import Drive, write_split_lists
from pc3d.data.errors import DataError
from pc3d.data.readers.folder.boxes import read_boxes
from pc3d.data.readers.folder.description import PosesEntry, read_description
from pc3d.data.readers.folder.poses import read_poses
from pc3d.data.readers.folder.reader import FolderReader
from pc3d.data.readers.folder.stamps import by_number, number_of, stem_of
from pc3d.data.survey.road import road_plane
from pc3d.geometry.rigid import invert_SE3, make_SE3

CALIBRATION = """\
stamps: {rate_hz: 10}
lidars:
  top: {columns: [x, y, z, intensity], units: m, intensity: 1, axes: x-forward, height: 1.8}
"""
BOX = "1 2 0 4 2 1.5 0.3 car\n"


def drive(root: Path, name: str = "d0", lidar: str = "top", scans: int = 3) -> Path:
    folder = root / name / lidar
    folder.mkdir(parents=True)
    points = np.random.default_rng(0).uniform(0, 30, (50, 4)) / [1, 1, 30, 30]
    for number in range(scans):
        points.astype("<f4").tofile(folder / f"{number:06d}.bin")
    return folder.parent


@pytest.fixture
def root(tmp_path: Path) -> Path:
    drive(tmp_path)
    (tmp_path / "calibration.yaml").write_text(CALIBRATION)
    return tmp_path


def findings(root: Path) -> dict[str, str]:
    reader = FolderReader(root)
    return {finding.name: f"{finding.state} {finding.text}" for finding in reader.findings}


def test_a_sound_folder_raises_nothing(root: Path) -> None:
    for folder, name in (("labels", "000001.label"), ("boxes", "000002.txt"), ("front", "000000.jpg")):
        (root / "d0" / folder).mkdir()
        (root / "d0" / folder / name).write_bytes(BOX.encode() if folder == "boxes" else bytes(50))
    (root / "d0" / "top" / "timestamps.txt").write_text("0\n")
    (root / "d0" / "top" / "._000000.bin").write_text("macOS")
    (root / "calibration.yaml").write_text(CALIBRATION + "labels: {format: uint8}\n")
    (root / "splits.json").write_text(json.dumps({"train": ["d0"]}))
    assert findings(root) == {}
    assert len(FolderReader(root)) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lidars:\n  top: {units: m}\n  top: {units: cm}\n", "the key 'top' is there twice, again in line 3"),
        ("lidars:\n  00: {units: m}\n", "quote it"),
        ("lidars: {top: }\nstamps: {rate_hz: 10, start: 5}", "unknown key 'start'"),
        ("lidars: {top: }\nclasses: 3", "classes is 3, expected text"),
        ("lidars: {top: }\nlabels: {format: 5}", "labels.format is 5, expected text"),
        ("lidars: {top: }\nlabels: {format: uint9}", "labels.format is 'uint9'; did you mean"),
        ("lidars: {top: {intensity: many}}", "lidars.top: intensity is 'many', expected a number"),
        ("stamps: us", "names no LiDAR"),
        (
            "lidars: {top: }\ncameras: {front: {intrinsics: [9, 9, 4, 4], distortion: 0.1}}",
            "cameras.front: distortion is 0.1, expected a list",
        ),
        (
            "lidars: {top: }\ncameras: {front: {intrinsics: [9, 9, 4, 4], model: mei, distortion: [1]}}",
            "cameras.front: distortion of the camera model mei",
        ),
    ],
)
def test_a_calibration_says_where_it_is_wrong(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "calibration.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=re.escape(message)):
        read_description(path)


def test_what_a_calibration_may_look_like(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text('{\n\t"stamps": {"unit": "us"},\n\t"lidars": {"top": {"intensity": "1e2"}}\n}')
    description = read_description(path)
    assert (description.stamp_unit, description.lidars[0].intensity) == ("us", 100.0)
    (tmp_path / "calibration.yaml").write_text(CALIBRATION)
    with pytest.raises(DataError, match=r"calibration.json and calibration.yaml"):
        read_description(path)


@pytest.mark.parametrize("labels", ["{1: a, 1: b}", "{1: a, '1': b}", "{1: yes}"])
def test_classes_say_each_id_once(labels: str, tmp_path: Path) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text(f"classes: [a, b, 'yes']\nlabels: {labels}\n")
    with pytest.raises(DataError, match=r"twice|quote yes"):
        load_class_set(path)


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(["", "scan_", "drive_0001_", "scan_0_", "2011_09_26_drive_0005_", "v1.", "frame"]),
    st.lists(st.integers(0, 10**6), min_size=2, max_size=8, unique=True),
    st.booleans(),
)
def test_names_that_count_keep_their_order(prefix: str, counts: list[int], padded: bool) -> None:
    paths = [Path(f"{prefix}{count:0{10 if padded else 1}d}.bin") for count in counts]
    assert list(by_number(paths)) == sorted(counts)


@pytest.mark.parametrize(
    "names",
    [
        ["2023-11-14-22-59-59", "2023-11-14-23-00-00"],
        ["20231114_225959"],
        ["2023-11-14"],
        ["1700000000_5", "1700000000_100000000"],
        ["1700000000_100", "1700000000_200000"],
        ["12.5"],
    ],
)
def test_names_that_could_be_misread_are_refused(names: list[str]) -> None:
    with pytest.raises(DataError, match=r"date|digits"):
        by_number([Path(f"{name}.bin") for name in names])


def test_parts_of_a_second() -> None:
    number = number_of(Path("lidar_1700000000_000000005.bin"))
    assert number is not None
    assert number * 10**9 == 1_700_000_000_000_000_005
    assert stem_of(Path("a_1532402927647951.pcd.bin")) == "a_1532402927647951"


def test_labels_and_boxes_without_a_scan_are_said(root: Path) -> None:
    for folder, names in (("labels", ["000000.txt", "7.label"]), ("boxes", ["000000.txt", "9.txt"])):
        (root / "d0" / folder).mkdir()
        for name in names:
            (root / "d0" / folder / name).write_text(BOX)
    found = findings(root)
    assert found["files of labels"].startswith("problem 2 of 2 files in labels/ belong to no scan")
    assert found["files of boxes"].startswith("warning 1 of 2 files in boxes/ belong to no scan")
    (root / "calibration.yaml").write_text(CALIBRATION + "boxes: objects\n")
    assert "names the folder objects/, which is in no drive" in findings(root)["files of boxes"]


@pytest.mark.parametrize("place", [("d1", "Top"), ("a/b/c/d1", "top"), ("d0/d1", "top")])
def test_a_drive_that_is_none_is_said(place: tuple[str, str], root: Path) -> None:
    drive(root, *place)
    assert "/".join(place) in findings(root)["folders"]


def test_splits_of_drives(root: Path) -> None:
    drive(root, "d1")
    path = root / "splits.json"
    path.write_text('{"train": ["d0", "d1"], "val": ["d0"]}')
    with pytest.raises(DataError, match="'d0' is in the splits"):
        FolderReader(root)
    path.write_text('{"train": ["d0"], "train": ["d1"]}')
    with pytest.raises(DataError, match="the key 'train' is there twice"):
        FolderReader(root)
    path.write_text('{"train": ["d0"]}')
    assert "1 of 2 scenes in no split: d1" in findings(root)["splits"]
    path.write_text("{}")
    assert findings(root)["splits"].startswith("warning")


def test_lists_of_another_division_are_not_left(tmp_path: Path) -> None:
    drives = [Drive(name, "", (name,), 0, np.zeros((1, 2))) for name in "ab"]
    write_split_lists(drives, {"a": "train", "b": "test"}, tmp_path, "-")
    with pytest.raises(DataError, match=r"test.txt of another division"):
        write_split_lists(drives, {"a": "train", "b": "val"}, tmp_path, "-")


def poses(path: Path, names: str, yaw: np.ndarray, entry: PosesEntry | None = None) -> np.ndarray:
    """(N,) yaw, radians, that is read of a circle of 50 m that is driven along."""
    xy = 50 * np.stack([np.sin(TURN), 1 - np.cos(TURN)], axis=1)
    rows = [f"{n},{x},{y},0,{a}" for n, ((x, y), a) in enumerate(zip(xy, yaw, strict=True))]
    path.write_text("\n".join([names, *rows]))
    track = read_poses(path, entry or PosesEntry("poses.csv", unit="s"), [0], "s")
    return np.arctan2(track.rotations[:, 1, 0], track.rotations[:, 0, 0])


TURN = np.linspace(0, 1.5, 40)


def test_angles_are_said_or_told_by_the_way(tmp_path: Path) -> None:
    path = tmp_path / "poses.csv"
    np.testing.assert_allclose(poses(path, "time,x,y,z,yaw", TURN), TURN)
    np.testing.assert_allclose(poses(path, "time,x,y,z,yaw_deg", np.rad2deg(TURN)), TURN)
    stated = PosesEntry("poses.csv", unit="s", angles="degrees")
    np.testing.assert_allclose(poses(path, "time,x,y,z,yaw", np.rad2deg(TURN), stated), TURN)
    for names, yaw, message in (
        ("time,x,y,z,yaw", np.rad2deg(TURN), "in degrees"),
        ("time,x,y,z,yaw", np.full(40, 3.0), "do not tell"),
        ("time,x,y,z,heading", TURN, "clockwise from north"),
        ("time,x,x_m,z,yaw", TURN, "columns of one meaning: x, x_m"),
    ):
        with pytest.raises(DataError, match=message):
            poses(path, names, yaw)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 0 4 2 1.5 90 car\n", "more than a turn"),
        ("1 2 0 4 2 1.5 0.3 traffic cone\n", "two words"),
        ("x,y,z,l,w,h,yaw,class,label\n1,2,0,4,2,1.5,0,car,3\n", "one meaning: class, label"),
    ],
)
def test_boxes_that_could_be_misread_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "0.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_boxes(path, np.eye(4))


def test_the_track_is_no_row_number(tmp_path: Path) -> None:
    path = tmp_path / "0.csv"
    path.write_text("id,track_id,x,y,z,l,w,h,yaw,class\n1,t7,1,2,0,4,2,1.5,0,car\n")
    assert read_boxes(path, np.eye(4)).tracks == ("t7",)


def test_a_viewpoint_is_said(root: Path) -> None:
    for path in (root / "d0" / "top").iterdir():
        rows = "\n".join("1 2 3" for _ in range(20))
        path.with_suffix(".pcd").write_text(
            "VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 20\nHEIGHT 1\n"
            f"VIEWPOINT 0 0 1.8 1 0 0 0\nPOINTS 20\nDATA ascii\n{rows}\n"
        )
        path.unlink()
    (root / "calibration.yaml").write_text(CALIBRATION.replace("columns: [x, y, z, intensity], ", ""))
    assert "VIEWPOINT 0 0 1.8" in findings(root)["files of top"]


def scene(mount: np.ndarray) -> np.ndarray:
    """Points of a road and a wall in the LiDAR frame."""
    rng = np.random.default_rng(1)
    road = np.column_stack([rng.uniform(-20, 20, (3000, 2)), rng.normal(0, 0.02, 3000)])
    wall = np.column_stack([rng.uniform(-20, 20, 3000), np.full(3000, 8.0), rng.uniform(0, 6, 3000)])
    points = np.concatenate([road, wall])
    return (points - mount[:3, 3]) @ mount[:3, :3]


def test_a_wrong_mount_shows_in_the_road() -> None:
    right = make_SE3(np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), [0.9, 0.1, 1.8])
    tilt, height = road_plane(scene(right), right) or (99, 99)
    assert tilt < 2
    assert abs(height) < 0.1
    low = right.copy()
    low[2, 3] = 0
    for wrong, expected in ((low, -1.8), (invert_SE3(right), -3.6)):
        found = road_plane(scene(right), wrong)
        assert found is not None
        assert found[1] == pytest.approx(expected, abs=0.1)
    side = right @ make_SE3(np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]), [0, 0, 0])
    found = road_plane(scene(right)[:3000], side)
    assert found is not None
    assert found[0] > 45
