"""Tables that lie are refused with table, row, column, what is there and what is expected."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_drives import kitti_drive, one_scene

from pc3d.data.errors import DataError
from pc3d.data.readers import open_reader
from pc3d.data.readers.columns import CAMERA_MATRIX, FILE, POSITION, ROTATION, TIME, TOKEN, Kind
from pc3d.data.readers.json_tables import read_table, stream_rows
from pc3d.data.records import Boxes, Camera, Sweep
from pc3d.geometry.rigid import make_SE3, yaw_matrix

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def scene(tiny_nuscenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of one simulated scene."""
    return one_scene(tiny_nuscenes, tmp_path_factory.mktemp("scene") / "data")


@pytest.fixture
def tables(scene: Path, tmp_path: Path) -> Path:
    """A copy of them, to be spoiled."""
    return Path(shutil.copytree(scene, tmp_path / scene.name))


def change(tables: Path, table: str, edit: Callable[[Rows], object]) -> None:
    path = tables / f"{table}.json"
    rows = json.loads(path.read_text())
    edit(rows)
    path.write_text(json.dumps(rows))


def read(tables: Path) -> list[Sweep]:
    return list(open_reader("nuscenes", tables.parent, version=tables.name).sweeps())


NUMBER_FAULTS = (float("nan"), float("inf"), "1.0", True, None, 10**400)
FAULTS: list[tuple[str, str, object]] = [
    *(("ego_pose", "translation", [1.0, bad, 0.0]) for bad in (*NUMBER_FAULTS, 1e9)),
    *(("ego_pose", "translation", bad) for bad in ([1.0, 2.0], {}, "1 2 3", None)),
    *(("ego_pose", "rotation", [bad, 0.0, 0.0, 0.0]) for bad in (*NUMBER_FAULTS, 0.0, 0.5, 2.0)),
    ("calibrated_sensor", "rotation", [1.0, 0.0, 0.0]),
    *(("calibrated_sensor", "camera_intrinsic", bad) for bad in ([[1.0]], "K", None, [[1.0] * 3] * 3)),
    ("calibrated_sensor", "camera_intrinsic", [[0, 0, 8.0], [0, 9.0, 8.0], [0, 0, 1]]),
    ("calibrated_sensor", "camera_intrinsic", [[-9.0, 0, 8.0], [0, 9.0, 8.0], [0, 0, 1]]),
    ("calibrated_sensor", "camera_intrinsic", [[9.0, 0, float("nan")], [0, 9.0, 8.0], [0, 0, 1]]),
    *(("sample_data", "timestamp", bad) for bad in ("1704096000000000", -1, True, None, float("nan"), 0)),
    *(("sample", "timestamp", bad) for bad in (1704096000, 1704096000000, 1704096000000000000)),
    *(("sample_data", "is_key_frame", bad) for bad in (1, "true", None)),
    *(("sample_data", "filename", bad) for bad in ("", None, "/etc/passwd", "../x", "a/../../x", "a/..")),
    *(("sample_data", "filename", bad) for bad in ("..", "a\\..\\x", "\\x", "C:/x", "c:x", "a\0b", "a\n/b")),
    ("lidarseg", "filename", "../x"),
    *(("sample_data", "token", bad) for bad in ("", 7, None, "\ud800")),
    *(("sample_annotation", "size", bad) for bad in ([0.0, 1.0, 1.0], [1, -1, 1], [1, 1], [1, 1, 1e4])),
    *(("sample_annotation", "num_lidar_pts", bad) for bad in (-2, 1.5, "3", None, True, 2**63)),
    *(("sample_annotation", "attribute_tokens", bad) for bad in ("a", [1], [""], None)),
    ("sample_annotation", "prev", None),
    ("category", "name", None),
    ("log", "location", 3),
    ("scene", "name", ""),
]


@pytest.mark.parametrize(("table", "column", "bad"), FAULTS)
def test_a_value_that_is_none_is_named(tables: Path, table: str, column: str, bad: object) -> None:
    last = len(json.loads((tables / f"{table}.json").read_text())) - 1
    change(tables, table, lambda rows: rows[last].update({column: bad}))
    with pytest.raises(DataError, match=rf"'{column}' is [\s\S]*expected [\s\S]*{table}.json, row {last}\b"):
        read(tables)


@pytest.mark.parametrize(
    ("table", "column"),
    [
        (table, column)
        for table, columns in {
            "sample_annotation": ("num_lidar_pts", "size", "prev", "token"),
            "sample_data": ("filename", "timestamp", "is_key_frame"),
            "ego_pose": ("rotation",),
            "calibrated_sensor": ("camera_intrinsic",),
            "scene": ("log_token",),
        }.items()
        for column in columns
    ],
)
def test_a_missing_column_is_named(tables: Path, table: str, column: str) -> None:
    change(tables, table, lambda rows: rows[1 if len(rows) > 1 else 0].pop(column))
    with pytest.raises(DataError, match=rf"'{column}' is missing, expected [\s\S]*{table}.json, row"):
        read(tables)


@pytest.mark.parametrize(("column", "bad"), [("width", 0), ("height", -5), ("width", 1.5), ("height", "9")])
def test_an_image_without_a_size(tables: Path, column: str, bad: object) -> None:
    def edit(rows: Rows) -> None:
        next(row for row in rows if "CAM_BACK" in row["filename"])[column] = bad

    change(tables, "sample_data", edit)
    with pytest.raises(DataError, match=rf"'{column}' is {bad!r}, expected a whole number of pixels"):
        read(tables)


@pytest.mark.parametrize(
    ("timestamp", "unit"),
    [(1.5e9, "seconds"), (1700000000000, "milliseconds"), (1700000000000000000, "nanoseconds")],
)
def test_a_time_of_another_unit_is_recognised(tables: Path, timestamp: float, unit: str) -> None:
    change(tables, "sample_data", lambda rows: rows[0].update(timestamp=timestamp))
    with pytest.raises(DataError, match=f"looks like {unit} since 1970, expected microseconds since 1970"):
        read(tables)


LINKS = [
    ("scene", "log_token", "log"),
    ("sample", "scene_token", "scene"),
    ("calibrated_sensor", "sensor_token", "sensor"),
    ("sample_data", "sample_token", "sample"),
    ("sample_data", "ego_pose_token", "ego_pose"),
    ("sample_data", "calibrated_sensor_token", "calibrated_sensor"),
    ("lidarseg", "sample_data_token", "sample_data"),
    ("instance", "category_token", "category"),
    ("sample_annotation", "instance_token", "instance"),
    ("sample_annotation", "sample_token", "sample"),
]


@pytest.mark.parametrize(("table", "column", "target"), LINKS)
def test_a_token_that_leads_nowhere_is_named(tables: Path, table: str, column: str, target: str) -> None:
    change(tables, table, lambda rows: rows[-1].update({column: "nobody"}))
    with pytest.raises(DataError, match=rf"'nobody' is not in table {target}\n  where: \S*/{table}.json"):
        read(tables)


def test_an_annotation_of_another_track_is_no_neighbour(tables: Path) -> None:
    def edit(rows: Rows) -> None:
        linked = [row for row in rows if row["next"]]
        linked[0]["next"] = linked[1]["next"]

    change(tables, "sample_annotation", edit)
    with pytest.raises(
        DataError, match=r"'next' leads to row \d+, which is of another instance or not later"
    ):
        read(tables)


@pytest.mark.parametrize("table", ["scene", "sample", "sample_data", "sample_annotation", "category"])
def test_a_token_that_is_there_twice(tables: Path, table: str) -> None:
    change(tables, table, lambda rows: rows.append(rows[0]))
    with pytest.raises(DataError, match=rf"is there twice\n  where: \S*/{table}.json, row"):
        read(tables)


def test_rows_that_are_said_twice_in_another_way(tables: Path) -> None:
    change(tables, "scene", lambda rows: rows.append({**rows[0], "token": "other"}))
    with pytest.raises(DataError, match="two scenes of the name"):
        read(tables)


def test_two_images_of_a_camera_in_a_sample(tables: Path) -> None:
    def edit(rows: Rows) -> None:
        rows.append({**next(row for row in rows if "CAM_BACK" in row["filename"]), "token": "other"})

    change(tables, "sample_data", edit)
    with pytest.raises(DataError, match="two key-frame images of CAM_BACK"):
        read(tables)


@pytest.mark.parametrize(
    "table", ["scene", "sample", "sensor", "calibrated_sensor", "sample_data", "ego_pose"]
)
def test_an_empty_table(tables: Path, table: str) -> None:
    (tables / f"{table}.json").write_text("[]")
    with pytest.raises(DataError, match=rf"table has no row\n  where: \S*/{table}.json|not in table {table}"):
        read(tables)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[" * 200_000, "truncated or broken"),
        (b'[{"token": ' + b"[" * 200_000, "truncated or broken"),
        (b'[{"token": ' + b"9" * 5000 + b"}]", "truncated or broken"),
        (b'[{"token": "a"}', "truncated or broken"),
        (b'[{"token": "a"}] [{"token": "b"}]', "goes on after its end"),
        (b'[{"token": "\xff"}]', "cannot be read"),
        ('[{"token": "a"}]'.encode("utf-16"), "cannot be read"),
        (b'[{"token": "a"}, ["b"]]', "no row"),
        (b"", "not a JSON array"),
        (b'{"token": "a"}', "not a JSON array"),
    ],
)
def test_text_that_is_no_table(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "log.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{says}[\s\S]*{path}"):
        list(read_table(path, {"token": TOKEN}))


def test_a_byte_order_mark_is_no_harm(tmp_path: Path) -> None:
    (tmp_path / "log.json").write_text('[{"token": "a"}]', encoding="utf-8-sig")
    assert list(stream_rows(tmp_path / "log.json")) == [{"token": "a"}]


def test_what_other_data_sets_write_is_read(real_data: Path, tables: Path, tmp_path: Path) -> None:
    """Fractions of microseconds, unknown counts of points and no size of scans, as in Lyft's tables."""
    lyft = real_data / "lyft" / "v1.01-train" / "v1.01-train"
    target = Path(shutil.copytree(lyft, tmp_path / "lyft" / "v1.01-train", copy_function=shutil.copyfile))
    change(target, "sample_annotation", lambda rows: [row.update(prev="", next="") for row in rows])
    (sweep,) = read(target)
    assert sweep.timestamp == 1556675185903083
    assert sweep.boxes is not None
    assert sweep.boxes.num_lidar_pts.tolist() == [-1] * 4
    assert len(sweep.cameras) == 7


def test_the_table_without_a_count_of_points(real_data: Path, tables: Path) -> None:
    path = real_data.parent / "cases" / "sample_annotation_3_rows_no_num_lidar_pts.json"
    if not path.is_file():
        pytest.skip("no such case")
    shutil.copyfile(path, tables / "sample_annotation.json")
    with pytest.raises(DataError, match=r"'num_lidar_pts' is missing[\s\S]*-1[\s\S]*sample_annotation.json"):
        read(tables)


def test_a_kind_finds_in_many_rows_what_it_finds_in_one() -> None:
    """Columns are checked at once: one bad value among good ones is found wherever it stands."""
    kinds: dict[Kind, tuple[object, list[object]]] = {
        TIME: (1704096000000000, [1.5e9, "1", True, float("nan")]),
        FILE: ("samples/a..b/.c/n.bin", ["..", "a/..", "/a", "", "x\\y", "a/../b", "Z:x"]),
        POSITION: ([1, 2.5, 3], [[1, 2], [1, 2, "3"], [1, 2, float("inf")], (1, 2, 3)]),
        ROTATION: ([0.0, 0.6, 0.8, 0.0], [[0, 0, 0, 0], [1, 1, 1, 1], [float("nan")] * 4]),
        CAMERA_MATRIX: ([], [[[1.0, 0, 0], [0, 1.0, 0], [0, 0, 0]], [[0, 1.0, 0], [1.0, 0, 0], [0, 0, 1]]]),
    }
    for kind, (good, bads) in kinds.items():
        assert kind.take([good] * 5) is not None
        for bad in bads:
            for place in (0, 2, 4):
                values = [good] * 5
                values[place] = bad
                assert kind.take(values) is None, (kind.expected, bad)


@pytest.mark.parametrize(
    "lists",
    [{"train": ["sim-01"], "val": []}, {"train": ["sim-0001", "a"], "val": ["sim-0001", "b"]}],
)
def test_splits_that_contradict_the_scenes_or_each_other(tables: Path, lists: dict[str, list[str]]) -> None:
    (tables / "splits.json").write_text(json.dumps(lists))
    with pytest.raises(DataError, match=r"did you mean 'sim-0001'|is in the splits 'train' and 'val'"):
        read(tables)


def test_a_split_may_be_a_part_of_another(tables: Path) -> None:
    lists = {"train": ["sim-0001", "sim-0002"], "mini_train": ["sim-0001"], "val": ["sim-0003"]}
    (tables / "splits.json").write_text(json.dumps(lists))
    assert {sweep.split for sweep in read(tables)} == {"train"}


POSE = make_SE3(yaw_matrix(0.3), [4e5, 5.4e6, 30.0])  # UTM
K = np.array([[80.0, 0, 80], [0, 80.0, 45], [0, 0, 1]])


@pytest.mark.parametrize(
    "pose",
    [
        np.full((4, 4), np.nan),
        POSE * 1.01,
        POSE @ np.diag([1.0, 1, -1, 1]),
        make_SE3(np.eye(3), [0, np.inf, 0]),
        make_SE3(np.zeros((3, 3)), [0, 0, 0]),
        np.ones((4, 4)),
        np.eye(3),
    ],
)
def test_records_refuse_poses_that_are_none(pose: np.ndarray) -> None:
    def sweep(ego_SE3_lidar: np.ndarray, world_SE3_ego: np.ndarray) -> Sweep:
        return Sweep("t", "s", 0, True, Path("x"), "kitti", ego_SE3_lidar, world_SE3_ego, "train")

    sweep(POSE, POSE)
    for poses in ((pose, POSE), (POSE, pose)):
        with pytest.raises(ValueError, match="SE3"):
            sweep(*poses)
        with pytest.raises(ValueError, match="SE3"):
            Camera("C", Path("x"), (8, 8), K, *poses, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"size": (0, 8)},
        {"size": (8.0, 8)},
        {"size": (True, 8)},
        {"timestamp": 1.5},
        {"intrinsics": K * np.nan},
        {"intrinsics": K * [[-1], [1], [1]]},
        {"intrinsics": K + 1},
        {"distortion": (np.nan,)},
    ],
)
def test_records_refuse_cameras_that_are_none(changes: dict[str, Any]) -> None:
    sound: dict[str, Any] = {"size": (8, 8), "intrinsics": K, "timestamp": 0, "distortion": ()}
    places = {"name": "C", "path": Path("x"), "ego_SE3_cam": POSE, "world_SE3_ego": POSE}
    Camera(**places, **sound)
    with pytest.raises(ValueError, match=r"width|timestamp|intrinsics|distortion"):
        Camera(**places, **{**sound, **changes})


@pytest.mark.parametrize(
    ("column", "bad"),
    [("centers", np.nan), ("sizes", 0.0), ("sizes", np.inf), ("yaws", np.nan), ("velocities", -np.inf)],
)
def test_records_refuse_boxes_that_are_none(column: str, bad: float) -> None:
    ones = np.ones((2, 3))
    columns: dict[str, np.ndarray] = {
        "centers": ones.copy(),
        "sizes": ones.copy(),
        "yaws": ones[:, 0].copy(),
        "velocities": np.full((2, 2), np.nan),
    }
    words = {"names": ("a", "b"), "tracks": ("", ""), "attributes": ("", "")}
    Boxes(**columns, **words, num_lidar_pts=np.array([-1, 0]))
    columns[column][1] = bad
    with pytest.raises(ValueError, match=r"out of range in box 1 \(b"):
        Boxes(**columns, **words, num_lidar_pts=np.array([-1, 0]))


# KITTI


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    return kitti_drive(tmp_path / "2011_09_26", frames=5)


def kitti(drive: Path, **options: Any) -> list[Sweep]:
    return list(open_reader("kitti_raw", drive.parent, **options).sweeps())


def test_a_gap_shifts_no_time(drive: Path) -> None:
    before = {sweep.token: sweep.timestamp for sweep in kitti(drive)}
    for number in (1, 2):
        (drive / f"velodyne_points/data/{number:010d}.bin").unlink()
    (drive / "image_02/data/0000000004.png").unlink()
    stamps = drive / "velodyne_points" / "timestamps.txt"
    lines = stamps.read_text().splitlines()
    for content in (lines, [lines[0], "", " ", *lines[3:]]):
        stamps.write_text("\n".join(content) + "\n")
        reader = open_reader("kitti_raw", drive.parent)
        after = {sweep.token: sweep for sweep in reader.sweeps()}
        assert {token: sweep.timestamp for token, sweep in after.items()}.items() <= before.items()
        assert [len(sweep.cameras) for sweep in after.values()] == [1, 1, 0]
        assert [token[-2:] for token in after] == ["00", "03", "04"]
        notes = reader.metadata["notes"][-2:]
        assert notes == [
            f"drive {drive.name} lacks scans 1 to 2",
            f"drive {drive.name} lacks 1 of 3 images of image_02",
        ]
    stamps.unlink()
    assert [sweep.timestamp for sweep in kitti(drive)] == [0, 300_000, 400_000]


def test_the_published_gap(real_data: Path, drive: Path) -> None:
    path = real_data.parent / "cases" / "kitti_timestamps_0009_blank.txt"
    if not path.is_file():
        pytest.skip("no such case")
    lines = path.read_text().split("\n")[:10]
    shutil.copyfile(path, drive / "velodyne_points" / "timestamps.txt")
    for scan in (drive / "velodyne_points" / "data").iterdir():
        number = int(scan.stem)
        if not lines[number].strip():
            scan.rename(scan.with_stem(f"{number + 4:010d}"))
    sweeps = kitti(drive)
    numbers = [int(sweep.path.stem) for sweep in sweeps]
    assert len(numbers) == 5
    for sweep, number in zip(sweeps, numbers, strict=True):
        seconds = lines[number].split(":")[-1]
        assert sweep.timestamp % 60_000_000 == int(float(seconds) * 1e6)


KITTI_FAULTS: list[tuple[str, str | bytes, str]] = [
    ("velodyne_points/timestamps.txt", b"\xff\xfe", "timestamps cannot be read"),
    ("velodyne_points/timestamps.txt", "noon\n" * 5, "line 1 is no time: 'noon'"),
    ("velodyne_points/timestamps.txt", "2011-13-26 13:02:25.9\n" * 5, "line 1 is no time"),
    ("velodyne_points/timestamps.txt", "2011-09-26 13:02:25.9\n" * 4, "4 timestamps, but there is a scan 4"),
    (
        "velodyne_points/timestamps.txt",
        "2011-09-26 13:02:25.9\n" * 4 + "2011-09-26 13:02:25.8\n",
        "time goes backwards from line 4 to line 5",
    ),
    (
        "velodyne_points/timestamps.txt",
        "2011-09-26 13:02:25.9\n\n" + "2011-09-26 13:02:26.9\n" * 3,
        "line 2 is blank, but there is a scan 1",
    ),
    ("velodyne_points/data/last.bin", b"", "the name of a scan is no number"),
    ("velodyne_points/data/01.bin", b"", "two scans have the number 1"),
    ("../calib_velo_to_cam.txt", b"R: \xff", "calibration cannot be read"),
    ("../calib_velo_to_cam.txt", "R: 1 0 0 0 1 0 0 0 1\n", "entry T is missing"),
    ("../calib_velo_to_cam.txt", "R: 1 0 0 0 1 0 0 0 nan\nT: 0 0 0\n", "entry R: number 9 is 'nan'"),
    ("../calib_velo_to_cam.txt", "R: 1 0 0 0 1 0 0 0 x\nT: 0 0 0\n", "entry R is broken"),
    ("../calib_velo_to_cam.txt", "R: 1 0 0 0 1 0 0 0 -1\nT: 0 0 0\n", "entry R mirrors"),
    ("../calib_velo_to_cam.txt", "R: 2 0 0 0 1 0 0 0 1\nT: 0 0 0\n", "entry R holds no rotation"),
    ("../calib_velo_to_cam.txt", "T: 1 0 0\nT: 0 0 0\n", "entry 'T' is there twice"),
    ("../calib_cam_to_cam.txt", "R_rect_00: 1 0 0 0 1 0 0 0 1\n", "entry P_rect_02 is missing"),
    (
        "../calib_cam_to_cam.txt",
        "R_rect_00: 1 0 0 0 1 0 0 0 1\nP_rect_02: 0 0 6 4 0 7 2 0 0 0 1 0\n",
        "entry P_rect_02 is no camera",
    ),
    (
        "../calib_cam_to_cam.txt",
        "R_rect_00: 1 0 0 0 1 0 0 0 1\nP_rect_02: 7 0 6 4 0 7 2 0 0 0 1 0\nS_rect_02: 1242 375\n",
        r"124 x 37 pixels, but S_rect_02 is \(1242.0, 375.0\)",
    ),
    ("image_02/data/0000000000.png", b"no image", "image cannot be read"),
]


@pytest.mark.parametrize(("name", "content", "says"), KITTI_FAULTS)
def test_a_kitti_file_that_lies_is_named(drive: Path, name: str, content: str | bytes, says: str) -> None:
    path = drive / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=rf"{says}[\s\S]*where: [\s\S]*{path.name}"):
        kitti(drive)


@pytest.mark.parametrize(
    "bad", ["91 8 100 0 0 0", "49 200 100 0 0 0", "49 8 nan 0 0 0", "49 8 x 0 0 0", "49 8"]
)
def test_an_oxts_file_that_lies_is_named(drive: Path, bad: str) -> None:
    (drive / "oxts/data/0000000002.txt").write_text(bad)
    with pytest.raises(DataError, match=r"OXTS file [\s\S]*0000000002.txt"):
        kitti(drive, poses="oxts")


def test_a_drive_without_scans_is_passed_over(drive: Path) -> None:
    other = kitti_drive(drive.parent / "again").rename(drive.parent / "2011_09_26_drive_0002_sync")
    for scan in (other / "velodyne_points/data").iterdir():
        scan.unlink()
    reader = open_reader("kitti_raw", drive.parent, poses="oxts")
    assert len(list(reader.sweeps())) == 5
    assert f"drive {other.name} has no scan" in reader.metadata["notes"]
