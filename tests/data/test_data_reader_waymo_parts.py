"""Waymo segments of which a part is missing, cut or not wanted."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyarrow import parquet
from waymo_segments import SEGMENT, write_segment

from pc3d.data.build import build_index
from pc3d.data.checks import read_findings
from pc3d.data.errors import DataError
from pc3d.data.readers import Reader, open_reader
from pc3d.data.readers.detect import detect_format
from pc3d.data.readers.waymo_files import TIME
from pc3d.data.selection import Selection


def _halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _copy(split: Path, name: str) -> None:
    """A second segment."""
    for path in split.glob(f"*/{SEGMENT}.parquet"):
        (path.parent / f"{name}.parquet").write_bytes(path.read_bytes())


def _odd(reader: Reader) -> list[str]:
    return [f"{found.state} {found.name}: {found.text}" for found in reader.findings]


def test_a_cut_component_costs_what_it_says_and_no_more(tmp_path: Path) -> None:
    split = tmp_path / "training"
    write_segment(split)
    _copy(split, "other")
    assert not _read(split)[1]
    for tag in ("lidar_box", "camera_image", "lidar_segmentation"):
        _halve(split / tag / "other.parquet")
    sweeps, odd = _read(split)
    assert len(sweeps) == 6
    assert [(len(s.cameras), s.boxes is None, s.lidarseg_path is None) for s in sweeps[3:]] == (
        [(0, True, True)] * 3 if sweeps[3].scene == "other" else [(2, False, False)] * 3
    )
    assert [line.split(":")[0] for line in odd] == ["warning cameras", "warning boxes", "warning labels"]
    assert all("1 of 2 segments' " in line and "first: other" in line for line in odd)
    _halve(split / "lidar" / "other.parquet")
    sweeps, odd = _read(split)
    assert {sweep.scene for sweep in sweeps} == {SEGMENT}
    assert odd[0].startswith("warning segments: 1 of 2 segments cannot be read and were left out")
    _halve(split / "vehicle_pose" / f"{SEGMENT}.parquet")
    with pytest.raises(DataError, match=r"vehicle_pose|other.parquet"):
        _read(split)


def _read(split: Path) -> tuple[list, list[str]]:
    reader = open_reader("waymo", split)
    return list(reader.sweeps()), _odd(reader)


def test_frames_outside_the_times_of_a_cut_file_have_no_boxes(tmp_path: Path) -> None:
    split = tmp_path / "training"
    write_segment(split)
    path = split / "lidar_box" / f"{SEGMENT}.parquet"
    table = parquet.read_table(path)
    times = sorted(set(table[TIME].to_pylist()))
    parquet.write_table(table.filter([time == times[1] for time in table[TIME].to_pylist()]), path)
    sweeps, odd = _read(split)
    assert [sweep.boxes is None for sweep in sweeps] == [True, False, True]
    assert odd == [
        "warning boxes: 2 of 3 frames are outside the times of lidar_box, and their boxes are missing, "
        f"first: {SEGMENT}/{times[0]}"
    ]


def test_the_lidar_on_the_roof_has_its_own_counts(tmp_path: Path) -> None:
    write_segment(tmp_path / "training", frames=1)
    counts = [
        next(open_reader("waymo", tmp_path, lasers=lasers).sweeps()).boxes.num_lidar_pts.tolist()  # type: ignore[union-attr]
        for lasers in ("all", "top")
    ]
    assert counts == [[31, -1], [29, -1]]


def test_only_what_is_wanted_is_extracted_and_sparse_labels_are_no_fault(tmp_path: Path) -> None:
    split = tmp_path / "data" / "training"
    write_segment(split)
    path = split / "lidar_segmentation" / f"{SEGMENT}.parquet"
    table = parquet.read_table(path)
    first = min(table[TIME].to_pylist())
    parquet.write_table(table.filter([time == first for time in table[TIME].to_pylist()]), path)
    out = tmp_path / "out"
    index = build_index(
        "waymo", split, tmp_path / "a", "the test", Selection(cameras=("FRONT",), labels=False), extract=out
    )
    folders = {path.name: len(list(path.iterdir())) for path in (out / SEGMENT).iterdir()}
    assert folders == {"lidar": 3, "FRONT": 3}
    assert [[camera.name for camera in index[row].cameras] for row in range(3)] == [["FRONT"]] * 3
    # What a later index wants besides is added.
    index = build_index("waymo", split, tmp_path / "b", "the test", extract=out)
    folders = {path.name: len(list(path.iterdir())) for path in (out / SEGMENT).iterdir()}
    assert folders == {"lidar": 3, "FRONT": 3, "FRONT_LEFT": 3, "labels": 1}
    assert [index[row].lidarseg_path is None for row in range(3)] == [False, True, True]
    assert not [found for found in read_findings(index.folder) or () if found.name == "labels"]
    # Images that are not wanted may be damaged.
    _halve(split / "camera_image" / f"{SEGMENT}.parquet")
    index = build_index("waymo", split, tmp_path / "c", "the test", Selection(cameras=()))
    assert not [found for found in read_findings(index.folder) or () if found.name == "cameras"]


def test_any_record_of_version_1_is_named(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "part-00000-of-01000.tfrecord").touch()
    assert detect_format(tmp_path) == "waymo"
    with pytest.raises(DataError, match="records of version 1; download version 2"):
        open_reader("waymo", tmp_path)
