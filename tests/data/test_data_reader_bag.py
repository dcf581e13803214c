"""Bags as drives: the real samples in three forms, and a drive that a test knows all of."""

from __future__ import annotations

import multiprocessing
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="the extra `ros` is not installed")

from bag_files import read
from PIL import Image

from pc3d.data.build import build_index
from pc3d.data.checks import read_findings
from pc3d.data.errors import DataError
from pc3d.data.images import load_image
from pc3d.data.points import load_sweep
from pc3d.data.readers.bag import BagReader, detect, list_topics, opened, topics_table
from pc3d.data.records import Sweep
from pc3d.geometry.camera import in_image, project
from pc3d.geometry.rigid import invert_SE3, transform_points

FORMS = ("kitti_ros1.bag", "kitti_ros2_sqlite3", "kitti_ros2_mcap")
MS = 10**6
NO_TURN = (0.0, 0.0, 0.0, 1.0)


@pytest.fixture
def kitti(real_data: Path) -> Path:
    return real_data / "bags" / "from_kitti"


@pytest.mark.parametrize("form", FORMS)
def test_a_bag_of_any_form_is_the_kitti_frame_that_it_was_made_of(
    kitti: Path, form: str, real_data: Path
) -> None:
    sweeps, found = read(kitti / form, lidar_topics=["/points"])
    drive = next((real_data / "kitti_raw").glob("*/*_sync"))
    for number, sweep in enumerate(sweeps):
        scan = np.fromfile(drive / f"velodyne_points/data/{number:010d}.bin", np.float32).reshape(-1, 4)
        points = load_sweep(sweep, ("ring", "time"))
        np.testing.assert_array_equal(points[:, :4], scan[::4])
        assert points[:, 4].max() == 63
        assert points[:, 5].min() >= 0
        assert points[:, 5].max() < 0.1
        picture = np.asarray(Image.open(drive / f"image_02/data/{number:010d}.png").convert("RGB")).astype(
            int
        )
        (camera,) = sweep.cameras
        taken = load_image(camera.path, size=camera.size, key=camera.key)
        assert np.abs(taken - picture).mean() < 4  # a JPEG of it
        xyz = transform_points(
            invert_SE3(camera.ego_SE3_cam) @ sweep.ego_SE3_lidar, points.astype(np.float64)
        )
        uv, _ = project(xyz, camera.intrinsics, camera.lens)
        assert 0.13 < in_image(uv, camera.size).mean() < 0.147
    assert [sweep.timestamp - 1317000000000000 for sweep in sweeps] == [0, 103000]  # of headers, not the log
    np.testing.assert_allclose([sweep.world_SE3_ego[:3, 3] for sweep in sweeps], [[0, 0, 0], [1, 0, 0]])
    assert sweeps[0].ego_SE3_lidar[2, 3] == pytest.approx(1.73)
    assert "--point-time time:s" in found["times of points of /points"].remedy


def test_big_endian_rows_with_padding_and_missing_points(kitti: Path) -> None:
    clouds = [load_sweep(read(kitti / form, lidar_topics=["/organised"])[0][0]) for form in FORMS]
    assert clouds[0].shape == (16 * 64 - 40, 4)
    assert np.isfinite(clouds[0]).all()
    assert np.linalg.norm(clouds[0][:, :3], axis=1).max() < 120
    for other in clouds[1:]:
        np.testing.assert_array_equal(clouds[0], other)


def test_extracted_frames_are_those_of_the_bags(kitti: Path, tmp_path: Path) -> None:
    options = {
        "lidar_topics": ["/points", "/organised"],
        "camera_topics": ["/cam/image/compressed", "/cam/small"],
    }
    inside, found = read(kitti, **options)
    written, _ = read(kitti, **options, extract=tmp_path / "frames")
    assert len(inside) == len(written) == 6
    assert found["camera /cam/small"].text.startswith("its intrinsics are scaled")
    for one, other in zip(inside, written, strict=True):
        assert other.path.suffix == ".bin"
        assert other.key == ""
        columns = ("lidar",)
        np.testing.assert_allclose(load_sweep(one, columns), load_sweep(other, columns), atol=1e-6)
        for mine, theirs in zip(one.cameras, other.cameras, strict=True):
            a, b = (load_image(c.path, size=c.size, key=c.key) for c in (mine, theirs))
            np.testing.assert_array_equal(a, b)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "frames").rglob("*.bin")}
    read(kitti, **options, extract=tmp_path / "frames")
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}  # what is there stays
    with pytest.raises(DataError, match="extracted otherwise"):
        read(kitti, **options, extract=tmp_path / "frames", intensity=["/points=intensity/2"])


def test_topics_are_listed_and_one_must_be_named(kitti: Path) -> None:
    topics = {topic.name: topic for topic in list_topics(kitti / FORMS[0])}
    assert topics["/points"].use == "points"
    assert topics["/points"].count == 2
    assert topics["/points"].rate == pytest.approx(1 / 0.103, rel=1e-3)
    assert "sensor_msgs/msg/CompressedImage" in topics_table(topics.values())
    with pytest.raises(DataError, match=r"(?s)2 topics with points.*/organised.*/points.*--lidar-topics"):
        BagReader(kitti)
    with pytest.raises(DataError, match="no topic '/pionts' with points; did you mean '/points'"):
        BagReader(kitti, lidar_topics=["/pionts"])
    assert detect(kitti) == "3 bags (*.bag, ROS 2 bag folder)"
    assert len(read(kitti, lidar_topics=["all"])[0][0].lidars) == 1


@pytest.mark.parametrize(
    ("bag", "says"),
    [
        ("ros2_velodyne_packets", r"/velodyne_packets.*raw packets.*definition is not in the bag"),
        ("ros1/example.bag", r"no topic with points \(PointCloud2\); there is .*tfMessage"),
        ("ros1/example-bz2.bag", r"no topic with points"),
        ("ros2_mcap", r"no topic with points.*test_msgs/msg/Arrays"),
    ],
)
def test_bags_without_points_say_what_they_hold(real_data: Path, bag: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        BagReader(real_data / "bags" / bag)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_bag_is_one_error(kitti: Path, tmp_path: Path, form: str, share: float) -> None:
    source = kitti / form
    copied = tmp_path / form
    shutil.copytree(source, copied) if source.is_dir() else shutil.copy(source, copied)
    file = (
        next((f for f in copied.iterdir() if f.suffix in (".db3", ".mcap")), copied)
        if copied.is_dir()
        else copied
    )
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])

    def load() -> None:
        for sweep in read(copied, lidar_topics=["/points"])[0]:
            load_sweep(sweep)

    with pytest.raises(DataError, match=r"(?s)where: .*remedy: "):
        load()


def test_bags_that_were_not_closed_say_how_to_close_them(kitti: Path, tmp_path: Path) -> None:
    data = bytearray((kitti / FORMS[0]).read_bytes())
    at = data.index(b"index_pos=") + len(b"index_pos=")
    data[at : at + 8] = bytes(8)  # what a recorder leaves that was killed
    (tmp_path / "open.bag").write_bytes(data)
    with pytest.raises(DataError, match=r"(?s)was not closed.*rosbag reindex"):
        BagReader(tmp_path)
    (tmp_path / "open.bag").unlink()
    shutil.copytree(kitti / FORMS[1], tmp_path / "two")
    (tmp_path / "two").chmod(0o755)
    (tmp_path / "two" / "kitti_ros2_sqlite3.db3-wal").write_bytes(b"messages")
    with pytest.raises(DataError, match=r"(?s)not closed.*wal_checkpoint"):
        BagReader(tmp_path)


def test_without_the_package_the_extra_is_named(kitti: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened._rosbags.cache_clear()
    monkeypatch.setitem(sys.modules, "rosbags.highlevel", None)
    with pytest.raises(ImportError, match=r"pc3d\[ros\]"):
        BagReader(kitti)
    opened._rosbags.cache_clear()


def _sums(sweeps: list[Sweep], results: multiprocessing.Queue) -> None:
    results.put([float(load_sweep(sweep).sum()) for sweep in sweeps * 3])


def test_processes_that_were_forked_read_each_for_itself(kitti: Path) -> None:
    sweeps, _ = read(kitti / FORMS[0], lidar_topics=["/points"])
    expected = [float(load_sweep(sweep).sum()) for sweep in sweeps]
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [context.Process(target=_sums, args=(s, results)) for s in (sweeps, sweeps[::-1])]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert sorted(found) == sorted([expected * 3, expected[::-1] * 3])


def test_an_index_of_a_bag_has_its_points_and_images(kitti: Path, tmp_path: Path) -> None:
    bag = kitti / FORMS[0]
    options = {"lidar_topics": ["/points"], "point_time": ["time:s"], "intensity": ["intensity/1"]}
    index = build_index("bag", bag, tmp_path / "index", "the command", **options)
    for row, sweep in enumerate(read(bag, lidar_topics=["/points"])[0]):
        np.testing.assert_array_equal(load_sweep(index[row]), load_sweep(sweep))
        (camera,) = index[row].cameras
        assert load_image(camera.path, size=camera.size, key=camera.key).shape == (375, 1242, 3)
    odd = [finding for finding in read_findings(index.folder) if finding.state != "ok"]
    assert odd == []
