"""Waymo v2 on segments that the test writes by the published schema, and on the real components there are."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from waymo_segments import (
    CAMERA_MOUNT,
    HIGH,
    INTRINSIC,
    LOW,
    SEGMENT,
    SIZE,
    START,
    STEP,
    image_seconds,
    pose_at,
    rotation_of,
    write_segment,
)

from pc3d.data.build import build_index
from pc3d.data.classes import ClassSet
from pc3d.data.containers import open_bytes
from pc3d.data.errors import DataError
from pc3d.data.images import load_image
from pc3d.data.labels import load_labels
from pc3d.data.pairing import cam_SE3_lidar
from pc3d.data.points import load_sweep
from pc3d.data.readers import open_reader, waymo, waymo_points
from pc3d.data.readers.parquet_rows import read_columns
from pc3d.data.readers.waymo import detect
from pc3d.data.readers.waymo_files import CAMERA, CAMERAS, TIME, poses_of, sensors_of
from pc3d.data.readers.waymo_points import decode, decode_labels
from pc3d.data.records import Sweep
from pc3d.geometry.camera import in_image, project


def _in_world(sweep: Sweep, points: np.ndarray) -> np.ndarray:
    T = sweep.world_SE3_ego @ sweep.ego_SE3_lidar
    return points[:, :3].astype(np.float64) @ T[:3, :3].T + T[:3, 3]


def _walls(world: np.ndarray) -> np.ndarray:
    """(P, 6) distance of points to the walls of the room."""
    return np.abs(np.stack([world - LOW, world - HIGH], axis=2).reshape(len(world), 6))


@pytest.mark.parametrize(("names", "rows_in_group"), [(False, None), (True, 2)])
def test_points_lie_on_the_walls(tmp_path: Path, names: bool, rows_in_group: int | None) -> None:
    """Each pixel of the LiDAR on the roof has a pose of its own; the others are in that of the frame."""
    images = write_segment(tmp_path / "validation", names=names, rows_in_group=rows_in_group)
    reader = open_reader("waymo", tmp_path)
    sweeps = list(reader.sweeps())
    assert len(sweeps) == len(reader) == 3
    for n, sweep in enumerate(sweeps):
        assert (sweep.split, sweep.scene, sweep.timestamp) == ("val", SEGMENT, START + n * STEP)
        points = load_sweep(sweep, ("return", "lidar", "elongation"))
        world = _in_world(sweep, points)
        assert _walls(world).min(axis=1).max() < 1e-3
        assert ((world > LOW - 1e-3) & (world < HIGH + 1e-3)).all()
        # In ascending order: LiDAR, return, row, column.
        expected = []
        for laser in (1, 2, 4):
            for number, name in ((1, "first"), (2, "second")):
                image = images[sweep.timestamp, laser][name]
                taken = image[image[..., 0] > 0]
                expected.append(
                    np.column_stack([taken[:, 1:3], np.full((len(taken), 2), (number, laser - 1))])
                )
        intensity, elongation, number, lidar = np.concatenate(expected).T
        np.testing.assert_allclose(points[:, 3], np.tanh(intensity), atol=1e-6)
        np.testing.assert_allclose(points[:, 6], elongation, atol=1e-6)
        np.testing.assert_array_equal(points[:, 4:6], np.column_stack([number, lidar]))


def test_labels_are_those_of_the_walls(tmp_path: Path) -> None:
    write_segment(tmp_path / "training")
    reader = open_reader("waymo", tmp_path)
    first, second, _ = reader.sweeps()
    classes = ClassSet.of(reader.metadata)
    assert classes is not None
    assert second.lidarseg_path is None
    assert first.lidarseg_path is not None
    points = load_sweep(first, ("lidar", "return"))
    labels = load_labels(first, len(points), classes)
    raw = decode_labels(first.lidarseg_path, first.lidarseg_key)
    top = points[:, 4] == 0
    assert not raw[~top].any()
    assert (labels[~top] == -1).all()
    walls = _walls(_in_world(first, points))
    labelled = top & (raw > 0)
    assert (walls[labelled, raw[labelled] - 1] < 1e-3).all()
    assert (labels[labelled] == raw[labelled] - 1).all()
    # Points of first returns are all labelled; a second return is where it has a first one.
    assert labelled[top & (points[:, 5] == 1)].all()
    # Without no-label zones, and of the LiDAR on the roof alone: the same points and labels, fewer.
    raw_points = decode(first.path, first.key)
    kept = raw_points["no_label_zone"] < 0
    assert 0.5 < kept.mean() < 0.9
    sweep = next(open_reader("waymo", tmp_path, no_label_zones=False).sweeps())
    np.testing.assert_array_equal(load_sweep(sweep), points[kept, :4])
    np.testing.assert_array_equal(load_labels(sweep, int(kept.sum()), classes), labels[kept])
    sweep = next(open_reader("waymo", tmp_path, lasers="top").sweeps())
    np.testing.assert_array_equal(load_sweep(sweep), points[top, :4])
    np.testing.assert_array_equal(load_labels(sweep, int(top.sum()), classes), labels[top])


def test_images_and_boxes(tmp_path: Path) -> None:
    write_segment(tmp_path / "testing", rows_in_group=4)
    for n, sweep in enumerate(open_reader("waymo", tmp_path).sweeps()):
        assert sweep.split == "test"
        assert [camera.name for camera in sweep.cameras] == ["FRONT", "FRONT_LEFT"]
        front = sweep.cameras[0]
        image = load_image(front.path, size=front.size, key=front.key)
        assert image.shape == (SIZE[1], SIZE[0], 3)
        assert abs(int(image[0, 0, 0]) - 20 * (2 * n + 1)) < 4
        assert front.timestamp == round(1e6 * image_seconds(sweep.timestamp))
        points = load_sweep(sweep)
        world = _in_world(sweep, points)
        angles, place = pose_at(0.1 * n + 0.03)
        rotation, t = CAMERA_MOUNT
        sensor = rotation.inv().apply(rotation_of(angles).inv().apply(world - place) - t)
        optical = np.stack([-sensor[:, 1], -sensor[:, 2], sensor[:, 0]], axis=1)
        # OpenCV has the centre of the first pixel at 0, Waymo its edge.
        K = np.array(
            [[INTRINSIC["f_u"], 0, INTRINSIC["c_u"]], [0, INTRINSIC["f_v"], INTRINSIC["c_v"]], [0, 0, 1]]
        )
        D = np.array([INTRINSIC[name] for name in ("k1", "k2", "p1", "p2", "k3")])
        expected = cv2.projectPoints(optical, np.zeros(3), np.zeros(3), K, D)[0][:, 0]
        T = cam_SE3_lidar(sweep, front)
        ours, depth = project(points[:, :3] @ T[:3, :3].T + T[:3, 3], front.intrinsics, front.lens)
        seen = (
            (depth > 1)
            & in_image(expected, SIZE)
            & (np.abs(optical[:, :2]) < 0.6 * optical[:, 2:]).all(axis=1)
        )
        assert seen.sum() > 20
        np.testing.assert_allclose(ours[seen], expected[seen], atol=0.02)
        boxes = sweep.boxes
        assert boxes is not None
        assert boxes.names == ("vehicle", "pedestrian")
        assert boxes.num_lidar_pts.tolist() == [31, -1]
        # 8, 3, 0.8 in the vehicle's frame; the LiDAR on the roof is at 1.43, 0, 2.18.
        np.testing.assert_allclose(boxes.centers, [[6.57, 3.0, -1.38]] * 2, atol=1e-6)
        np.testing.assert_allclose(boxes.sizes[0], [4.5, 1.9, 1.7])
        speed = rotation_of(pose_at(0.1 * n)[0]).inv().apply([5.0, -2.0, 0.1])
        np.testing.assert_allclose(boxes.velocities[0], speed[:2], atol=1e-5)
        np.testing.assert_allclose(boxes.yaws, 0.3)


def test_extracted_frames_are_the_same(tmp_path: Path) -> None:
    write_segment(tmp_path / "data" / "training")
    options = {"key_every": 2, "no_label_zones": False}
    place = list(open_reader("waymo", tmp_path / "data", **options).sweeps())
    before = [load_sweep(sweep, ("return", "lidar", "elongation")) for sweep in place]
    files = build_index(
        "waymo", tmp_path / "data", tmp_path / "files", "the test", extract=tmp_path / "out", **options
    )
    classes = ClassSet.of(files.metadata)
    assert classes is not None
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(DataError, match="is missing"):
        load_sweep(place[0])
    assert [files[row].is_key_frame for row in range(3)] == [True, False, True]
    for row in range(3):
        points = load_sweep(files[row], ("return", "lidar", "elongation"))
        np.testing.assert_allclose(points, before[row], atol=1e-5)
        for camera in files[row].cameras:
            assert load_image(camera.path, size=camera.size).shape == (SIZE[1], SIZE[0], 3)
    sweep = files[0]
    points = load_sweep(sweep, ("lidar",))
    labels = load_labels(sweep, len(points), classes)
    top = (points[:, 4] == 0) & (labels >= 0)
    assert top.sum() > 100
    assert (_walls(_in_world(sweep, points))[top, labels[top]] < 1e-3).all()


def test_rows_that_are_far_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file sorted by LiDAR: the rows of a frame are not together, and may lie in other row groups."""
    from pyarrow import parquet

    monkeypatch.setattr(waymo_points, "_FAR", 3)
    write_segment(tmp_path / "training", frames=4)
    path = tmp_path / "training" / "lidar" / f"{SEGMENT}.parquet"
    table = parquet.read_table(path)
    sweeps = list(open_reader("waymo", tmp_path).sweeps())
    before = [load_sweep(sweeps[n]) for n in (0, 1, 3)]
    for group in (None, 3):
        sort = [("key.laser_name", "descending"), (TIME, "ascending")]
        parquet.write_table(table.sort_by(sort), path, row_group_size=group)
        for n, points in zip((0, 1, 3), before, strict=True):
            np.testing.assert_array_equal(load_sweep(sweeps[n]), points)


def test_large_row_groups_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_segment(tmp_path / "data" / "training", frames=1)
    assert not open_reader("waymo", tmp_path / "data").findings
    monkeypatch.setattr(waymo, "_LARGE", 1000)
    (finding,) = open_reader("waymo", tmp_path / "data").findings
    assert "have 3 rows" in finding.text
    assert "--extract" in finding.remedy
    assert not open_reader("waymo", tmp_path / "data", extract=tmp_path / "out").findings


def test_missing_and_damaged_components(tmp_path: Path) -> None:
    split = tmp_path / "training"
    write_segment(split)
    path = split / "lidar" / f"{SEGMENT}.parquet"
    other = {
        tag: split / tag / path.name
        for tag in ("camera_image", "lidar_box", "lidar_segmentation", "lidar_pose")
    }
    for tag in ("camera_image", "lidar_box", "lidar_segmentation"):
        other[tag].unlink()
    reader = open_reader("waymo", split)
    sweep = next(reader.sweeps())
    assert (sweep.cameras, sweep.boxes, sweep.lidarseg_path, sweep.split) == ((), None, None, "train")
    with pytest.raises(DataError, match=r"there is no frame 7"):
        decode(path, "7")
    with pytest.raises(DataError, match=r"key 'a' is no TIME"):
        decode(path, "a")
    with pytest.raises(DataError, match="is no ROW GROUP"):
        open_bytes(path, "1")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=f"Parquet file[\\s\\S]*{SEGMENT}"):
        decode(path, sweep.key)
    path.write_bytes(content)
    other["lidar_pose"].unlink()
    with pytest.raises(DataError, match="no segment has the components lidar_pose"):
        list(open_reader("waymo", split).sweeps())
    path.unlink()
    with pytest.raises(DataError, match=r"no component `lidar`[\s\S]*there are camera_calibration"):
        open_reader("waymo", split)


def test_the_real_components(real_data: Path) -> None:
    """Of a real segment: names of cameras as texts, transforms as lists of floats."""
    root = real_data / "waymo" / "v2"
    if not root.is_dir():
        pytest.skip(f"no Waymo sample at {root}")
    path = next((root / "vehicle_pose").glob("*.parquet"))
    poses = poses_of(path)
    assert len(poses) == 199
    places = np.array([pose[:3, 3] for _, pose in sorted(poses.items())])
    speed = np.linalg.norm(np.diff(places, axis=0), axis=1) / (np.diff(sorted(poses)) * 1e-6)
    assert speed.max() < 2  # it waits
    assert all(pose[2, 2] > 0.99 for pose in poses.values())
    hkp = next((root / "camera_hkp").glob("*.parquet"))
    numbers = sensors_of(read_columns(hkp, [CAMERA]), CAMERA, CAMERAS, hkp)
    assert set(numbers) <= set(CAMERAS.values())
    assert len(numbers) == 15_844
    assert detect(root) is not None
    with pytest.raises(DataError, match=r"no component `lidar`[\s\S]*there are camera_hkp, vehicle_pose"):
        open_reader("waymo", root)


def test_version_1_is_named(real_data: Path) -> None:
    root = real_data / "waymo" / "v1"
    with pytest.raises(DataError, match="records of version 1; download version 2"):
        open_reader("waymo", root)
