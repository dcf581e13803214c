"""Tables and files of a data set that lie."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import Fault, Place, check
from PIL import Image

Rows = list[dict[str, Any]]
Command = Callable[[Place], Sequence[str | Path]]


def index_of(place: Place, root: Path) -> list[str | Path]:
    return ["data_prep/nuscenes.py", root, "--version", "v1.0-sim", "--out", place.tmp / "index"]


def text(name: str, content: Callable[[bytes], bytes]) -> Command:
    """Index a data set of whose version folder one file has another content."""

    def command(place: Place) -> list[str | Path]:
        root = place.copy_of_data()
        path = root / "v1.0-sim" / name
        place.rewrite(path, content(path.read_bytes()))
        return index_of(place, root)

    return command


def table(name: str, change: Callable[[Rows], object]) -> Command:
    """Index a data set with a table that was changed in place."""

    def changed(content: bytes) -> bytes:
        rows = json.loads(content)
        change(rows)
        return json.dumps(rows).encode()

    return text(f"{name}.json", changed)


def last(name: str, **values: Any) -> Command:
    return table(name, lambda rows: rows[-1].update(values))


def without(name: str, column: str) -> Command:
    return table(name, lambda rows: [row.pop(column) for row in rows])


def crossed_tracks(rows: Rows) -> None:
    one, *others = [row for row in rows if row["next"]]
    one["next"] = next(row for row in others if row["instance_token"] != one["instance_token"])["next"]


def no_table(place: Place) -> list[str | Path]:
    root = place.copy_of_data()
    (root / "v1.0-sim" / "log.json").unlink()
    return index_of(place, root)


def case_without_counts(place: Place) -> list[str | Path]:
    assert place.real is not None
    path = place.real.parent / "cases" / "sample_annotation_3_rows_no_num_lidar_pts.json"
    if not path.is_file():
        pytest.skip("no such case")
    return list(text("sample_annotation.json", lambda _: path.read_bytes())(place))


NO_MATRIX = [[0.0, 0.0, 80.0], [0.0, 80.0, 45.0], [0.0, 0.0, 1.0]]
SCENE, POSE, DATA, BOX = "scene", "ego_pose", "sample_data", "sample_annotation"
TABLES = [
    (
        "an ego pose that is not finite",
        ["ego_pose.json, row", "NaN|nan"],
        last(POSE, translation=[0, float("nan"), 0]),
    ),
    (
        "a quaternion that is none",
        ["ego_pose.json, row", "unit quaternion"],
        last(POSE, rotation=[1, 1, 1, 1]),
    ),
    (
        "a focal length of 0",
        ["calibrated_sensor.json, row"],
        last("calibrated_sensor", camera_intrinsic=NO_MATRIX),
    ),
    ("a table column that is missing", ["'num_lidar_pts' is missing"], without(BOX, "num_lidar_pts")),
    ("a number that is a text", ["'size' is", "'1.9'"], last(BOX, size=["1.9", 4.5, 1.6])),
    ("a box of negative size", ["'size' is", "above 0"], last(BOX, size=[1.9, -4.5, 1.6])),
    ("a time in seconds", ["looks like seconds", "sample_data.json, row"], last(DATA, timestamp=1532402927)),
    ("a time in nanoseconds", ["looks like nanoseconds"], last(DATA, timestamp=1532402927647951000)),
    ("a time that is a text", ["microseconds since 1970"], last(DATA, timestamp="now")),
    ("a file name with ..", ["sample_data.json, row", r"no \.\."], last(DATA, filename="../../etc/passwd")),
    ("an absolute file name", ["sample_data.json, row"], last(DATA, filename="/etc/passwd")),
    (
        "a token that leads nowhere",
        ["not in table calibrated_sensor"],
        last(DATA, calibrated_sensor_token="x"),
    ),
    ("a row that is there twice", ["is there twice"], table(BOX, lambda rows: rows.append(rows[0]))),
    ("tracks that are crossed", ["another instance or not later"], table(BOX, crossed_tracks)),
    (
        "a truncated table",
        ["truncated", "sample_data.json, row"],
        text("sample_data.json", lambda c: c[:-500]),
    ),
    ("a table of no JSON", ["cannot be read", "log.json"], text("log.json", lambda _: b'[{"\xff\xfe')),
    ("JSON nested 200,000 deep", ["broken", "scene.json"], text("scene.json", lambda _: b"[" * 200_000)),
    ("a table without rows", ["no row", "scene.json"], text("scene.json", lambda _: b"[]")),
    ("a missing table", ["cannot be read", "log.json"], no_table),
    (
        "a misspelt scene in splits.json",
        ["'sim-001'", "did you mean 'sim-0001'"],
        text("splits.json", lambda content: content.replace(b"sim-0001", b"sim-001")),
    ),
    (
        "a scene in two splits",
        ["'sim-0001' is in the splits", "splits.json"],
        text("splits.json", lambda _: b'{"a": ["sim-0001", "sim-0002"], "b": ["sim-0001", "sim-0003"]}'),
    ),
]


def drive(place: Place, spoil: Callable[[Path], object], *options: str) -> list[str | Path]:
    """Index a KITTI drive of four scans, spoiled."""
    date = place.tmp / "2011_09_26"
    made = date / "2011_09_26_drive_0001_sync"
    for part in ("velodyne_points", "image_02", "oxts"):
        (made / part / "data").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(4):
        points = rng.uniform(1, 30, (200, 4)).astype(np.float32)
        points[:, 3] = rng.uniform(0, 0.99, 200)
        points.tofile(made / f"velodyne_points/data/{number:010d}.bin")
        Image.fromarray(np.zeros((37, 124, 3), np.uint8)).save(made / f"image_02/data/{number:010d}.png")
        (made / f"oxts/data/{number:010d}.txt").write_text("49.0 8.4 112.8 0.02 0.001 1.57\n")
    (made / "velodyne_points/timestamps.txt").write_text(
        "".join(f"2011-09-26 13:02:{25 + number}.951199337\n" for number in range(4))
    )
    (date / "calib_velo_to_cam.txt").write_text("R: 0 -1 0 0 0 -1 1 0 0\nT: 0 -0.08 -0.27\n")
    (date / "calib_imu_to_velo.txt").write_text("R: 1 0 0 0 1 0 0 0 1\nT: -0.8 0.3 -0.8\n")
    (date / "calib_cam_to_cam.txt").write_text(
        "R_rect_00: 1 0 0 0 1 0 0 0 1\nP_rect_02: 72 0 60 4.5 0 72 17 0.2 0 0 1 0.003\n"
    )
    spoil(made)
    return ["data_prep/kitti_raw.py", date, "--out", place.tmp / "index", *options]


def write(name: str, content: str, *options: str) -> Command:
    return lambda place: drive(place, lambda made: (made / name).write_text(content), *options)


def lost_scan(made: Path) -> None:
    (made / "velodyne_points/data/0000000001.bin").unlink()


def short_timestamps(made: Path) -> None:
    path = made / "velodyne_points/timestamps.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))


def renamed(made: Path) -> None:
    shutil.move(made / "velodyne_points/data/0000000003.bin", made / "velodyne_points/data/last.bin")


STAMPS, VELO, CAM = "velodyne_points/timestamps.txt", "../calib_velo_to_cam.txt", "../calib_cam_to_cam.txt"
KITTI = [
    (
        "KITTI: scans beyond the timestamps",
        ["3 timestamps, but there is a scan 3"],
        lambda p: drive(p, short_timestamps),
    ),
    ("KITTI: a time that is none", ["line 1 is no time"], write(STAMPS, "noon\n" * 4)),
    (
        "KITTI: time that goes backwards",
        ["goes backwards"],
        write(STAMPS, "2011-09-26 13:02:25\n" * 3 + "2011-09-26 13:02:24\n"),
    ),
    ("KITTI: a scan without a number", ["is no number", "last.bin"], lambda p: drive(p, renamed)),
    (
        "KITTI: a rotation that is none",
        ["R holds no rotation", "velo_to_cam"],
        write(VELO, "R: 1 1 0 0 1 0 0 0 1\nT: 0 0 0\n"),
    ),
    (
        "KITTI: a calibration entry that is missing",
        ["R_rect_00 is missing", "cam_to_cam"],
        write(CAM, "P_rect_02: 1\n"),
    ),
    (
        "KITTI: a pose off the earth",
        ["latitude 491"],
        write("oxts/data/0000000001.txt", "491 8.4 9 0 0 0", "--poses", "oxts"),
    ),
]

FAULTS = [Fault(name, "indexing", 2, says, command) for name, says, command in (*TABLES, *KITTI)]


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_fault(fault: Fault, place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    check(fault, place, capfd)


def test_the_table_without_counts(real_place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    says = ["'num_lidar_pts' is missing", "sample_annotation.json, row 0"]
    check(Fault("a real table without a column", "indexing", 2, says, case_without_counts), real_place, capfd)


def test_a_gap_in_the_numbering(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    says = ["warning +scans: drive .* lacks scans 1;"]
    check(
        Fault("KITTI: a scan that is missing", "indexing", 0, says, lambda p: drive(p, lost_scan)),
        place,
        capfd,
    )
    notes = json.loads((place.tmp / "index" / "metadata.json").read_text())["notes"]
    assert any("lacks scans 1" in note for note in notes)
