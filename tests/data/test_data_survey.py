"""What is seen while sweeps pass into an index: files, times, poses, rigs, names, and what is kept of it."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pc3d.data.checks import CHECKS, read_findings, write_findings
from pc3d.data.classes import load_class_set
from pc3d.data.errors import DataError
from pc3d.data.records import Boxes, Camera, Sweep
from pc3d.data.selection import Selection
from pc3d.data.survey import Survey
from pc3d.data.survey.cameras import odd_intrinsics
from pc3d.data.survey.classes import nearest_category
from pc3d.data.survey.listing import FolderListing
from pc3d.findings import Finding

STEPS = 7
NUSCENES = load_class_set("nuscenes")


@pytest.fixture
def drives(sweeps: list[Sweep]) -> list[Sweep]:
    """Three scenes of `STEPS` sweeps at 20 Hz, with all their files."""
    return [replace(sweep, boxes=sweep.boxes and uncounted(sweep.boxes)) for sweep in sweeps]


def uncounted(boxes: Boxes) -> Boxes:
    """Boxes that lie anywhere, so that no number of points is theirs."""
    return replace(boxes, num_lidar_pts=np.full(len(boxes), -1))


def found(sweeps: list[Sweep], root: Path, **options: Any) -> dict[str, Finding]:
    survey = Survey({"root": str(root), "classes": NUSCENES.to_dict()}, len(sweeps), **options)
    assert len(list(survey.watch(sweeps))) == len(sweeps)
    return {finding.name: finding for finding in survey.findings}


def changed(sweeps: list[Sweep], change: Callable[[Sweep], dict[str, Any]]) -> list[Sweep]:
    return [replace(sweep, **change(sweep)) for sweep in sweeps]


def moved(pose: np.ndarray, by: float) -> np.ndarray:
    pose = pose.copy()
    pose[0, 3] += by
    return pose


def test_sound_drives_raise_nothing(drives: list[Sweep], tmp_path: Path) -> None:
    assert found(drives, tmp_path) == {}
    bare = changed(drives, lambda sweep: {"cameras": (), "boxes": None, "lidarseg_path": None})
    absent = dict.fromkeys(("no images", "no boxes", "no labels"), "ok")
    assert {name: finding.state for name, finding in found(bare, tmp_path).items()} == absent
    half = changed(drives, lambda sweep: {"cameras": sweep.cameras if sweep.scene == "scene-1" else ()})
    assert {finding.state for finding in found(half, tmp_path).values()} == {"ok"}


def test_a_vehicle_that_stands_or_turns_raises_nothing(drives: list[Sweep], tmp_path: Path) -> None:
    def at(pose: Callable[[Sweep], np.ndarray]) -> list[Sweep]:
        return changed(
            drives,
            lambda sweep: {
                "world_SE3_ego": pose(sweep),
                "cameras": tuple(replace(c, world_SE3_ego=pose(sweep)) for c in sweep.cameras),
            },
        )

    def turned(sweep: Sweep) -> np.ndarray:
        angle = 3.0 * 1e-6 * sweep.timestamp
        c, s = np.cos(angle), np.sin(angle)
        return np.array([[c, -s, 0, 5], [s, c, 0, 6], [0, 0, 1, 0], [0, 0, 0, 1]])

    assert found(at(lambda sweep: drives[4].world_SE3_ego), tmp_path) == {}
    assert found(at(turned), tmp_path) == {}
    assert set(found(at(lambda sweep: np.eye(4)), tmp_path)) == {"poses"}


@pytest.mark.parametrize(
    ("factor", "names"),
    [(1e-6, "equal times"), (1e-3, "unit of time"), (1e3, "unit of time"), (4.0, "")],
)
def test_units_of_time(drives: list[Sweep], tmp_path: Path, factor: float, names: str) -> None:
    sweeps = changed(
        drives,
        lambda sweep: {
            "timestamp": int(factor * sweep.timestamp),
            "cameras": tuple(replace(c, timestamp=int(factor * c.timestamp)) for c in sweep.cameras),
        },
    )
    assert set(found(sweeps, tmp_path)) - {"jumps"} == set(re.findall(r"equal times|unit of time", names))


def test_a_gap_is_said_and_a_lost_sweep_is_not(drives: list[Sweep], tmp_path: Path) -> None:
    assert found([s for n, s in enumerate(drives) if n % STEPS not in (1, 2)], tmp_path) == {}
    late = changed(drives, lambda sweep: {"timestamp": sweep.timestamp + 2_000_000 * (sweep.token == "s1f6")})
    finding = found(late, tmp_path)["gaps in time"]
    assert finding.text.startswith("1 intervals")
    assert "2.05 s after sweep s1f5" in finding.text


def test_jumps_and_mounts(drives: list[Sweep], tmp_path: Path) -> None:
    # 50 m in 50 ms; an estimate that is off by half a metre is none.
    jump = changed(drives, lambda s: {"world_SE3_ego": moved(s.world_SE3_ego, 50.0 * (s.token == "s1f4"))})
    assert found(jump, tmp_path)["jumps"].text.startswith("2 of 18 ")
    noise = changed(drives, lambda s: {"world_SE3_ego": moved(s.world_SE3_ego, 0.5 * (s.token == "s1f4"))})
    assert found(noise, tmp_path) == {}
    far = changed(drives, lambda s: {"ego_SE3_lidar": moved(s.ego_SE3_lidar, 900.0)})
    assert set(found(far, tmp_path)) == {"mount of the LiDAR"}
    image = changed(
        drives,
        lambda s: {
            "cameras": tuple(replace(c, world_SE3_ego=moved(c.world_SE3_ego, 9.0)) for c in s.cameras)
        },
    )
    assert set(found(image, tmp_path)) == {"poses of images"}


@pytest.mark.parametrize(
    ("K", "odd"),
    [
        ([1266.4, 1266.4, 816.3, 491.5], False),  # nuScenes CAM_FRONT
        ([796.9, 796.9, 857.8, 476.9], False),  # nuScenes CAM_BACK, 110 degrees wide
        ([1266.4, 1266.4, 816.3, 191.5], False),  # cut at the top
        ([2532.8, 2532.8, 1632.6, 983.0], True),  # of an image twice as large
        ([633.2, 633.2, 408.2, 245.8], True),  # of one half as large
        ([0.8, 0.8, 816.3, 491.5], True),
        ([1e5, 1e5, 816.3, 491.5], True),
    ],
)
def test_intrinsics(drives: list[Sweep], K: list[float], odd: bool) -> None:
    fx, fy, cx, cy = K
    camera: Camera = replace(
        drives[0].cameras[0], size=(1600, 900), intrinsics=np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
    )
    assert bool(odd_intrinsics(camera)) == odd


def test_files_are_looked_up_by_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, data = tmp_path / "disk", tmp_path / "data"
    for path in (disk / "a", disk / "b", disk / "empty"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"" if path.name == "empty" else b"x")
    data.symlink_to(disk)
    (disk / "link").symlink_to(disk / "a")
    (disk / "broken").symlink_to(disk / "nothing")
    (disk / "folder").mkdir()
    listed: list[object] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: listed.append(folder) or scandir(folder))
    listing = FolderListing(folders=2)
    there = [
        name for name in ("a", "b", "link", "empty", "broken", "folder", "no") if listing.size(data / name)
    ]
    assert there == ["a", "b", "link"]
    assert not listing.size(tmp_path / "nowhere" / "a")
    assert not listing.size(disk / "a" / "below a file")
    assert len(listed) == 3
    assert listing.size(data / "a"), "forgotten, and listed again"


def test_scenes_pass_one_at_a_time(drives: list[Sweep], tmp_path: Path) -> None:
    read: list[str] = []

    def reader() -> Iterator[Sweep]:
        for sweep in drives:
            read.append(sweep.scene)
            yield sweep

    survey = Survey({"root": str(tmp_path)}, len(drives))
    next(survey.watch(reader()))
    assert read.count("scene-0") == STEPS
    assert len(read) <= STEPS + 1


def test_what_is_kept_does_not_grow(drives: list[Sweep], tmp_path: Path) -> None:
    """A survey of four times as many scenes, all of them odd, takes no more memory."""

    def size(scenes: int) -> int:
        survey = Survey({"root": str(tmp_path)}, 20, skip_missing=True)
        first = replace(drives[0], timestamp=0, cameras=())
        for number in range(scenes):
            scene = f"scene-{number:06d}"
            lost = replace(first, scene=scene, path=tmp_path / "no.bin")
            list(survey.watch([lost]) if number % 2 else survey.watch([replace(first, scene=scene)] * 3))
        return len(pickle.dumps([survey._files, *survey._looks[:-1]]))

    assert size(48) < size(12) + 200


def test_two_sweeps_of_one_file(drives: list[Sweep], tmp_path: Path) -> None:
    same = changed(drives, lambda sweep: {"path": drives[7].path if sweep.token == "s1f3" else sweep.path})
    assert "s1f3" in found(same, tmp_path)["shared files"].text


def test_no_scene_is_whole(drives: list[Sweep], tmp_path: Path) -> None:
    drives = changed(drives, lambda s: {"path": tmp_path / "no" if s.token.endswith("f4") else s.path})
    survey = Survey({"root": str(tmp_path)}, len(drives), skip_missing=True)
    with pytest.raises(DataError, match=r"3 of \d+ files .* 3 of 3 scenes"):
        list(survey.watch(drives))


def test_a_split_without_key_frames(drives: list[Sweep], tmp_path: Path) -> None:
    plain = changed(
        drives, lambda s: {"split": s.scene, "is_key_frame": s.is_key_frame and s.scene == "scene-1"}
    )
    seen = found(plain, tmp_path)
    assert seen["split scene-2"].text == "it has 7 sweeps and no key frame"
    assert "split scene-1" not in seen


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Car", "vehicle.car"),
        ("adult", "human.pedestrian.adult"),
        ("Pedestrian", "human.pedestrian.adult"),
        ("traffic cone", "movable_object.trafficcone"),
        ("vehicle.cra", "vehicle.car"),
        ("Truck", "vehicle.truck"),
        ("DontCare", None),
    ],
)
def test_what_a_name_means(name: str, meant: str | None) -> None:
    assert nearest_category(name, NUSCENES) == meant


def test_selection(drives: list[Sweep]) -> None:
    taken = list(Selection(cameras=("LEFT",), labels=False, sweeps=False).take(drives))
    assert len(taken) == 9
    assert {camera.name for sweep in taken for camera in sweep.cameras} == {"LEFT"}
    assert all(sweep.lidarseg_path is None for sweep in taken)
    assert list(Selection().take(drives)) == drives
    assert Selection().command_line() == ""
    with pytest.raises(DataError, match=r"camera 'LEFTT'[\s\S]*did you mean 'LEFT'\?"):
        list(Selection(cameras=("LEFTT",)).take(drives))


def test_findings_come_back(tmp_path: Path) -> None:
    findings = [Finding("a", "problem", "it is", "mend"), Finding("b", "ok", "fine")]
    assert read_findings(tmp_path) is None
    path = write_findings(tmp_path, findings)
    assert read_findings(tmp_path) == findings
    before = path.read_bytes()
    write_findings(tmp_path, findings)
    assert path.read_bytes() == before
    for broken in ("", "[", "{}", "3", '[{"name": 1}]', before.decode().replace("problem", "trouble")):
        (tmp_path / CHECKS).write_text(broken)
        assert read_findings(tmp_path) is None
