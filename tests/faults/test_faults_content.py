"""Faults in what the files of a data set hold, each well formed, that are said while it is indexed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import Fault, Place, check
from test_faults_indexing import Command, Rows, index_of, indexed, lidar, table, without

LIDAR, IMAGES, LABELS = "samples/LIDAR_TOP/*", "samples/CAM_BACK/*", "lidarseg/*/*"
FIRST = "1704096000000000*"


def rewritten(pattern: str, change: Callable[[bytes], bytes]) -> Command:
    """Index a data set whose files of a pattern were changed."""

    def command(place: Place) -> list[str | Path]:
        root = place.copy_of_data()
        paths = sorted(root.glob(pattern))
        assert paths
        for path in paths:
            place.rewrite(path, change(path.read_bytes()))
        return index_of(place, root)

    return command


def points(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[bytes], bytes]:
    return lambda content: change(np.frombuffer(content, "<f4").reshape(-1, 5).copy()).tobytes()


def scaled(rows: np.ndarray) -> np.ndarray:
    rows[:, :3] *= 1000
    return rows


def dark(rows: np.ndarray) -> np.ndarray:
    rows[:, 3] = 0
    return rows


def rolled(content: bytes) -> bytes:
    return np.roll(np.frombuffer(content, np.uint8), 1000).tobytes()


def first_image(change: Callable[[Path], object]) -> Command:
    """Index a data set of which the first image of a camera was changed in its folder."""

    def command(place: Place) -> list[str | Path]:
        root = place.copy_of_data()
        change(next(root.glob(IMAGES + FIRST)))
        return index_of(place, root)

    return command


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to("nothing.jpg")


def emptied(place: Place) -> list[str | Path]:
    """Index a data set whose table of labels has no row."""
    root = place.copy_of_data()
    place.rewrite(root / "v1.0-sim" / "lidarseg.json", b"[]")
    return index_of(place, root)


def splits(lists: Any) -> Command:
    def command(place: Place) -> list[str | Path]:
        root = place.copy_of_data()
        place.rewrite(root / "v1.0-sim" / "splits.json", json.dumps(lists).encode())
        return index_of(place, root)

    return command


def one_image(rows: Rows) -> None:
    back = [row for row in rows if "/CAM_BACK/" in row["filename"]]
    for row in back:
        row["filename"] = back[0]["filename"]


def labels_of_an_image(place: Place) -> Sequence[str | Path]:
    rows = json.loads((place.sound_root / "v1.0-sim" / "sample_data.json").read_text())
    image = next(row["token"] for row in rows if not lidar(row))
    return table("lidarseg", lambda rows: rows[0].update(sample_data_token=image))(place)


def sideways(rows: Rows) -> None:
    """A quarter turn about z, which leaves the places."""
    half = 0.5**0.5
    for row in rows:
        w, x, y, z = row["rotation"]
        row["rotation"] = [half * (w - z), half * (x + y), half * (y - x), half * (w + z)]


def kitti(spoil: Callable[[Path], object], *options: str) -> Command:
    def command(place: Place) -> list[str | Path]:
        assert place.real is not None
        root = place.copy_of_data(place.real / "kitti_raw")
        spoil(next(root.glob("*/*_sync")))
        return ["data_prep/kitti_raw.py", root, "--out", place.tmp / "index", *options]

    return command


def without_first_scans(drive: Path) -> None:
    for number in (0, 1):
        (drive / "velodyne_points" / "data" / f"{number:010d}.bin").unlink()


def year_9999(drive: Path) -> None:
    lines = [f"9999-09-26 13:02:{second}.0" for second in range(10, 20)]
    (drive / "velodyne_points" / "timestamps.txt").write_text("\n".join(lines))


CONTENT = [
    Fault(
        "images cut to half",
        "indexing",
        2,
        ["truncated", "where: .*CAM_BACK"],
        rewritten(IMAGES, lambda content: content[: len(content) // 2]),
    ),
    Fault(
        "images of another kind",
        "indexing",
        2,
        ["the image is a GIF; pc3d reads JPEG and PNG"],
        without(IMAGES, content=b"GIF89a" + bytes(20)),
    ),
    Fault(
        "one image for several times",
        "indexing",
        0,
        ["shared files: 6 of 84 "],
        table("sample_data", one_image),
    ),
    Fault(
        "an image in other letters",
        "indexing",
        2,
        [r"first: .*000000\.jpg is missing, but there is .*\.JPG"],
        first_image(lambda path: path.rename(path.with_suffix(".JPG"))),
    ),
    Fault(
        "a link that leads nowhere",
        "indexing",
        2,
        ["is a link that leads nowhere"],
        first_image(dangle),
    ),
    Fault(
        "a key frame without labels",
        "indexing",
        0,
        ["warning +labels: 1 of 9 key frames have no label file: sim-0003 1 of 3"],
        table("lidarseg", lambda rows: rows[:-1]),
    ),
    Fault(
        "no label in the table",
        "indexing",
        0,
        ["problem +labels: 9 of 9 key frames"],
        emptied,
    ),
    Fault(
        "labels of an image", "indexing", 0, ["label files: 1 of 9 .* no key frames of"], labels_of_an_image
    ),
    Fault(
        "labels of other points",
        "indexing",
        0,
        ["problem +labels in boxes: 9 of 9 "],
        rewritten(LABELS, rolled),
    ),
    Fault(
        "labels that are all noise",
        "indexing",
        0,
        ["problem +label content: 9 of 9 "],
        rewritten(LABELS, lambda content: bytes(len(content))),
    ),
    Fault(
        "sweeps in millimetres",
        "indexing",
        2,
        ["which looks like millimetres", "where: .*sweeps/LIDAR_TOP"],
        rewritten("sweeps/LIDAR_TOP/*", points(scaled)),
    ),
    Fault(
        "a sweep that ends within a point",
        "indexing",
        0,
        ["sizes of LiDAR files: 1 of 21 "],
        rewritten("sweeps/LIDAR_TOP/*1704096000150000*", lambda content: content[:-7]),
    ),
    Fault(
        "a sweep cut short",
        "indexing",
        0,
        ["small LiDAR files: 1 of 21 "],
        rewritten("sweeps/LIDAR_TOP/*1704096000150000*", lambda content: content[:20_000]),
    ),
    Fault(
        "intensity and ring exchanged",
        "indexing",
        0,
        [r"warning +rings: 9 of 14 .*first: \d+ rings"],
        rewritten(LIDAR, points(lambda rows: rows[:, [0, 1, 2, 4, 3]])),
    ),
    Fault("no intensity", "indexing", 0, ["warning +intensity: 9 of 14 "], rewritten(LIDAR, points(dark))),
    Fault(
        "a vehicle that drives sideways",
        "indexing",
        0,
        ["problem +heading: the vehicle drives sideways: 9 of 9 "],
        table("ego_pose", sideways),
    ),
    Fault(
        "a split without scenes",
        "indexing",
        0,
        ["split sim_val: it has no key frame"],
        splits({"sim_train": ["sim-0001"], "sim_val": []}),
    ),
    Fault("no split", "indexing", 0, ["splits.json names none of the 3 scenes"], splits({})),
    Fault(
        "a split called none",
        "indexing",
        2,
        ["a split cannot be called 'none'"],
        splits({"none": ["sim-0001"]}),
    ),
    Fault(
        "a camera as LiDAR", "indexing", 2, ["is a camera; LiDARs: LIDAR_TOP"], indexed("--lidar", "CAM_BACK")
    ),
]
DRIVES = [
    Fault("first scans missing", "indexing", 0, ["lacks scans 0 to 1"], kitti(without_first_scans)),
    Fault(
        "a drive without images",
        "indexing",
        0,
        ["key frames: train 10, no images"],
        kitti(lambda drive: shutil.rmtree(drive / "image_02")),
        ("Traceback", "warning"),
    ),
    Fault("a time in the year 9999", "indexing", 2, ["line 1 is no time of a drive"], kitti(year_9999)),
]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibration has tests of its own."""
    monkeypatch.setattr("pc3d.data.build.calibration_findings", lambda index: [])


@pytest.mark.parametrize("fault", CONTENT, ids=lambda fault: fault.name)
def test_fault(fault: Fault, place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    check(fault, place, capfd)


@pytest.mark.parametrize("fault", DRIVES, ids=lambda fault: fault.name)
def test_fault_of_a_drive(fault: Fault, real_place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    check(fault, real_place, capfd)


def test_scenes_without_labels_are_not_asked_for(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    command = [*emptied(place), "--no-labels"]
    check(Fault("", "indexing", 0, ["21 sweeps"], lambda _: command, ("warning", "problem")), place, capfd)
