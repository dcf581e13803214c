"""Roots that are a folder too high or too low, and what tells formats of the same tables apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from argoverse2_logs import write_log
from pandaset_sequences import write_sequence
from waymo_segments import write_segment

from pc3d.data.errors import DataError
from pc3d.data.readers.detect import detect_format


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of several data sets, as small as they may be to be known."""
    data = tmp_path / "home" / "data"
    _touch(
        data / "object/training/velodyne/000000.bin",
        data / "object/training/calib/000000.txt",
        data / "object/testing/velodyne/000000.bin",
        data / "odometry/dataset/sequences/00/velodyne/000000.bin",
        data / "odometry/dataset/sequences/05/velodyne/000000.bin",
        data / "raw/2011_09_26/2011_09_26_drive_0001_sync/velodyne_points/data/0000000000.bin",
        data / "nuscenes/samples/LIDAR_TOP/a.pcd.bin",
        data / "nuscenes/v1.0-mini/sample_data.json",
    )
    write_log(data / "av2/train/log-0")
    write_sequence(data / "panda/001")
    return data


@pytest.mark.parametrize(
    ("root", "name", "of"),
    [
        ("object/training", "kitti_object", "object"),
        ("object/testing", "kitti_object", "object"),
        ("odometry/dataset/sequences", "semantic_kitti", "odometry/dataset"),
        ("odometry/dataset/sequences/05", "semantic_kitti", "odometry/dataset"),
        ("raw/2011_09_26/2011_09_26_drive_0001_sync", "kitti_raw", "raw/2011_09_26"),
        ("av2/train/log-0/sensors", "argoverse2", "av2/train/log-0"),
        ("panda/001/lidar", "pandaset", "panda/001"),
        ("nuscenes/v1.0-mini", "nuscenes", "nuscenes"),
        ("nuscenes/samples", "nuscenes", "nuscenes"),
    ],
)
def test_a_part_of_a_data_set_is_told_which(data: Path, root: str, name: str, of: str) -> None:
    with pytest.raises(DataError, match=rf"part of a data set: {data / of} looks like {name} \("):
        detect_format(data / root)
    assert detect_format(data / of) == name


def test_folders_above_data_sets_are_told_them(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there are data sets in it: ") as caught:
        detect_format(data)
    for name in ("object (kitti_object)", "raw (kitti_raw)", "nuscenes (nuscenes)", "av2 (argoverse2)"):
        assert name in str(caught.value)
    (data / "object").rename(tmp_path / "home" / "object")
    (tmp_path / "more").mkdir()
    (tmp_path / "home").rename(tmp_path / "more" / "home")
    with pytest.raises(DataError, match=r"there are data sets in it: .*home/object \(kitti_object\)"):
        detect_format(tmp_path / "more")


def test_the_folder_of_a_component(tmp_path: Path) -> None:
    write_segment(tmp_path / "waymo" / "training", frames=1)
    with pytest.raises(DataError, match=r"waymo/training looks like waymo \(lidar/SEGMENT.parquet"):
        detect_format(tmp_path / "waymo" / "training" / "lidar")


def test_an_own_folder_beside_data_sets_stays_one(data: Path) -> None:
    for n in range(3):
        _touch(data / f"own/drive/points/{n:06d}.bin")
    assert detect_format(data / "own") == "folder"


@pytest.mark.parametrize(
    ("tables", "file", "name"),
    [
        ("v1.0-mini", "samples/LIDAR_TOP/a.pcd.bin", "nuscenes"),
        ("v1.01-train/v1.01-train", "lidar/a.bin", "lyft"),
        ("v1.01-train", "images/a.jpeg", "lyft"),
        ("train_data", "lidar/a.bin", "lyft"),
    ],
)
def test_tables_tell_by_their_files_whose_they_are(tmp_path: Path, tables: str, file: str, name: str) -> None:
    path = tmp_path / "root" / tables / "sample_data.json"
    _touch(path)
    path.write_text(json.dumps([{"token": "a", "filename": file}]))
    assert detect_format(tmp_path / "root") == name
    # A folder of points beside it makes no other format of it.
    _touch(tmp_path / "root/lidar/a.bin")
    assert detect_format(tmp_path / "root") == name
