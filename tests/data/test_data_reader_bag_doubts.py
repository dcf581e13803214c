"""Bags that say two things, or that differ: nothing is lost or taken without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="the extra `ros` is not installed")

from bag_files import START, Row, camera_info, cloud, image, odometry, read, tf, write_ros2
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.data.errors import DataError
from pc3d.data.images import load_image
from pc3d.data.points import load_sweep
from pc3d.data.readers.bag.names import distinct_names, topic_names
from pc3d.data.readers.bag.transforms import TransformTree

MS = 10**6
NO_TURN = (0.0, 0.0, 0.0, 1.0)
K = np.array([[40.0, 0, 31.5], [0, 40, 23.5], [0, 0, 1]])
STATED = {"intensity": ["intensity/255"]}


def points(topic: str, n: int, at: float = 1.0, stamp: int | None = None, **columns: np.ndarray) -> Row:
    """A cloud of 40 points along x = `at` in frame `lidar`, the n-th of 10 Hz."""
    xyz = np.column_stack([np.full(40, at), np.arange(1, 41), np.ones(40)]).astype(np.float32)
    columns = columns or {"intensity": np.linspace(0, 250, 40).astype(np.float32)}
    log = START + n * 100 * MS
    made = cloud(
        log if stamp is None else stamp, "lidar", {**dict(zip("xyz", xyz.T, strict=True)), **columns}
    )
    return topic, "sensor_msgs/PointCloud2", log + MS, made


def mounts(*rows: tuple[str, str, tuple[float, float, float]], log: int = START) -> Row:
    return "/tf_static", "tf2_msgs/TFMessage", log, tf(*[(log, p, c, xyz, NO_TURN) for p, c, xyz in rows])


def picture(topic: str, value: int, n: int = 0, fx: float = 40.0) -> list[Row]:
    """An image of one grey and its CameraInfo beside it."""
    stamp, rgb = START + n * 100 * MS, np.full((48, 64, 3), value, np.uint8)
    info = camera_info(stamp, "cam", (64, 48), K * [[fx / 40], [fx / 40], [1]])
    beside = f"{topic.rpartition('/')[0]}/camera_info"
    return [
        (topic, "sensor_msgs/Image", stamp, image(stamp, "cam", rgb)),
        (beside, "sensor_msgs/CameraInfo", stamp, info),
    ]


BASE = mounts(("base_link", "lidar", (1, 0, 2)), ("base_link", "cam", (1, 0, 1)))
AXES = {"link_axes": ["/cam/image"]}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("ab/_A", min_size=1, max_size=6), unique=True, max_size=8))
def test_no_two_things_have_one_name(topics: list[str]) -> None:
    names = topic_names(topics)
    assert len({name.lower() for name in names.values()}) == len(topics)
    assert topic_names(topics[::-1]) == names
    assert all(name and "/" not in name for name in names.values())
    assert distinct_names({topic: ["x"] for topic in topics[:1]}) == dict.fromkeys(topics[:1], "x")


def test_topics_of_one_plain_name_are_extracted_to_files_of_their_own(tmp_path: Path) -> None:
    rows = [BASE]
    for n in range(2):
        rows += [points("/left/points", n, 10.0), points("/left_points", n, 20.0)]
        rows += [*picture("/cam/image", 50, n), *picture("/cam_image", 150, n)]
    bag = write_ros2(tmp_path / "bag", rows)
    options = {"lidar_topics": ["/left/points", "/left_points"], **STATED, "extract": tmp_path / "out"}
    cameras = {"camera_topics": ["/cam/image", "/cam_image"], "link_axes": ["/cam/image", "/cam_image"]}
    sweeps, _ = read(bag, **options, **cameras)
    for sweep in sweeps:
        assert sorted(set(load_sweep(sweep)[:, 0].tolist())) == [10, 20]
        assert [camera.name for camera in sweep.cameras] == ["cam__image", "cam_image"]
        seen = [load_image(camera.path, size=camera.size)[0, 0, 0] for camera in sweep.cameras]
        assert seen == [50, 150]


def test_messages_of_one_stamp_are_counted(tmp_path: Path) -> None:
    poses = [odometry(START, "odom", "base_link", (k, 0, 0), NO_TURN) for k in range(3)]
    rows = [BASE, *(points("/points", n, stamp=START) for n in range(4))]
    rows += [("/odom", "nav_msgs/Odometry", START + n, pose) for n, pose in enumerate(poses)]
    bag = write_ros2(tmp_path / "bag", rows)
    sweeps, found = read(bag, **STATED)
    assert len(sweeps) == 1
    assert "3 of 4 messages" in found["equal stamps of /points"].text
    assert "--stamps log" in found["equal stamps of /points"].remedy
    assert "2 poses" in found["equal stamps of /odom"].text
    sweeps, found = read(bag, **STATED, stamps="log", pose_tolerance=1.0)
    assert len(sweeps) == 4
    assert not [name for name in found if name.startswith("equal")]


@pytest.mark.parametrize(
    "own",
    [
        [("base_link", "lidar", (1, 0, 2))],
        [("lidar", "base_link", (-1, 0, -2))],
        [("base_link", "kit", (1, 0, 0)), ("kit", "lidar", (0, 0, 2))],
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_a_file_of_transforms_holds_against_the_bag(tmp_path: Path, own: list, turned: bool) -> None:
    bag = write_ros2(tmp_path / "bag", [mounts(*own), points("/points", 0)])
    file = tmp_path / "mounts.yaml"
    ends, place = (
        ("lidar, child: base_link", [-7, 0, -9]) if turned else ("base_link, child: lidar", [7, 0, 9])
    )
    file.write_text(f"- {{parent: {ends}, translation: {place}, rotation: [0, 0, 0, 1]}}")
    sweeps, found = read(bag, **STATED, transforms=file)
    assert sweeps[0].ego_SE3_lidar[:3, 3].tolist() == [7, 0, 9]
    assert "in bag bag" in found["transforms of the file"].text
    assert {finding.state for finding in found.values()} <= {"ok"}
    sweeps, found = read(bag, **STATED)
    assert sweeps[0].ego_SE3_lidar[:3, 3].tolist() == [1, 0, 2]
    assert "transforms of the file" not in found


def test_what_hangs_on_a_link_that_goes_stays_where_it_was() -> None:
    tree, file = TransformTree(), TransformTree()
    tree.add("odom", "base", 5, (3.0, 0, 0), NO_TURN, static=False)
    for parent, child in (("base", "kit"), ("kit", "lidar"), ("kit", "cam")):
        tree.add(parent, child, 0, (1.0, 0, 0), NO_TURN, static=True)
    file.add("base", "lidar", 0, (0.0, 0, 8), NO_TURN, static=True)
    assert tree.override(file) == [("kit", "lidar")]
    for (target, source), place in {
        ("base", "lidar"): [0, 0, 8],
        ("base", "cam"): [2, 0, 0],
        ("odom", "lidar"): [3, 0, 8],
    }.items():
        assert tree.at(target, source, 5, "test")[:3, 3].tolist() == place


def test_a_link_of_an_earlier_bag_is_said_where_it_is_needed(tmp_path: Path) -> None:
    write_ros2(tmp_path / "a", [BASE, points("/points", 0)])
    write_ros2(tmp_path / "b", [mounts(("base_link", "kit", (0, 0, 0))), points("/points", 9)])
    kit = mounts(("base_link", "kit", (0, 0, 1)), ("kit", "lidar", (5, 0, 0)))
    write_ros2(tmp_path / "c", [kit, points("/points", 19)])
    sweeps, found = read(tmp_path, **STATED)
    assert [sweep.ego_SE3_lidar[:3, 3].tolist() for sweep in sweeps] == [[1, 0, 2], [1, 0, 2], [5, 0, 1]]
    assert "bag b has no fixed transforms base_link to lidar" in found["fixed transforms"].text


def test_calibrations_and_mounts_that_change_are_said(tmp_path: Path) -> None:
    rows = [BASE, *(points("/points", n) for n in range(3))]
    same = [
        *rows,
        *(row for n in range(3) for row in picture("/cam/image", 0, n)),
        (*BASE[:2], START + 9, BASE[3]),
    ]
    _, found = read(write_ros2(tmp_path / "same", same), **STATED, **AXES)
    assert {finding.state for finding in found.values() if "base frame" not in finding.name} <= {"ok"}
    moved = mounts(("base_link", "lidar", (1, 0, 5)), ("base_link", "arm", (0, 0, 1)), log=START + 150 * MS)
    zoomed = [row for n in range(3) for row in picture("/cam/image", 0, n, 40.0 + n)]
    frames = [
        (
            "/odom",
            "nav_msgs/Odometry",
            START + n,
            odometry(START + n * 100 * MS, "odom", child, (n, 0, 0), NO_TURN),
        )
        for n, child in enumerate(("base_link", "lidar", "lidar"))
    ]
    bag = write_ros2(tmp_path / "bag", [*rows, moved, *zoomed, *frames])
    sweeps, found = read(bag, **STATED, **AXES)
    assert "the first one is taken" in found["calibration of /cam/camera_info"].text
    assert sweeps[-1].cameras[0].intrinsics[0, 0] == 40
    assert "base_link to lidar: the last" in found["fixed transforms that change"].text
    assert "odom to base_link, odom to lidar" in found["frames of poses"].text


@pytest.mark.parametrize(("height", "warned"), [(2, False), (3, True)])
def test_two_ways_between_frames_must_be_one(tmp_path: Path, height: float, warned: bool) -> None:
    ways = mounts(
        ("base_link", "lidar", (1, 0, 2)), ("base_link", "kit", (1, 0, 0)), ("kit", "lidar", (0, 0, height))
    )
    sweeps, found = read(write_ros2(tmp_path / "bag", [ways, points("/points", 0)]), **STATED)
    assert sweeps[0].ego_SE3_lidar[2, 3] == 2
    assert ("transforms of two ways" in found) == warned


def _bags(root: Path, *columns: dict[str, Any]) -> Path:
    for number, own in enumerate(columns):
        rows = [points("/points", 50 * number + n, **own) for n in range(3)]
        write_ros2(root / f"b{number}", [BASE, *rows])
    return root


UNIT = np.linspace(0, 1, 40)


@pytest.mark.parametrize(
    ("first", "second"), [(255, 1), (1, 255), (4000, 1), (1, 4000), (200, 60_000), (60_000, 200)]
)
def test_each_bag_has_its_own_unit_of_intensity(tmp_path: Path, first: float, second: float) -> None:
    bags = [{"intensity": (scale * UNIT).astype(np.float32)} for scale in (first, second)]
    sweeps, found = read(_bags(tmp_path, *bags))
    brightest = [load_sweep(sweep)[:, 3].max() for sweep in sweeps[::3]]
    assert min(brightest) > 0.7
    assert "other than in the first bag" in found["points of /points in bag b1"].text


@pytest.mark.parametrize(("first", "second"), [(255, 100), (100, 255), (4000, 3000), (1, 0.4)])
def test_bags_of_one_sensor_keep_one_unit_without_a_word(tmp_path: Path, first: float, second: float) -> None:
    bags = [{"intensity": (scale * UNIT).astype(np.float32)} for scale in (first, second)]
    sweeps, found = read(_bags(tmp_path, *bags))
    assert len({sweep.lidar_format for sweep in sweeps}) == 1
    assert not [name for name in found if "in bag" in name]


def test_each_bag_has_its_own_unit_of_time_and_its_own_fields(tmp_path: Path) -> None:
    grey = {"intensity": np.arange(40, dtype=np.float32)}
    seconds = {**grey, "t": (0.0999 * UNIT).astype(np.float32)}
    others = [{**grey, "t": (0.0999e9 * UNIT).astype(np.uint32)}, {"i": grey["intensity"]}]
    sweeps, found = read(_bags(tmp_path, seconds, *others))
    for sweep in sweeps[:6]:
        np.testing.assert_allclose(load_sweep(sweep, ("time",))[:, 4], 0.0999 * UNIT, atol=1e-6)
    assert load_sweep(sweeps[6])[:, 3].max() == pytest.approx(39 / 255)
    assert "read as pointcloud2:x,y,z,intensity/255,time=t*1e-09" in found["points of /points in bag b1"].text
    assert "no field intensity; no field t" in found["points of /points in bag b2"].text
    _, found = read(tmp_path / "b0", point_time=["t:s"], intensity=["intensity/50"])
    assert {finding.state for finding in found.values()} == {"ok"}


@pytest.mark.parametrize(
    ("option", "name", "says"),
    [
        ({"point_time": ["t:ns"]}, "times of points", "as stated, but the t of a sweep lasts"),
        ({"point_time": ["t:s@"]}, "times of points", "from the stamp of its cloud then"),
        ({"intensity": ["intensity/1"]}, "intensity", "points have intensity above 1"),
        ({"intensity": ["intensity/65535"]}, "intensity", "is at most 250"),
        ({"intensity": ["intensity/9:tanh"]}, "intensity", "95 % of the points"),
    ],
)
def test_a_stated_unit_that_cannot_be_is_a_warning(
    tmp_path: Path, option: dict, name: str, says: str
) -> None:
    own = {"intensity": (250 * UNIT).astype(np.float32), "t": (0.0999 * UNIT).astype(np.float32)}
    _, found = read(_bags(tmp_path, own), **option)
    finding = found[f"{name} of /points"]
    assert finding.state == "warning"
    assert says in finding.text


@pytest.mark.parametrize("text", ["intensity/0", "intensity/.", "intensity/1.2.3", "intensity/1e999"])
def test_a_full_intensity_that_is_no_number_names_its_option(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=f"--intensity is '{text}'"):
        read(_bags(tmp_path, {}), intensity=[text])


@pytest.mark.parametrize("pair", ["/points=x", "/points=nan", "/points=inf", "/points"])
def test_an_offset_that_is_no_number_names_its_option(tmp_path: Path, pair: str) -> None:
    with pytest.raises(ValueError, match=r"stamp_offset.* has '/points"):
        read(tmp_path, stamp_offset=[pair])
    with pytest.raises(ValueError, match="start is 3 and end is 2"):
        read(tmp_path, start=3.0, end=2.0)


def test_bags_of_one_name_are_drives_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for folder in (tmp_path / "a" / "b", tmp_path / "a__b"):
        write_ros2(folder, [BASE, points("/points", 0)])
    mcap = next((tmp_path / "a__b").glob("*.mcap"))
    (tmp_path / "a__b.mcap").write_bytes(mcap.read_bytes())
    (tmp_path / "other.mcap").write_bytes(mcap.read_bytes())
    sweeps, found = read(tmp_path, **STATED)
    scenes = [sweep.scene for sweep in sweeps]
    assert sorted(scenes) == ["a-b_folder", "a__b_folder", "a__b_mcap", "other"]
    assert len({sweep.token for sweep in sweeps}) == 4
    assert "3 bags share the name" in found["names of drives"].text
