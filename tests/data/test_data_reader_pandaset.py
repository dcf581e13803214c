"""PandaSet against the real frame, and against a sequence that the test writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from pandaset_sequences import CAM_R, CAR, in_the_car, pose, write_sequence
from scipy.spatial.transform import Rotation

from pc3d.data.classes import ClassSet
from pc3d.data.errors import DataError
from pc3d.data.labels import load_labels
from pc3d.data.pairing import cam_SE3_lidar
from pc3d.data.points import load_sweep
from pc3d.data.readers import open_reader
from pc3d.data.readers.pandaset import detect
from pc3d.data.records import Sweep
from pc3d.geometry.boxes import points_in_boxes
from pc3d.geometry.camera import in_image, project


@pytest.fixture(scope="module")
def real_root(real_data: Path) -> Path:
    if not (real_data / "pandaset" / "001").is_dir():
        pytest.skip(f"no PandaSet sample at {real_data}")
    return real_data / "pandaset"


def _shares(sweep: Sweep) -> dict[str, float]:
    """Share of the points in each image."""
    points = load_sweep(sweep)
    shares = {}
    for camera in sweep.cameras:
        T = cam_SE3_lidar(sweep, camera)
        uv, depth = project(points[:, :3] @ T[:3, :3].T + T[:3, 3], camera.intrinsics)
        shares[camera.name] = float((in_image(uv, camera.size) & (depth > 0)).mean())
    return shares


def test_the_real_frame(real_root: Path) -> None:
    reader = open_reader("pandaset", real_root, sensor="both")
    (sweep,) = reader.sweeps()
    points = load_sweep(sweep, ("time", "lidar"))
    assert len(points) == 169_171
    assert (points[:, 5] == 0).sum() == 106_886
    assert -0.11 < points[:, 4].min() < points[:, 4].max() < 0.06
    assert points[:, 3].max() == 1.0
    shares = _shares(sweep)
    assert shares["front_camera"] == pytest.approx(0.405, abs=0.002)
    assert shares["back_camera"] == pytest.approx(0.143, abs=0.002)
    boxes, classes = sweep.boxes, ClassSet.of(reader.metadata)
    assert boxes is not None
    assert classes is not None
    inside = points_in_boxes(points, boxes.centers, boxes.sizes, boxes.yaws)
    swapped = points_in_boxes(points, boxes.centers, boxes.sizes[:, [1, 0, 2]], boxes.yaws)
    assert inside.sum() > 25_000 > 2 * swapped.sum() - 1_000
    # What the labels of points say of them.
    labels = load_labels(sweep, len(points), classes)
    right = of = 0
    for n, name in enumerate(boxes.names):
        if classes.boxes[name] in classes.classes:
            of += int(inside[n].sum())
            right += int((labels[inside[n]] == classes.classes.index(classes.boxes[name])).sum())
    assert right > 0.94 * of > 20_000
    road = points[(labels == classes.classes.index("road")) & (np.abs(points[:, :2]) < 15).all(axis=1)]
    assert -2.2 < np.median(road[:, 2]) < -1.6
    assert (labels == classes.classes.index("building")).sum() == 34_429


def test_one_lidar_and_its_labels(real_root: Path) -> None:
    """Points and labels of its part of both, in their order; objects with two boxes are there once."""
    both_reader = open_reader("pandaset", real_root, sensor="both")
    (both,) = both_reader.sweeps()
    classes = ClassSet.of(both_reader.metadata)
    assert classes is not None
    points = load_sweep(both, ("lidar",))
    labels = load_labels(both, len(points), classes)
    tracks = {}
    for sensor in (0, 1):
        (sweep,) = open_reader("pandaset", real_root, sensor=sensor).sweeps()
        of = points[:, 4] == sensor
        np.testing.assert_array_equal(load_sweep(sweep), points[of, :4])
        np.testing.assert_array_equal(load_labels(sweep, int(of.sum()), classes), labels[of])
        assert sweep.boxes is not None
        tracks[sensor] = set(sweep.boxes.tracks)
    assert len(tracks[0]) == 139
    assert len(tracks[1]) == 138
    assert len(tracks[0] & tracks[1]) == 126
    with pytest.raises(ValueError, match="unknown sensor"):
        open_reader("pandaset", real_root, sensor="2")


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    return write_sequence(tmp_path / "data" / "042")


def test_boxes_points_and_images_of_a_tilted_vehicle(sequence: Path) -> None:
    reader = open_reader("pandaset", sequence.parent, sensor="1")
    sweeps = list(reader.sweeps())
    assert [sweep.token for sweep in sweeps] == ["042/00", "042/01", "042/02"]
    for sweep, offset in zip(sweeps, (0.0, 0.1, 0.2), strict=True):
        rotation, shift = pose(offset)
        car = in_the_car(offset)
        # x forward is the y of the stated frame, y left its -x; the origin is 1.8 m above.
        stated = rotation.inv().apply(car - shift)
        expected = np.stack([stated[:, 1], -stated[:, 0], stated[:, 2] - 1.8], axis=1)
        points = load_sweep(sweep, ("time",))
        np.testing.assert_allclose(points[:32, :3], expected[1::2], atol=1e-5)
        np.testing.assert_allclose(points[:3, 4], -0.05 + 1e-4 * np.array([1, 3, 5]), atol=1e-6)
        boxes = sweep.boxes
        assert boxes is not None
        assert boxes.tracks == ("track-b",)
        # A box stands upright in the tilted frame: what it loses at its ends is the tilt.
        roomy = np.add(boxes.sizes, [0.2, 0.2, 0.6])
        assert points_in_boxes(expected, boxes.centers, roomy, boxes.yaws).sum() == 64
        assert not points_in_boxes(expected[:, [1, 0, 2]], boxes.centers, roomy, boxes.yaws).any()
        in_stated = rotation.inv().apply([*CAR["speed"], 0.0])
        np.testing.assert_allclose(boxes.velocities[0], [in_stated[1], -in_stated[0]], atol=1e-4)
        heading = rotation.inv().apply(Rotation.from_euler("z", CAR["yaw"]).apply([0, 1, 0]))
        np.testing.assert_allclose(np.tan(boxes.yaws[0]), -heading[0] / heading[1], rtol=1e-9)
        assert np.cos(boxes.yaws[0]) * heading[1] > 0
        (camera,) = sweep.cameras
        rotation, shift = pose(offset - 0.03)
        in_cam = (rotation.inv().apply(car - shift) - [0.1, 0.5, 1.8]) @ CAM_R
        K = np.array([[90.0, 0, 60], [0, 91, 33], [0, 0, 1]])
        uv = cv2.projectPoints(in_cam, np.zeros(3), np.zeros(3), K, None)[0][:, 0] + 0.5
        T = cam_SE3_lidar(sweep, camera)
        ours, _ = project(expected @ T[:3, :3].T + T[:3, 3], camera.intrinsics)
        np.testing.assert_allclose(ours, uv, atol=1e-3)
        np.testing.assert_allclose(camera.ego_SE3_cam[:3, 3], [0.5, -0.1, 1.8], atol=1e-6)
    # Classes 7 (road) and 13 (car) in turn, as the LiDARs are.
    classes = ClassSet.of(reader.metadata)
    assert classes is not None
    labels = load_labels(sweeps[0], 62, classes)
    assert set(labels.tolist()) == {classes.classes.index("car")}


def test_what_is_missing_and_what_is_broken(sequence: Path) -> None:
    assert detect(sequence) == detect(sequence.parent).removeprefix("042/")  # type: ignore[union-attr]
    (sequence / "lidar" / "01.pkl.gz").unlink()
    shutil.rmtree(sequence / "annotations" / "semseg")
    (sequence / "camera" / "front_camera" / "02.jpg").unlink()
    reader = open_reader("pandaset", sequence)
    sweeps = list(reader.sweeps())
    assert [(sweep.token, len(sweep.cameras)) for sweep in sweeps] == [("042/00", 1), ("042/02", 0)]
    assert reader.metadata["has_labels"] is False
    assert "1 of 3 LiDAR files of sequence 042 are missing" in reader.findings[0].text
    sweeps = list(open_reader("pandaset", sequence, key_every=2).sweeps())
    assert [(sweep.is_key_frame, sweep.boxes is None) for sweep in sweeps] == [(True, False), (False, True)]
    poses = json.loads((sequence / "lidar" / "poses.json").read_text())
    (sequence / "lidar" / "poses.json").write_text(json.dumps(poses[:1]))
    with pytest.raises(DataError, match=r"there are 1 poses, but 3 times[\s\S]*poses.json"):
        list(open_reader("pandaset", sequence).sweeps())
    poses[1]["heading"]["w"] = 3
    (sequence / "lidar" / "poses.json").write_text(json.dumps(poses))
    with pytest.raises(DataError, match=r"'w' is 3[\s\S]*poses.json, row 1"):
        list(open_reader("pandaset", sequence).sweeps())
    with pytest.raises(DataError, match="there is no sequence"):
        open_reader("pandaset", sequence / "camera")


def _look(root: Path) -> tuple[list[Sweep], list[str]]:
    reader = open_reader("pandaset", root)
    sweeps = list(reader.sweeps())
    return sweeps, [f"{found.state} {found.name}: {found.text}" for found in reader.findings]


@pytest.mark.parametrize(
    ("name", "line", "kept"),
    [
        ("lidar/poses.json", "warning sequences: 1 of 2 sequences cannot be read", (3, 3, 3)),
        ("camera/front_camera/intrinsics.json", "warning cameras: 1 of 2 cameras of sequences", (6, 3, 6)),
        ("camera/front_camera/01.jpg", "warning images: 1 of 6 images of cameras are missing", (6, 5, 6)),
        (
            "annotations/cuboids",
            "warning boxes: 1 of 2 sequences' annotations/cuboids are missing",
            (6, 6, 3),
        ),
        ("annotations/cuboids/01.pkl.gz", "warning boxes: 1 of 3 frames' annotations/cuboids", (6, 6, 5)),
    ],
)
def test_a_missing_file_costs_its_part(
    sequence: Path, name: str, line: str, kept: tuple[int, int, int]
) -> None:
    assert not _look(sequence.parent)[1]
    other = Path(shutil.copytree(sequence, sequence.parent / "043"))
    assert not _look(sequence.parent)[1]
    path = other / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    sweeps, found = _look(sequence.parent)
    with_images, with_boxes = [s for s in sweeps if s.cameras], [s for s in sweeps if s.boxes is not None]
    assert (len(sweeps), len(with_images), len(with_boxes)) == kept
    assert len(found) == 1
    assert found[0].startswith(line)
    assert "first: 043" in found[0]


def test_a_damaged_table_of_cuboids_and_a_folder_of_another_name(sequence: Path) -> None:
    path = sequence / "annotations" / "cuboids" / "02.pkl.gz"
    path.write_bytes(path.read_bytes()[:50])
    (sequence / "annotations" / "semseg").rename(sequence / "annotations" / "semsegs")
    sweeps, found = _look(sequence)
    assert [sweep.boxes is None for sweep in sweeps] == [False, False, True]
    assert any(
        "1 of 3 frames' cuboids cannot be read and were left out, first: 042/02" in one for one in found
    )
    assert any("semsegs is not read, semseg would be" in one for one in found)
