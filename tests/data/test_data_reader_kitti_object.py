"""KITTI object: boxes and projections against plain sums in the camera frame, and one clear error each."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.data.build import build_index
from pc3d.data.checks import read_findings
from pc3d.data.classes import load_class_set
from pc3d.data.errors import DataError
from pc3d.data.points import load_sweep
from pc3d.data.readers import open_reader
from pc3d.data.readers.kitti_labels import read_boxes
from pc3d.data.readers.kitti_object import detect
from pc3d.data.records import Sweep
from pc3d.geometry.boxes import corners, points_in_boxes
from pc3d.geometry.rigid import make_SE3, yaw_matrix

CAM_R_VELO = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])


@pytest.fixture
def sample(real_data: Path) -> Path:
    return real_data / "kitti_object"


@pytest.fixture
def copy(sample: Path, tmp_path: Path) -> Path:
    """A root that may be changed: texts are copied, scans and images linked."""
    root = tmp_path / "object"
    for path in sample.rglob("*.*"):
        target = root / path.relative_to(sample)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".txt":
            shutil.copyfile(path, target)
        else:
            target.symlink_to(path)
    return root


def _read(root: Path) -> list[Sweep]:
    return list(open_reader("kitti_object", root).sweeps())


def _entries(root: Path, stem: str) -> dict[str, np.ndarray]:
    lines = (root / f"training/calib/{stem}.txt").read_text().splitlines()
    return {
        line.split(":")[0]: np.array(line.split(":")[1].split(), float).reshape(3, -1)
        for line in lines
        if ":" in line
    }


def _labels(root: Path, stem: str) -> list[tuple[str, np.ndarray]]:
    lines = (root / f"training/label_2/{stem}.txt").read_text().splitlines()
    words = [line.split() for line in lines]
    return [(row[0], np.array(row[1:], float)) for row in words if row[0] != "DontCare"]


def _in_rectified(entries: dict[str, np.ndarray], points: np.ndarray) -> np.ndarray:
    """(P, 3) by the chain of the development kit, R0 (R x + t)."""
    Tr = entries["Tr_velo_to_cam"]
    return (entries["R0_rect"] @ (Tr[:, :3] @ points.T + Tr[:, 3:])).T


def test_points_in_boxes_are_those_of_the_camera_frame(sample: Path) -> None:
    for sweep in _read(sample):
        stem = sweep.path.stem
        points = load_sweep(sweep)[:, :3].astype(np.float64)
        seen = _in_rectified(_entries(sample, stem), points)
        boxes = sweep.boxes
        assert boxes is not None
        assert boxes.names == tuple(name for name, _ in _labels(sample, stem))
        counted = points_in_boxes(points, boxes.centers, boxes.sizes, boxes.yaws).sum(axis=1)
        for n, (_, values) in enumerate(_labels(sample, stem)):
            height, width, length, x, y, z, angle = values[7:14]
            across = seen - [x, y, z]
            ahead = across[:, 0] * np.cos(angle) - across[:, 2] * np.sin(angle)
            beside = across[:, 0] * np.sin(angle) + across[:, 2] * np.cos(angle)
            inside = (abs(ahead) <= length / 2) & (abs(beside) <= width / 2)
            expected = int((inside & (across[:, 1] <= 0) & (across[:, 1] >= -height)).sum())
            assert expected >= 9
            # A box of the LiDAR frame stands upright there, not in the camera frame.
            assert abs(counted[n] - expected) <= max(2, 0.04 * expected)


def test_boxes_are_near_the_approximation_that_is_in_use(sample: Path) -> None:
    """Bottom centre through the inverse, plus half the height; yaw -(ry + pi/2)."""
    for sweep in _read(sample):
        entries = _entries(sample, sweep.path.stem)
        velo_to_rect = np.eye(4)
        velo_to_rect[:3] = entries["R0_rect"] @ entries["Tr_velo_to_cam"]
        assert sweep.boxes is not None
        for n, (_, values) in enumerate(_labels(sample, sweep.path.stem)):
            bottom = (np.linalg.inv(velo_to_rect) @ [*values[10:13], 1.0])[:3]
            np.testing.assert_allclose(
                sweep.boxes.centers[n], bottom + np.array([0, 0, values[7] / 2]), atol=0.03
            )
            np.testing.assert_allclose(sweep.boxes.sizes[n], values[[9, 8, 7]])
            assert np.cos(sweep.boxes.yaws[n] + values[13] + np.pi / 2) > np.cos(np.deg2rad(1))


def test_projected_corners_span_the_labelled_rectangles(sample: Path) -> None:
    for sweep in _read(sample):
        entries = _entries(sample, sweep.path.stem)
        boxes = sweep.boxes
        assert boxes is not None
        for n, (_, values) in enumerate(_labels(sample, sweep.path.stem)):
            eight = corners(boxes.centers[n : n + 1], boxes.sizes[n : n + 1], boxes.yaws[n : n + 1])[0]
            uvw = np.column_stack([_in_rectified(entries, eight), np.ones(8)]) @ entries["P2"].T
            uv = uvw[:, :2] / uvw[:, 2:]
            rectangle = np.concatenate([uv.min(axis=0), uv.max(axis=0)])
            assert np.abs(rectangle - values[3:7]).max() < 0.05 * np.ptp(values[3:7]) + 3


def test_shares_of_points_in_images(sample: Path) -> None:
    shares = []
    for sweep in _read(sample):
        (camera,) = sweep.cameras
        entries = _entries(sample, sweep.path.stem)
        points = load_sweep(sweep)[:, :3].astype(np.float64)
        uvw = np.column_stack([_in_rectified(entries, points), np.ones(len(points))]) @ entries["P2"].T
        cam_SE3_lidar = np.linalg.inv(camera.ego_SE3_cam) @ sweep.ego_SE3_lidar
        ours = (points @ cam_SE3_lidar[:3, :3].T + cam_SE3_lidar[:3, 3]) @ camera.intrinsics.T
        ahead = uvw[:, 2] > 1
        uv = ours[ahead, :2] / ours[ahead, 2:]
        np.testing.assert_allclose(uv, uvw[ahead, :2] / uvw[ahead, 2:] + 0.5, atol=1e-3)
        shares.append(((uv >= 0) & (uv < camera.size)).all(axis=1).sum() / len(points))
    np.testing.assert_allclose(shares, [0.176, 0.155], atol=0.001)


def test_the_index_of_single_frames(sample: Path, tmp_path: Path) -> None:
    index = build_index("kitti_object", sample, tmp_path / "index", "the test")
    assert detect(sample) == "training/velodyne and training/calib"
    assert detect(sample.parent / "kitti_raw") is None
    assert [index[row].token for row in index.key_rows("train")] == ["training/000000", "training/000001"]
    assert all(index.neighbour(row, 1) is None for row in range(2))
    assert [camera.size for row in range(2) for camera in index[row].cameras] == [(1224, 370), (1242, 375)]
    assert index.metadata["classes"] == load_class_set("kitti").to_dict()


def test_splits_of_lists_and_the_testing_part(copy: Path) -> None:
    shutil.copytree(copy / "training", copy / "testing", symlinks=True)
    shutil.rmtree(copy / "testing" / "label_2")
    assert [(s.token, s.split) for s in _read(copy)][2:] == [
        ("testing/000000", "test"),
        ("testing/000001", "test"),
    ]
    assert all((sweep.boxes is None) == (sweep.split == "test") for sweep in _read(copy))
    lists = copy / "ImageSets"
    lists.mkdir()
    (lists / "train.txt").write_text("000001\n")
    reader = open_reader("kitti_object", copy)
    assert [sweep.split for sweep in reader.sweeps()] == ["none", "train", "test", "test"]
    assert any("in no list" in finding.text for finding in reader.findings)
    (lists / "val.txt").write_text("000000\n\n")
    assert [sweep.split for sweep in _read(copy)][:2] == ["val", "train"]
    (lists / "val.txt").write_text("000000\n000001")
    with pytest.raises(DataError, match="frame 000001 is in the lists train and val"):
        _read(copy)


def test_what_is_missing_is_said_and_the_rest_read(copy: Path) -> None:
    (copy / "training/image_2/000000.png").unlink()
    (copy / "training/label_2/000000.txt").unlink()
    (copy / "training/velodyne/000001.bin").rename(copy / "training/velodyne/000002.bin")
    for part in ("calib", "label_2"):
        shutil.copyfile(copy / f"training/{part}/000001.txt", copy / f"training/{part}/000002.txt")
    reader = open_reader("kitti_object", copy)
    assert [(len(s.cameras), s.boxes is None) for s in reader.sweeps()] == [(0, True), (0, False)]
    texts = [finding.text for finding in reader.findings]
    assert texts[0] == "1 of 2 frames of training have no label file, first: 000000"
    assert texts[1] == "files of training have no scan beside them: 1 of label_2, 1 of image_2"
    assert "2 of 2 frames of training have no image_2" in reader.metadata["notes"]


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("calib", "R0_rect", "R_rect", "entry R0_rect is missing"),
        ("calib", "Tr_velo_to_cam: 6", "Tr_velo_to_cam: 9", "Tr_velo_to_cam holds no rotation"),
        ("calib", "P2: 7", "P2: -7", "entry P2 is no camera"),
        ("label_2", " 0.01\n", " 0.01 0.9\n", "line 1[\\s\\S]*results"),
        ("label_2", "1.89 0.48 1.20", "-1 0.48 1.20", r"height, width and length \[-1.0, 0.48, 1.2\]"),
        ("label_2", "8.41", "x", "could not convert"),
        ("label_2", "8.41", "nan", "not finite"),
        ("label_2", "8.41", "8410", "lies at"),
    ],
)
def test_broken_texts_are_named(copy: Path, name: str, old: str, new: str, said: str) -> None:
    path = copy / "training" / name / "000000.txt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    reader = open_reader("kitti_object", copy)
    sweeps = {sweep.token: sweep for sweep in reader.sweeps()}
    (finding,) = (found for found in reader.findings if found.state != "ok")
    assert finding.state == "warning"
    assert "1 of 2 " in finding.text
    assert str(path) in finding.text
    assert re.search(said, f"{finding.text} {finding.remedy}")
    assert sweeps["training/000001"].boxes is not None
    # A frame without a calibration goes, one without labels or a camera has none.
    if name == "label_2":
        assert sweeps["training/000000"].boxes is None
    elif "P2" in old:
        assert sweeps["training/000000"].cameras == ()
    else:
        assert "training/000000" not in sweeps
    # Where no frame is left there is an error.
    for other in (copy / "training" / "calib").iterdir():
        other.unlink()
    with pytest.raises(DataError, match=r"calibration cannot be read[\s\S]*000000.txt"):
        _read(copy)


def test_an_index_without_a_calibration_file_and_with_folders_of_other_names(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "training/calib/000001.txt").unlink()
    (copy / "training/label_2").rename(copy / "training/label_02")
    (copy / "training/image_2").rename(copy / "training/image_02")
    index = build_index("kitti_object", copy, tmp_path / "index", "the test")
    assert [index[row].token for row in range(len(index))] == ["training/000000"]
    assert capsys.readouterr().err.rstrip().endswith("key frames: train 1, no images, no boxes")
    texts = [(found.state, found.text) for found in read_findings(index.folder)]
    assert any("1 of 2 frames cannot be read and were left out" in text for _, text in texts)
    for name, near in (("label_02", "label_2"), ("image_02", "image_2")):
        assert any(
            state == "warning" and text.startswith(f"{name} is not read, {near} would be")
            for state, text in texts
        )


def test_a_cut_scan_is_found_among_single_frames(copy: Path, tmp_path: Path) -> None:
    scan = copy / "training/velodyne/000001.bin"
    content = scan.read_bytes()
    scan.unlink()
    scan.write_bytes(content[: 6250 * 16])
    index = build_index("kitti_object", copy, tmp_path / "index", "the test")
    (finding,) = (found for found in read_findings(index.folder) if found.name == "small LiDAR files")
    assert "1 of 2 LiDAR files" in finding.text
    assert "000001.bin" in finding.text


def test_a_folder_without_scans(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no scan in training/velodyne"):
        open_reader("kitti_object", tmp_path)


@settings(max_examples=30, deadline=None)
@given(
    place=st.tuples(st.floats(-40, 40), st.floats(-2, 4), st.floats(2, 80)),
    size=st.tuples(st.floats(0.3, 4), st.floats(0.3, 4), st.floats(0.3, 20)),
    angle=st.floats(-3.2, 3.2),
    tilt=st.floats(-0.02, 0.02),
)
def test_boxes_of_any_label(
    tmp_path_factory: pytest.TempPathFactory,
    place: tuple[float, float, float],
    size: tuple[float, float, float],
    angle: float,
    tilt: float,
) -> None:
    """The front face lies where the label has it, and its middle half the height above the bottom."""
    path = tmp_path_factory.mktemp("label") / "0.txt"
    numbers = " ".join(f"{value!r}" for value in (*size, *place, angle))
    path.write_text(f"Car 0 0 0 0 0 9 9 {numbers}\n")
    rect_SE3_velo = make_SE3(CAM_R_VELO @ yaw_matrix(tilt), [0.01, -0.07, -0.3])
    boxes = read_boxes(path, rect_SE3_velo, "t")
    height, _, length = size
    front = np.array(place) + np.array([length / 2 * np.cos(angle), -height / 2, -length / 2 * np.sin(angle)])
    yaw = boxes.yaws[0]
    ours = boxes.centers[0] + boxes.sizes[0, 0] / 2 * np.array([np.cos(yaw), np.sin(yaw), 0.0])
    in_rectified = rect_SE3_velo[:3, :3] @ ours + rect_SE3_velo[:3, 3]
    np.testing.assert_allclose(in_rectified, front, atol=1e-6)
    assert boxes.sizes[0].tolist() == [size[2], size[1], size[0]]
