"""Own folders: what is written comes back, what is not said is not assumed, a real drive fits its images."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rewritten_drive import CLASSES, DISTORTION, calibration, classes_of, edited, six_columns, write_own_drive

from pc3d.data.build import build_index
from pc3d.data.classes import ClassSet
from pc3d.data.errors import DataError
from pc3d.data.folder_export import export_folder
from pc3d.data.index import SweepIndex
from pc3d.data.labels import load_labels
from pc3d.data.pairing import PairingConfig, pair_camera
from pc3d.data.points import load_sweep
from pc3d.data.readers.detect import detect_format
from pc3d.data.readers.folder.reader import FolderReader
from pc3d.data.readers.folder.stamps import microseconds, number_of, unit_by_digits
from pc3d.data.readers.folder.transforms import euler_matrix, read_transform
from pc3d.geometry.rigid import invert_SE3, make_SE3, matrix_to_quaternion, quaternion_to_matrix


@pytest.fixture(scope="module")
def own(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list]:
    folder = tmp_path_factory.mktemp("own")
    return folder, write_own_drive(real_data, folder)


def test_a_folder_holds_what_an_index_holds(tiny_index: Path, tmp_path: Path) -> None:
    index = SweepIndex.open(tiny_index)
    classes = ClassSet.of(index.metadata)
    rows = [int(row) for row in index.key_rows(None)[:4]]
    before = [index[row] for row in rows]
    export_folder(before, tmp_path / "own", classes, splits=True)
    assert detect_format(tmp_path / "own") == "folder"
    reader = FolderReader(tmp_path / "own")
    after = {sweep.timestamp: sweep for sweep in reader.sweeps()}
    assert len(after) == len(before) == len(reader)
    for sweep in before:
        other = after[sweep.timestamp]
        np.testing.assert_allclose(load_sweep(other, ["ring"]), load_sweep(sweep, ["ring"]), atol=1e-6)
        np.testing.assert_allclose(other.world_SE3_ego, sweep.world_SE3_ego, atol=1e-9)
        np.testing.assert_allclose(other.ego_SE3_lidar, sweep.ego_SE3_lidar, atol=1e-9)
        assert other.split == sweep.split
        assert other.is_key_frame
        assert [c.name for c in other.cameras] == sorted(c.name for c in sweep.cameras)
        cameras = {camera.name: camera for camera in other.cameras}
        for camera in sweep.cameras:
            mine = cameras[camera.name]
            np.testing.assert_allclose(mine.intrinsics, camera.intrinsics, atol=1e-9)
            np.testing.assert_allclose(mine.ego_SE3_cam, camera.ego_SE3_cam, atol=1e-9)
            np.testing.assert_allclose(mine.world_SE3_ego, camera.world_SE3_ego, atol=1e-9)
            assert mine.path.read_bytes() == camera.path.read_bytes()
        assert sweep.boxes is not None
        assert other.boxes is not None
        assert classes is not None
        np.testing.assert_allclose(other.boxes.centers, sweep.boxes.centers, atol=1e-9)
        np.testing.assert_allclose(other.boxes.sizes, sweep.boxes.sizes, atol=1e-9)
        np.testing.assert_allclose(np.cos(other.boxes.yaws - sweep.boxes.yaws), 1, atol=1e-9)
        np.testing.assert_allclose(other.boxes.velocities, sweep.boxes.velocities, atol=1e-9)
        assert other.boxes.names == sweep.boxes.names
        assert other.boxes.tracks == sweep.boxes.tracks
        points = len(load_sweep(sweep))
        np.testing.assert_array_equal(
            load_labels(other, points, classes), load_labels(sweep, points, classes)
        )


def test_what_is_not_said_is_asked_for_and_named(own: tuple[Path, list], tmp_path: Path) -> None:
    with pytest.raises(DataError) as found:
        build_index("folder", own[0], tmp_path / "index", "-")
    said = str(found.value)
    for line in (
        "lidars.top.units: mm",
        "lidars.top.intensity: 255",
        "lidars.top.time: {unit: us, start: 'sweep'}",
        "stamps: ns",
        "poses.file: poses.csv",
        "poses.of: ego",
        "labels.format: uint32",
    ):
        assert line in said
    assert "--accept-guesses" in said
    assert not (tmp_path / "index").exists()
    accepted = FolderReader(own[0], accept_guesses=True)
    assert sum(finding.name.startswith("guess") for finding in accepted.findings) == 7
    assert sum(note.startswith("guessed") for note in accepted.metadata["notes"]) == 7


def test_the_real_drive_in_an_own_folder(own: tuple[Path, list], tmp_path: Path) -> None:
    folder, sweeps = own
    text = calibration(sweeps[0])
    (folder / "calibration.yaml").write_text(edited(text))
    index = build_index("folder", folder, tmp_path / "index", "-", compensate_motion=False)
    (folder / "calibration.yaml").write_text(text)
    assert {split: len(index.key_rows(split)) for split in index.splits} == {"train": 5, "val": 5}
    classes = ClassSet.of(index.metadata)
    assert classes is not None
    assert classes.classes == CLASSES
    for row, sweep in enumerate(sweeps):
        mine = index[row]
        points, original = load_sweep(mine, ["ring", "time"]), load_sweep(sweep)
        np.testing.assert_allclose(points[:, :3], original[:, :3], atol=1e-5)
        np.testing.assert_allclose(points[:, 3], original[:, 3], atol=1 / 255)
        np.testing.assert_allclose(points[:, 5], six_columns(original)[:, 5] / 1e6, atol=1e-6)
        np.testing.assert_array_equal(load_labels(mine, len(points), classes), classes_of(original))
        camera, rectified = mine.cameras[0], sweep.cameras[0]
        assert camera.timestamp - mine.timestamp == 13_000
        assert camera.distortion == DISTORTION
        # The pixel that a point is paired with is OpenCV's of a camera that has moved on for 13 ms.
        pairs = pair_camera(points, mine, camera, PairingConfig(occlusion=False)) if row else None
        if pairs is None or not len(pairs.row):
            continue
        world = original[pairs.row, :3] @ (mine.world_SE3_ego @ mine.ego_SE3_lidar)[:3, :3].T
        world += (mine.world_SE3_ego @ mine.ego_SE3_lidar)[:3, 3]
        cam_SE3_world = invert_SE3(camera.world_SE3_ego @ camera.ego_SE3_cam)
        rvec = cv2.Rodrigues(cam_SE3_world[:3, :3])[0]
        K = rectified.intrinsics.copy()
        K[:2, 2] -= 0.5
        uv = cv2.projectPoints(world, rvec, cam_SE3_world[:3, 3], K, np.array(DISTORTION))[0][:, 0] + 0.5
        np.testing.assert_allclose(pairs.uv, uv, atol=2e-2)
        assert 0.08 < len(pairs.row) / len(points) < 0.2


def test_the_number_of_columns_is_told_by_their_order(real_data: Path, tmp_path: Path) -> None:
    scan = next((real_data / "kitti_raw").rglob("*.bin"))
    (tmp_path / "drive" / "velo").mkdir(parents=True)
    for number in range(2):
        (tmp_path / "drive" / "velo" / f"{number:06d}.bin").write_bytes(scan.read_bytes())
    assert detect_format(tmp_path) == "folder"
    with pytest.raises(DataError, match=r"columns: \[x, y, z, intensity\]") as found:
        FolderReader(tmp_path)
    for line in ("units: m", "intensity: 1", "axes: x-forward", "rate_hz: 10"):
        assert line in str(found.value)
    height = re.search(r"height: ([\d.]+)", str(found.value))
    assert height is not None
    assert float(height[1]) == pytest.approx(1.73, abs=0.15)
    sweeps = list(FolderReader(tmp_path, accept_guesses=True).sweeps())
    assert [sweep.timestamp for sweep in sweeps] == [0, 100_000]
    assert load_sweep(sweeps[0]).shape == (scan.stat().st_size // 16, 4)


def test_a_folder_of_scans_alone(real_data: Path, tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(2):
        shutil.copy(real_data / "pcd" / "vlp16_10_fields_mixed_sizes_binary.pcd", scans / f"{number}.pcd")
    shutil.copytree(scans, tmp_path / "another")  # beside it, and before it by name
    assert detect_format(scans) == "folder"
    with pytest.raises(DataError, match="would be guesses") as found:
        FolderReader(scans)
    sweeps = list(FolderReader(scans, accept_guesses=True).sweeps())
    assert [sweep.path for sweep in sweeps] == [scans / "0.pcd", scans / "1.pcd"]
    # The lines that it proposes are a calibration file that leaves nothing open.
    lines = [line.strip() for line in str(found.value).splitlines() if "    # " in line]
    facts: dict = {}
    for line in lines:
        keys, _, value = line.partition("    # ")[0].partition(": ")
        *path, last = keys.split(".")
        section = facts
        for key in path:
            section = section.setdefault(key, {})
        section[last] = yaml.safe_load(value)
    (scans / "calibration.yaml").write_text(yaml.safe_dump(facts))
    stated = list(FolderReader(scans).sweeps())
    np.testing.assert_array_equal(load_sweep(stated[0], ["time"]), load_sweep(sweeps[0], ["time"]))
    np.testing.assert_array_equal(stated[1].ego_SE3_lidar, sweeps[1].ego_SE3_lidar)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lidar": {}}, r"unknown key 'lidar'; did you mean 'lidars'"),
        ({"lidars": {"top": {"units": "inch"}}}, r"lidars.top: units is 'inch'"),
        ({"lidars": {"top": {"columns": ["x", "y"]}}}, r"expected x, y and z"),
        ({"lidars": {"top": {"columns": ["x", "y", "z", "intensty"]}}}, r"did you mean 'intensity'"),
        ({"lidars": {"top": {"ego_SE3_lidar": [1, 2, 3]}}}, r"ego_SE3_lidar: it has 3 numbers"),
        ({"lidars": {"top": {"ego_SE3_lidar": [[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]}}}, r"no rotation"),
        ({"lidars": {"top": {"axes": "x-forward"}}}, r"axes and height go together"),
        ({"cameras": {"front": {"intrinsics": [1, 2, 3]}}}, r"cameras.front: (intrinsics|give one of)"),
        (
            {
                "cameras": {
                    "front": {"intrinsics": [500, 500, 9, 9], "model": "fish", "ego_SE3_cam": [0] * 12}
                }
            },
            r"model is 'fish'",
        ),
        ({"stamps": "hours"}, r"stamps is 'hours'"),
        ({"poses": {"file": "p.csv", "of": "roof"}}, r"poses.of is 'roof'"),
        ({"key_every": 0}, r"key_every is 0"),
    ],
)
def test_a_wrong_calibration_is_named(
    change: dict, message: str, own: tuple[Path, list], tmp_path: Path
) -> None:
    facts = yaml.safe_load(edited(calibration(own[1][0])))
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(facts.get(key), dict):
            for name, section in value.items():
                facts[key][name] = section if not isinstance(section, dict) else {**section}
        else:
            facts[key] = value
    for scene in ("drive0", "drive1"):
        (tmp_path / scene).symlink_to(own[0] / scene)
    (tmp_path / "calibration.json").write_text(json.dumps(facts))
    with pytest.raises(DataError, match=message):
        FolderReader(tmp_path)


def test_stamps() -> None:
    named = {
        name: number_of(Path(name)) for name in ("a_12.bin", "1531883530.449377.png", "x.bin", "7.pkl.gz")
    }
    assert named["a_12.bin"] == 12
    assert named["x.bin"] is None
    assert named["7.pkl.gz"] == 7
    seconds = named["1531883530.449377.png"]
    assert seconds is not None
    assert microseconds(seconds, "s", None) == 1531883530449377
    assert unit_by_digits([seconds]) == "s"
    for unit, ticks in (("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        number = number_of(Path(f"{1531883530 * ticks}.bin"))
        assert number is not None
        assert unit_by_digits([number]) == unit
        assert microseconds(number, unit, None) == 1531883530_000000
    seven = number_of(Path("7.bin"))
    assert seven is not None
    assert microseconds(seven, None, 20.0) == 350_000


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-3, 3), min_size=3, max_size=3), st.lists(st.floats(-50, 50), min_size=3, max_size=3)
)
def test_transforms_in_all_their_forms(angles: list[float], shift: list[float]) -> None:
    rotation = euler_matrix(np.array(angles))
    pose = make_SE3(rotation, shift)
    forms = [
        pose.tolist(),
        pose[:3].tolist(),
        pose.reshape(-1).tolist(),
        {"translation": shift, "rotation": rotation.tolist()},
        {"translation": shift, "quaternion": matrix_to_quaternion(rotation).tolist()},
        {"translation": shift, "euler_degrees": np.rad2deg(angles).tolist()},
    ]
    for form in forms:
        np.testing.assert_allclose(read_transform(form), pose, atol=1e-9)
    np.testing.assert_allclose(quaternion_to_matrix(matrix_to_quaternion(rotation)), rotation, atol=1e-9)
