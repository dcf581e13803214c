"""Faults that are said while a data set is indexed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from harness import Fault, Place, check, run_script

from pc3d.data.checks import read_findings
from pc3d.data.index import SweepIndex

Rows = list[dict[str, Any]]
Command = Callable[[Place], Sequence[str | Path]]


def index_of(place: Place, root: Path, *options: str | Path) -> list[str | Path]:
    arguments = ("--version", "v1.0-sim", "--out", place.tmp / "index")
    return ["data_prep/nuscenes.py", root, *arguments, *options]


def indexed(*options: str) -> Command:
    """Index the sound data set with these options."""
    return lambda place: index_of(place, place.sound_root, *options)


def without(*patterns: str, options: Sequence[str] = (), content: bytes | None = None) -> Command:
    """Index a data set without the files of these patterns, or with another content of them."""

    def command(place: Place) -> list[str | Path]:
        root = place.copy_of_data()
        for pattern in patterns:
            for path in sorted(root.glob(pattern)):
                path.unlink()
                if content is not None:
                    path.write_bytes(content)
        return index_of(place, root, *options)

    return command


def table(name: str, change: Callable[[Rows], Rows | None]) -> Command:
    """Index a data set with a table that was changed in place, or replaced."""

    def command(place: Place) -> list[str | Path]:
        root = place.copy_of_data()
        path = root / "v1.0-sim" / f"{name}.json"
        rows = json.loads(path.read_text())
        rows = change(rows) or rows
        place.rewrite(path, json.dumps(rows).encode())
        return index_of(place, root)

    return command


def each(field: str, value: Callable[[Any], Any], where: Callable[[dict[str, Any]], bool] = bool) -> Any:
    """A change of a field of each row that is meant."""

    def change(rows: Rows) -> None:
        for row in filter(where, rows):
            row[field] = value(row[field])

    return change


def lidar(row: dict[str, Any]) -> bool:
    return "LIDAR_TOP" in row["filename"]


def names(**new: str) -> Callable[[Rows], None]:
    return each("name", lambda name: new.get(name.rpartition(".")[2], name))


def swapped_labels(rows: Rows) -> None:
    rows[17]["index"], rows[16]["index"] = 16, 17


def cameras_at(rows: Rows) -> None:
    left, right = (row for row in rows[1:3])
    right["translation"], right["rotation"] = left["translation"], left["rotation"]


def one_at_the_time_of_the_next(rows: Rows) -> None:
    first, second = sorted(filter(lidar, rows), key=lambda row: row["timestamp"])[:2]
    second["timestamp"] = first["timestamp"]


def later(rows: Rows) -> None:
    """The last sweeps of the first scene come 20 s late, with their images."""
    times = sorted(row["timestamp"] for row in filter(lidar, rows))
    for row in rows:
        if times[4] <= row["timestamp"] <= times[6] + 60_000:
            row["timestamp"] += 20_000_000


def slower(rows: Rows) -> None:
    """Nanoseconds since the first sweep of the day."""
    start = min(row["timestamp"] for row in rows)
    for row in rows:
        row["timestamp"] = start + 1000 * (row["timestamp"] - start)


def jump(rows: Rows) -> None:
    rows[len(rows) // 2]["translation"][0] += 500.0


def plain_names(place: Place) -> list[str | Path]:
    assert place.real is not None
    rows = json.loads((place.real.parent / "cases" / "category_plain_names.json").read_text())
    return list(table("category", lambda _: rows)(place))


def out(place: Place, path: str, root: Path | None = None) -> list[str | Path]:
    (place.tmp / "file").write_text("mine")
    return [*index_of(place, root or place.sound_root)[:-1], place.tmp / path]


def inside(place: Place) -> list[str | Path]:
    return [*index_of(place, root := place.copy_of_data())[:-1], root / "index"]


def kitti(place: Place, *options: str) -> list[str | Path]:
    return ["data_prep/kitti_raw.py", place.sound_root, "--out", place.tmp / "index", *options]


HIDDEN = re.compile("CAM_BACK/.*1704096000500000|CAM_BACK/.*1704096001000000")
ONE, ALL = "samples/CAM_BACK/*1704096000000000*", "samples/CAM_BACK/*"
OLD = "sim-0001: CAM_BACK 1 of 3"
MISSING = [
    Fault("some images not extracted", "indexing", 2, ["1 of 84 files", OLD, "--skip-missing"], without(ONE)),
    Fault("an empty image", "indexing", 2, ["missing or empty", OLD], without(ONE, content=b"")),
    Fault(
        "scenes left out",
        "indexing",
        0,
        ["1 of 3 scenes have missing files and were left out: " + OLD, "14 sweeps"],
        without(ONE, options=["--skip-missing"]),
    ),
    Fault(
        "every scene incomplete",
        "indexing",
        2,
        ["in 3 of 3 scenes"],
        without("samples/CAM_BACK/*000000*", options=["--skip-missing"]),
    ),
    Fault(
        "a camera not extracted",
        "indexing",
        2,
        ["all scenes: CAM_BACK 9 of 9", "without it: --cameras CAM_BACK_LEFT CAM_BACK_RIGHT CAM_FRONT"],
        without(ALL),
    ),
    Fault("only LiDAR extracted", "indexing", 2, [r"--cameras none$"], without("samples/CAM_*/*")),
    Fault("sweeps not extracted", "indexing", 2, [r"--no-sweeps$"], without("sweeps/*/*")),
    Fault("labels not extracted", "indexing", 2, [r"--no-labels$"], without("lidarseg/*/*")),
    Fault("no LiDAR extracted", "indexing", 2, ["check ROOT"], without("samples/LIDAR_TOP/*")),
    Fault("a misspelt camera", "indexing", 2, ["did you mean 'CAM_FRONT'"], indexed("--cameras", "CAM_FRNT")),
    Fault("a camera in small letters", "indexing", 2, ["'CAM_FRONT'"], indexed("--cameras", "cam_front")),
    Fault("a camera of no likeness", "indexing", 2, ["there are: CAM_BACK"], indexed("--cameras", "3")),
    Fault("no camera and one", "start", 2, ["one or the other"], indexed("--cameras", "none", "CAM_BACK")),
    Fault("a misspelt LiDAR channel", "indexing", 2, ["LIDAR_TOP"], indexed("--lidar", "LIDAR_TPO")),
]
PLACES = [
    Fault("no data set there", "start", 2, ["does not exist"], lambda p: index_of(p, p.tmp / "no")),
    Fault("a file as data set", "start", 2, ["root is a file"], lambda p: out(p, "index", p.tmp / "file")),
    Fault("a file as index", "start", 2, ["exists and is not an index"], lambda p: out(p, "file")),
    Fault("an index below a file", "start", 2, ["below a file"], lambda p: out(p, "file/index")),
    Fault("an index in the data set", "start", 2, ["inside the data set"], inside),
    Fault("unknown version", "start", 2, ["--version v1.0-sim"], indexed("--version", "v1.0-mini")),
    Fault("no drive of KITTI", "start", 2, ["no drive with velodyne_points"], kitti),
    Fault("no key frame", "start", 2, ["key_every is 0"], lambda p: kitti(p, "--key-every", "0")),
]
ODD = [
    Fault("boxes called Car", "indexing", 0, ["'Car' .*vehicle.car"], table("category", names(car="Car"))),
    Fault(
        "labels in another order",
        "indexing",
        2,
        ["label 17 is 'vehicle.bus"],
        table("category", swapped_labels),
    ),
    Fault(
        "times of another unit",
        "indexing",
        0,
        ["problem +unit of time: 3 of 3"],
        table("sample_data", slower),
    ),
    Fault("a gap in time", "indexing", 0, ["gaps in time: 1 .* 20"], table("sample_data", later)),
    Fault(
        "two sweeps at one time",
        "indexing",
        0,
        ["equal times: 1 "],
        table("sample_data", one_at_the_time_of_the_next),
    ),
    Fault(
        "images of another time",
        "indexing",
        0,
        ["times of images: 54 of 54"],
        table("sample_data", each("timestamp", lambda t: t + 700_000, lambda row: not lidar(row))),
    ),
    Fault("a jump of the pose", "indexing", 0, ["jumps: |poses of images: "], table("ego_pose", jump)),
    Fault(
        "a vehicle upside down",
        "indexing",
        0,
        ["problem +ego axes: 21 of 21"],
        table("ego_pose", each("rotation", lambda q: [q[1], q[0], q[3], q[2]])),
    ),
    Fault(
        "no poses",
        "indexing",
        0,
        ["every pose is the identity"],
        table(
            "ego_pose",
            lambda rows: [{**row, "translation": [0, 0, 0], "rotation": [1, 0, 0, 0]} for row in rows],
        ),
    ),
    Fault(
        "calibration in millimetres",
        "indexing",
        0,
        ["mount of the LiDAR", "mounts of cameras"],
        table("calibrated_sensor", each("translation", lambda t: [1000 * x for x in t])),
    ),
    Fault("one camera twice", "indexing", 0, ["equal cameras: "], table("calibrated_sensor", cameras_at)),
    Fault(
        "intrinsics of another size",
        "indexing",
        0,
        ["problem +intrinsics: "],
        table(
            "calibrated_sensor",
            each(
                "camera_intrinsic",
                lambda K: [[2 * x for x in row] for row in K[:2]] + K[2:],
                lambda r: bool(r["camera_intrinsic"]),
            ),
        ),
    ),
    Fault(
        "a camera that comes and goes",
        "indexing",
        0,
        ["camera CAM_BACK: 2 of 9 key frames do not have it"],
        table("sample_data", lambda rows: [row for row in rows if not HIDDEN.search(row["filename"])]),
    ),
    Fault(
        "boxes far away",
        "indexing",
        0,
        ["far boxes: "],
        table("sample_annotation", each("translation", lambda t: [t[0] + 1000, t[1], t[2]])),
    ),
    Fault(
        "boxes beside the points",
        "indexing",
        0,
        ["boxes on points: "],
        table("sample_annotation", each("translation", lambda t: [t[0] + 8, t[1], t[2]])),
    ),
    Fault(
        "boxes of another unit",
        "indexing",
        0,
        [r"sizes of boxes: \d+ of 645"],
        table("sample_annotation", each("size", lambda size: [50 * x for x in size])),
    ),
    Fault(
        "boxes without points",
        "indexing",
        0,
        ["all 645 boxes are said to hold no point"],
        table("sample_annotation", each("num_lidar_pts", lambda _: 0)),
    ),
    Fault(
        "points of another format",
        "indexing",
        2,
        ["point", "where: .*bin"],
        without("samples/LIDAR_TOP/*", content=b"\0" * 16 * 101),
    ),
    Fault(
        "label files of another length",
        "indexing",
        2,
        ["label file has 3 labels"],
        without("lidarseg/*/*", content=b"\x01\x02\x03"),
    ),
    Fault("images that are none", "indexing", 2, ["image cannot be read"], without(ALL, content=b"GIF")),
    Fault(
        "a broken image", "indexing", 0, ["opened files of CAM_BACK: 1 of 9"], without(ONE, content=b"GIF")
    ),
]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibration has tests of its own."""
    monkeypatch.setattr("pc3d.data.build.calibration_findings", lambda index: [])


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("fault", MISSING + PLACES + ODD, ids=lambda fault: fault.name)
def test_fault(fault: Fault, place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    check(fault, place, capfd)
    assert (place.tmp / "index").is_dir() == (fault.code == 0), "no index where an error is said"


@pytest.mark.usefixtures("quick")
def test_names_without_their_prefix(real_place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    says = ["problem +box categories: none of 645 boxes", "'adult' .*human.pedestrian.adult"]
    check(Fault("category names without prefix", "indexing", 0, says, plain_names), real_place, capfd)


@pytest.mark.usefixtures("quick")
def test_an_index_that_was_there_stays(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_script(index_of(place, place.sound_root), capfd)[0] == 0
    before = {path: path.read_bytes() for path in (place.tmp / "index").rglob("*") if path.is_file()}
    assert run_script(without(ONE)(place), capfd)[0] == 2
    assert {path: path.read_bytes() for path in (place.tmp / "index").rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("quick")
def test_what_is_selected(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    options = ("--cameras", "CAM_BACK", "--no-labels", "--no-sweeps")
    spoil = without("samples/CAM_FRONT/*", "lidarseg/*/*", "sweeps/*/*", options=options)
    assert run_script(spoil(place), capfd)[0] == 0
    index = SweepIndex.open(place.tmp / "index")
    assert len(index) == len(index.key_rows()) == 9
    assert {camera.name for row in range(9) for camera in index[row].cameras} == {"CAM_BACK"}
    assert index[0].lidarseg_path is None
    assert index.metadata["rebuild"].endswith(" --cameras CAM_BACK --no-labels --no-sweeps")


@pytest.mark.parametrize(
    "options", [(), ("--cameras", "none"), pytest.param(("--no-sweeps",), marks=pytest.mark.long)]
)
def test_sound_drives_raise_nothing(
    options: Sequence[str], place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    code, text = run_script(index_of(place, place.sound_root, *options), capfd)
    assert code == 0
    assert "warning" not in text
    assert "problem" not in text
    assert {finding.state for finding in read_findings(place.tmp / "index") or []} <= {"ok"}


@pytest.mark.usefixtures("quick")
def test_a_vehicle_that_stands_raises_nothing(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    def stand(rows: Rows) -> None:
        first: dict[int, dict[str, Any]] = {}
        for row in sorted(rows, key=lambda row: row["timestamp"]):
            scene = first.setdefault(row["timestamp"] // 60_000_000, row)  # a scene a minute
            row["translation"], row["rotation"] = scene["translation"], scene["rotation"]

    code, text = run_script(table("ego_pose", stand)(place), capfd)
    findings = read_findings(place.tmp / "index")
    assert (code, findings) == (0, []), text


def test_the_real_samples_raise_nothing(real_place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    assert real_place.real is not None
    target = real_place.tmp / "index"
    for script, folder, options in (
        ("nuscenes", "nuscenes", ("--version", "v1.0-mini")),
        ("kitti_raw", "kitti_raw", ()),
        ("kitti_raw", "kitti_raw", ("--cameras", "none", "--key-every", "3")),
    ):
        command = [f"data_prep/{script}.py", real_place.real / folder, "--out", target, *options]
        code, text = run_script(command, capfd)
        assert code == 0, text
        assert {finding.state for finding in read_findings(target) or []} <= {"ok"}, text
        assert "warning" not in text
        assert "problem" not in text
        shutil.rmtree(target)


OTHER = [
    Fault(
        "simulation over another folder",
        "start",
        2,
        ["is not empty|simulated data set is there already|remedy"],
        lambda place: ["data_prep/simulate.py", place.sound_root, "--size", "tiny"],
    ),
    Fault(
        "regions of no index",
        "start",
        2,
        ["no index"],
        lambda p: ["data_prep/regions.py", p.tmp, "--out", p.tmp / "c"],
    ),
    Fault(
        "objects of an unknown split",
        "start",
        2,
        ["split"],
        lambda p: ["data_prep/objects.py", p.index, "--split", "trian", "--out", p.tmp / "o"],
    ),
]


@pytest.mark.parametrize("fault", OTHER, ids=lambda fault: fault.name)
def test_other_preparation(fault: Fault, place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    check(fault, place, capfd)
