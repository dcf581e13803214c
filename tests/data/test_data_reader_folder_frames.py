"""Own folders: frames, motion, times and units against a vehicle whose way is known."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from made_drive import (
    EGO_SE3_CAM,
    EGO_SE3_REAR,
    EGO_SE3_TOP,
    START,
    TIMED,
    MadeDrive,
    circle,
    lidar_section,
    speeding,
    timed,
)

from pc3d.data.build import build_index
from pc3d.data.checks import read_findings
from pc3d.data.classes import ClassSet
from pc3d.data.errors import DataError
from pc3d.data.folder_export import export_folder
from pc3d.data.index import SweepIndex
from pc3d.data.labels import load_labels
from pc3d.data.points import load_sweep
from pc3d.data.readers.folder.reader import FolderReader
from pc3d.data.readers.pandaset import PandaSetReader
from pc3d.findings import Finding
from pc3d.geometry.rigid import invert_SE3, transform_points

CLASSES = "name: own\nclasses: [a, b, c, d, e]\nlabels: {0: a, 1: b, 2: c, 3: d, 4: e}\n"


def made_index(made: MadeDrive, **options: Any) -> tuple[SweepIndex, list[Finding]]:
    """The index of what was made, and what was found odd; numpy may warn of nothing."""
    out = made.root.parent / "index"
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        index = build_index("folder", made.describe(), out, "-", **options)
    return index, read_findings(out) or []


def odd(findings: Iterable[Finding]) -> dict[str, str]:
    return {f.name: f.text for f in findings if f.state != "ok"}


@pytest.fixture
def made(tmp_path: Path) -> MadeDrive:
    return MadeDrive(tmp_path / "own")


def in_ego(local: np.ndarray, late: np.ndarray, world: np.ndarray, time: float) -> np.ndarray:
    points = transform_points(invert_SE3(circle(time)), world)
    return np.column_stack([points, np.linspace(0, 1, len(points))]).astype("<f4")


def in_world(local: np.ndarray, late: np.ndarray, world: np.ndarray, time: float) -> np.ndarray:
    return np.column_stack([world, late * 0, late * 1e6]).astype("<f8")


def test_points_in_the_ego_frame_have_a_mount_too(made: MadeDrive) -> None:
    made.calibration["lidars"] = {
        "top": lidar_section(frame="ego"),
        "rear": lidar_section(EGO_SE3_REAR, frame="ego"),
    }
    made.drive(table=in_ego)
    made.drive(table=in_ego, lidar="rear", ego_SE3_lidar=EGO_SE3_REAR)
    made.poses()
    index, _ = made_index(made)
    for row in range(3):
        sweep = index[row]
        np.testing.assert_allclose(sweep.ego_SE3_lidar, EGO_SE3_TOP, atol=1e-9)
        assert made.off(sweep) < 1e-3
        first, second = np.split(load_sweep(sweep)[:, :3], 2)
        np.testing.assert_allclose(second, first, atol=1e-3)


@pytest.mark.parametrize("scans", [1, 3])
def test_motion_is_that_of_all_poses(made: MadeDrive, scans: int) -> None:
    made.way, made.moving = speeding, True
    made.calibration["lidars"]["top"] |= TIMED
    made.drive(times=[2.0 * n for n in range(scans)], table=timed)
    made.poses(times=np.arange(-20, 100) / 20)
    index, found = made_index(made, compensate_motion=True)
    assert "motion" not in odd(found)
    # 6 m/s^2 over 0.1 s, from a velocity that is known to 0.15 m/s: 3 cm; the vehicle drives up to 2.5 m.
    assert all(made.off(index[row]) < 0.05 for row in range(scans))


def test_scans_without_motion_are_counted(made: MadeDrive) -> None:
    made.moving = True
    made.calibration["lidars"]["top"] |= TIMED
    made.drive(times=[0.0, 0.2, 5.0], table=timed)
    made.poses(times=[0.0, 0.2, 5.0])
    index, found = made_index(made, compensate_motion=True)
    assert "1 of 3 sweeps are not compensated" in odd(found)["motion"]
    assert [index[row].motion is None for row in range(3)] == [False, False, True]


def test_what_is_not_compensated(made: MadeDrive, tmp_path: Path) -> None:
    made.moving = True
    made.calibration["lidars"]["top"] |= TIMED
    made.drive(table=timed)
    poses = made.calibration.pop("poses")
    with pytest.raises(DataError, match="there are no poses, so points cannot be compensated"):
        made_index(made, compensate_motion=True)
    other = MadeDrive(tmp_path / "world", moving=True)
    other.calibration = {**made.calibration, "poses": poses}
    other.calibration["lidars"]["top"] |= {"frame": "world", "dtype": "float64"}
    other.drive(table=in_world)
    other.poses()
    with pytest.raises(DataError, match="compensated its points for motion already"):
        made_index(other, compensate_motion=True)
    index, found = made_index(other)
    assert not odd(found).keys() & {"motion", "drives"}
    assert all(other.off(index[row]) < 1e-3 for row in range(3))


@pytest.mark.parametrize(
    ("time", "dtype", "seconds", "message"),
    [
        ({"unit": "s", "start": "1970"}, "float32", lambda t, late: START + t + late, "steps of 128 s"),
        ({"unit": "ns", "start": "sweep"}, "float32", lambda t, late: late * 1e6, "in us it would be 0.0"),
        ({"unit": "ms", "start": "sweep"}, "float32", lambda t, late: late * 1e6, "take 9[0-9.]+ s in ms"),
    ],
)
def test_times_that_cannot_be(time: dict, dtype: str, seconds: Any, message: str, made: MadeDrive) -> None:
    made.moving = True
    made.calibration["lidars"]["top"] |= {**TIMED, "time": time}
    made.drive(
        table=lambda local, late, world, t: np.column_stack([local, 0 * late, seconds(t, late)]).astype(dtype)
    )
    made.poses()
    with pytest.raises(DataError, match=f"lidars.top.time: .*{message}"):
        FolderReader(made.describe())


@pytest.mark.parametrize(
    ("said", "key"),
    [({"units": "mm"}, "units"), ({"units": "cm"}, "units"), ({"intensity": 65535}, "intensity")],
)
def test_units_that_do_not_fit_are_told(said: dict, key: str, made: MadeDrive) -> None:
    made.calibration["lidars"]["top"] |= {"intensity": 255, **said}
    made.drive(
        table=lambda local, late, *_: np.column_stack([local, np.arange(len(late)) % 256]).astype("<f4")
    )
    made.poses()
    assert f"lidars.top.{key}" in odd(FolderReader(made.describe()).findings)
    made.calibration["lidars"]["top"] |= {"units": "m", "intensity": 255}
    assert not odd(FolderReader(made.describe()).findings)


def test_rays_without_an_echo_in_any_scan(made: MadeDrive) -> None:
    def table(local: np.ndarray, late: np.ndarray, world: np.ndarray, time: float) -> np.ndarray:
        rows = np.column_stack([local, late]).astype("<f4")
        rows[::7, :3] = {0.0: rows[::7, :3], 0.2: np.nan, 0.4: 0.0}[time]
        return rows

    made.calibration["labels"] = {"folder": "labels", "format": "uint8"}
    made.drive(table=table)
    made.poses()
    (made.root / "classes.yaml").write_text(CLASSES)
    (made.root / "d0" / "labels").mkdir()
    ids = (np.arange(made.points) % 5).astype("u1")
    valid = np.arange(made.points) % 7 != 0
    for time, some in ((0.0, ids), (0.2, ids), (0.4, ids[valid])):  # of all rays, or of valid points only
        some.tofile(made.root / "d0" / "labels" / f"{round((START + time) * 1e6)}.bin")
    index, found = made_index(made)
    classes = ClassSet.of(index.metadata)
    assert classes is not None
    assert not odd(found).keys() & {"labels", "LiDAR", "damaged files"}
    for row, wanted in enumerate((ids, ids[valid], ids[valid])):
        points = load_sweep(index[row])
        assert np.isfinite(points).all()
        np.testing.assert_array_equal(load_labels(index[row], len(points), classes), wanted)


def test_labels_of_the_first_of_two_lidars(made: MadeDrive) -> None:
    made.calibration["lidars"]["rear"] = lidar_section(EGO_SE3_REAR)
    made.drive()
    made.drive(lidar="rear", ego_SE3_lidar=EGO_SE3_REAR)
    made.poses()
    made.calibration["labels"] = {"folder": "labels", "format": "npy"}
    (made.root / "classes.yaml").write_text(CLASSES)
    (made.root / "d0" / "labels").mkdir()
    ids = np.arange(made.points, dtype=np.uint32) % 5
    for time in (0.0, 0.2, 0.4):  # with instances in the high 16 bits
        whole = ids | np.arange(made.points, dtype=np.uint32) << np.uint32(16)
        np.save(made.root / "d0" / "labels" / f"{round((START + time) * 1e6)}.npy", whole)
    index, found = made_index(made)
    assert not odd(found).keys() & {"label ids", "labels"}
    classes = ClassSet.of(index.metadata)
    assert classes is not None
    points = load_sweep(index[0])
    labels = load_labels(index[0], len(points), classes)
    np.testing.assert_array_equal(labels, np.append(ids, np.full(made.points, -1)))
    np.save(index[0].lidarseg_path or "", ids[:-1])
    with pytest.raises(DataError, match="599 labels, the sweep has 1200 points"):
        load_labels(index[0], len(points), classes)


def test_the_world_of_a_camera_is_turned_upright(made: MadeDrive) -> None:
    made.calibration["cameras"] = {
        "cam": {"intrinsics": [300, 300, 200, 100], "ego_SE3_cam": EGO_SE3_CAM[:3].tolist()}
    }
    made.calibration["poses"] = {"file": "poses.txt", "of": "cam"}
    made.drive()
    first = invert_SE3(circle(0.0) @ EGO_SE3_CAM)
    poses = [first @ circle(time) @ EGO_SE3_CAM for time in (0.0, 0.2, 0.4)]
    np.savetxt(made.root / "d0" / "poses.txt", [pose[:3].reshape(-1) for pose in poses])
    index, found = made_index(made)
    assert not odd(found).keys() & {"ego axes", "poses"}
    for row, time in enumerate((0.0, 0.2, 0.4)):
        moved = invert_SE3(circle(0.0)) @ circle(time)
        np.testing.assert_allclose(index[row].world_SE3_ego, moved, atol=1e-6)


def test_what_a_drive_lacks_is_told(made: MadeDrive) -> None:
    for name in ("d0", "d1"):
        made.drive(name=name)
    made.poses("d0")
    (made.root / "d2" / "top").mkdir(parents=True)
    index, found = made_index(made)
    assert {index[row].scene for row in range(len(index))} == {"d0"}
    told = odd(found)["drives"]
    assert "2 of 3 drives are left out: d1 has no poses.csv; d2 has no scan in top/" in told
    (made.root / "d0" / "poses.csv").unlink()
    with pytest.raises(DataError, match=r"no drive can be read: d0 has no poses\.csv"):
        list(FolderReader(made.root).sweeps())


@pytest.mark.parametrize(
    ("head", "ticks", "stated"),
    [
        ("time", 1e6, "us"),
        ("time_s", 1.0, "us"),
        ("timestamp_ns", 1e9, "us"),
        ("t", 1e3, "us"),
    ],
)
@pytest.mark.parametrize("boot", [12.5, 1234.5, START])
def test_the_unit_of_poses(head: str, ticks: float, stated: str, boot: float, made: MadeDrive) -> None:
    if head == "t":
        made.calibration["poses"]["unit"] = "ms"
    made.calibration["stamps"] = stated
    made.drive(stamp=lambda t: round((boot + t) * 1e6))
    made.poses(
        times=np.arange(0, 21) / 20,
        head=head,
        stamp=lambda t: f"{boot + t:.6f}" if ticks == 1 else round((boot + t) * ticks),
    )
    sweeps = list(FolderReader(made.describe()).sweeps())
    assert len(sweeps) == 3
    for sweep in sweeps:
        np.testing.assert_allclose(sweep.world_SE3_ego, circle(sweep.timestamp / 1e6 - boot), atol=2e-3)


def test_poses_of_another_time_are_told_with_both(made: MadeDrive) -> None:
    made.drive()
    made.poses(stamp=lambda t: round((500 + t) * 1e6))
    with pytest.raises(DataError, match=r"poses are from 499.0+ to 502.95\d* s, its scans from 1700000000"):
        list(FolderReader(made.describe()).sweeps())


def test_stamps_in_a_unit_that_cannot_be(made: MadeDrive) -> None:
    made.calibration |= {"stamps": "s", "poses": {"file": "poses.txt", "of": "ego"}}
    made.drive()
    np.savetxt(made.root / "d0" / "poses.txt", [circle(t)[:3].reshape(-1) for t in (0.0, 0.2, 0.4)])
    with pytest.raises(DataError, match="after the year 2286"):
        list(FolderReader(made.describe()).sweeps())
    made.calibration["stamps"] = "ns"
    for end in (1, 2):
        (made.root / "d0" / "top" / f"{round(START)}00000000{end}.bin").write_bytes(b"")
    with pytest.raises(DataError, match="two files have one time"):
        list(FolderReader(made.describe()).sweeps())


def test_the_first_drive_lacks_the_first_lidar(made: MadeDrive) -> None:
    made.calibration["lidars"]["rear"] = lidar_section(EGO_SE3_REAR)
    del made.calibration["stamps"]
    made.drive(name="d0", lidar="rear", ego_SE3_lidar=EGO_SE3_REAR)
    made.drive(name="d1")
    made.poses("d1")
    reader = FolderReader(made.describe(), accept_guesses=True)
    assert {sweep.scene for sweep in reader.sweeps()} == {"d1"}


def test_bytes_of_another_type_do_not_make_numpy_warn(made: MadeDrive) -> None:
    made.calibration["lidars"]["top"]["dtype"] = "float32"
    made.drive(table=lambda local, late, *_: np.column_stack([local, late]).astype(">f4"))
    made.poses()
    with pytest.raises(DataError):
        made_index(made)


def test_cameras_that_are_late_come_back(real_data: Path, tmp_path: Path) -> None:
    sweeps = list(PandaSetReader(real_data / "pandaset").sweeps())[:3]
    export_folder(sweeps, tmp_path / "own")
    facts = yaml.safe_load((tmp_path / "own" / "calibration.yaml").read_text())
    apart = max(abs(c.timestamp - sweep.timestamp) for sweep in sweeps for c in sweep.cameras) / 1e6
    assert facts["sync"] >= apart
    for before, after in zip(sweeps, FolderReader(tmp_path / "own").sweeps(), strict=True):
        assert {c.name for c in after.cameras} == {c.name for c in before.cameras}
