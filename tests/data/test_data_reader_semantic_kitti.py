"""SemanticKITTI: walls that stand still, labels of the learning map, poses and images by plain sums."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy.spatial import cKDTree

from pc3d.data.build import build_index
from pc3d.data.classes import ClassSet
from pc3d.data.errors import DataError
from pc3d.data.labels import load_labels
from pc3d.data.points import load_sweep
from pc3d.data.readers import open_reader
from pc3d.data.readers.semantic_kitti import SPLITS, detect
from pc3d.data.records import Sweep

STATIC = (50, 71, 80, 81)  # building, trunk, pole, traffic sign


@pytest.fixture
def sample(real_data: Path) -> Path:
    return real_data / "semantic_kitti"


@pytest.fixture
def copy(sample: Path, tmp_path: Path) -> Path:
    """A root that may be changed: texts are copied, scans and labels linked."""
    root = tmp_path / "kitti"
    for path in (sample / "sequences").rglob("*.*"):
        target = root / path.relative_to(sample)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".txt":
            shutil.copyfile(path, target)
        else:
            target.symlink_to(path)
    return root


def _read(root: Path, **options: object) -> list[Sweep]:
    return list(open_reader("semantic_kitti", root, **options).sweeps())


def _calibration(root: Path) -> dict[str, np.ndarray]:
    lines = (root / "sequences/00/calib.txt").read_text().splitlines()
    return {
        line.split(":")[0]: np.array(line.split(":")[1].split(), float).reshape(3, 4)
        for line in lines
        if line
    }


def _raw_ids(sweep: Sweep) -> np.ndarray:
    assert sweep.lidarseg_path is not None
    return np.fromfile(sweep.lidarseg_path, np.uint32) & 0xFFFF


def test_what_stands_still_lies_in_one_place(sample: Path) -> None:
    sweeps = _read(sample)
    moved, unmoved = [], []
    for sweep in sweeps:
        points = load_sweep(sweep)[np.isin(_raw_ids(sweep), STATIC), :3].astype(np.float64)
        ego = points @ sweep.ego_SE3_lidar[:3, :3].T + sweep.ego_SE3_lidar[:3, 3]
        unmoved.append(ego)
        moved.append(ego @ sweep.world_SE3_ego[:3, :3].T + sweep.world_SE3_ego[:3, 3])
    for number in (1, 2):
        with_poses = cKDTree(moved[0]).query(moved[number])[0].mean()
        without = cKDTree(unmoved[0]).query(unmoved[number])[0].mean()
        assert with_poses < 0.07
        assert with_poses < without / 4


def test_poses_are_those_of_the_file(sample: Path) -> None:
    """inv(Tr) pose Tr between scans, and z up: the world is the ego frame of the first scan."""
    rows = np.loadtxt(sample / "sequences/00/poses.txt")
    Tr = np.vstack([_calibration(sample)["Tr"], [0, 0, 0, 1]])
    sweeps = _read(sample)
    for number, sweep in enumerate(sweeps):
        pose = np.vstack([rows[number].reshape(3, 4), [0, 0, 0, 1]])
        lidar0_SE3_lidar = np.linalg.inv(Tr) @ pose @ Tr
        ours = np.linalg.inv(sweeps[0].world_SE3_ego @ sweeps[0].ego_SE3_lidar)
        ours = ours @ sweep.world_SE3_ego @ sweep.ego_SE3_lidar
        np.testing.assert_allclose(ours, lidar0_SE3_lidar, atol=1e-6)
    np.testing.assert_allclose(sweeps[0].world_SE3_ego, np.eye(4), atol=1e-5)
    ahead = sweeps[2].world_SE3_ego[:3, 3]
    assert 1.2 < ahead[0] < 1.5
    assert np.abs(ahead[1:]).max() < 0.1
    assert [sweep.timestamp for sweep in sweeps] == [0, 103_736, 207_338]


def test_labels_are_those_of_the_learning_map(sample: Path, tmp_path: Path) -> None:
    rules = yaml.safe_load((sample / "semantic-kitti.yaml").read_text())
    names = {k: rules["labels"][v] for k, v in rules["learning_map_inv"].items()}
    index = build_index("semantic_kitti", sample, tmp_path / "index", "the test")
    classes = ClassSet.of(index.metadata)
    assert classes is not None
    assert index.metadata["has_labels"]
    for row in range(len(index)):
        sweep = index[row]
        raw = _raw_ids(sweep)
        labels = load_labels(sweep, len(raw), classes)
        shown = np.where(labels < 0, "unlabeled", np.array(classes.classes)[labels])
        expected = np.array([names[rules["learning_map"][int(value)]] for value in raw])
        assert (shown == expected).all()
        # A street: the road and the pavement, buildings and vegetation make most of it.
        shares = {
            name: float((shown == name).mean()) for name in ("road", "sidewalk", "building", "vegetation")
        }
        assert 0.2 < shares["road"] < 0.35
        assert 0.15 < min(shares["sidewalk"], shares["vegetation"]) < 0.25
        assert 0.1 < shares["building"] < 0.2
        assert (labels < 0).mean() < 0.06


def test_official_splits(sample: Path) -> None:
    rules = yaml.safe_load((sample / "semantic-kitti.yaml").read_text())
    ours = {
        split: sorted(int(name) for name, of in SPLITS.items() if of == split)
        for split in rules["split"]
        if split != "valid"
    }
    assert ours == {name: sorted(numbers) for name, numbers in rules["split"].items() if name != "valid"}
    assert [int(name) for name, split in SPLITS.items() if split == "val"] == rules["split"]["valid"]


def test_images_of_the_odometry_archive(copy: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("image_2", "image_3"):
        (copy / "sequences/00" / name).mkdir()
        for number in range(2):
            picture = Image.fromarray(rng.integers(0, 256, (376, 1241, 3)).astype(np.uint8))
            picture.save(copy / f"sequences/00/{name}/{number:06d}.png", compress_level=0)
    reader = open_reader("semantic_kitti", copy)
    first, _, last = reader.sweeps()
    assert last.cameras == ()
    assert "sequence 00 lacks 1 of 3 images of image_2" in reader.metadata["notes"]
    entries = _calibration(copy)
    points = load_sweep(first)[:, :3].astype(np.float64)
    for camera in first.cameras:
        homogeneous = np.column_stack([points, np.ones(len(points))])
        in_cam0 = np.column_stack([homogeneous @ entries["Tr"].T, np.ones(len(points))])
        uvw = in_cam0 @ entries[f"P{camera.name[-1]}"].T
        cam_SE3_lidar = np.linalg.inv(camera.ego_SE3_cam) @ first.ego_SE3_lidar
        ours = (homogeneous @ cam_SE3_lidar.T)[:, :3] @ camera.intrinsics.T
        ahead = uvw[:, 2] > 1
        uv = ours[ahead, :2] / ours[ahead, 2:]
        np.testing.assert_allclose(uv, uvw[ahead, :2] / uvw[ahead, 2:] + 0.5, atol=1e-3)
        assert camera.size == (1241, 376)
        assert 0.12 < ((uv >= 0) & (uv < camera.size)).all(axis=1).sum() / len(points) < 0.2


def test_key_frames_carry_labels_and_images(copy: Path) -> None:
    sweeps = _read(copy, key_every=2)
    assert [sweep.is_key_frame for sweep in sweeps] == [True, False, True]
    assert [sweep.lidarseg_path is not None for sweep in sweeps] == [True, False, True]
    assert [sweep.sample_token for sweep in sweeps] == ["00/000000", "", "00/000002"]


def test_the_other_source_of_poses(copy: Path) -> None:
    with pytest.raises(DataError, match=r"no pose file[\s\S]*poses/00.txt"):
        _read(copy, poses="odometry")
    (copy / "poses").mkdir()
    rows = np.loadtxt(copy / "sequences/00/poses.txt")[:3]
    rows[:, 11] *= 2  # along the z axis of the camera
    np.savetxt(copy / "poses/00.txt", rows)
    steps = [_read(copy, poses=source)[2].world_SE3_ego[0, 3] for source in ("sequence", "odometry")]
    assert abs(steps[1] - 2 * steps[0]) < 0.05
    (copy / "sequences/00/poses.txt").unlink()
    reader = open_reader("semantic_kitti", copy)
    assert [(sweep.world_SE3_ego == np.eye(4)).all() for sweep in reader.sweeps()] == [True] * 3
    assert reader.metadata["notes"][0].startswith("poses are the identity")
    assert "1 of 1 sequences have no poses.txt" in reader.findings[1].text


def test_kiss_icp_agrees_with_the_file(sample: Path) -> None:
    pytest.importorskip("kiss_icp")
    by_file, estimated = _read(sample), _read(sample, poses="kiss-icp")
    for one, other in zip(by_file, estimated, strict=True):
        np.testing.assert_allclose(other.world_SE3_ego, one.world_SE3_ego, atol=0.1)


def test_layouts_names_and_missing_texts(copy: Path) -> None:
    assert detect(copy) == "sequences/00/velodyne"
    assert detect(copy.parent) is None
    nested = copy.parent / "nested"
    (nested / "dataset").mkdir(parents=True)
    (copy / "sequences").rename(nested / "dataset/sequences")
    assert detect(nested) == "dataset/sequences/00/velodyne"
    sequence = nested / "dataset/sequences/00"
    calib = sequence / "calib.txt"
    calib.write_text(calib.read_text().replace("Tr:", "Tr_velo_to_cam:"))
    (sequence / "times.txt").unlink()
    sequence.rename(sequence.parent / "mine")
    reader = open_reader("semantic_kitti", nested)
    assert [(s.split, s.timestamp) for s in reader.sweeps()] == [("none", n * 100_000) for n in range(3)]
    assert [finding.name for finding in reader.findings] == ["times", "splits"]


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("times.txt", "1.037359e-01", "x", "line 2 is no time in seconds: 'x'"),
        ("times.txt", "1.037359e-01", "-1", "line 2 is no time in seconds: '-1'"),
        ("times.txt", "2.073381e-01", "1e-2", "time goes backwards from line 2 to line 3"),
        ("poses.txt", "0.999991", "0.999991 1", "line 2 of the pose file has 13 numbers, expected 12"),
        ("poses.txt", "0.999991", "nan", "line 2 of the pose file holds a number that is not finite"),
        ("poses.txt", "0.999991", "0.5", "the pose of scan 1 holds no rotation"),
        ("calib.txt", "Tr:", "Trr:", "calibration entry Tr is missing"),
        ("calib.txt", "-9.999672484946e-01", "0.4", "calibration entry Tr holds no rotation"),
    ],
)
def test_broken_texts_are_named(copy: Path, name: str, old: str, new: str, said: str) -> None:
    path = copy / "sequences/00" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=said) as caught:
        _read(copy)
    assert str(path) in str(caught.value)


def test_too_few_lines(copy: Path) -> None:
    for name, said in (("poses.txt", "2 poses, but there is a scan 2"), ("times.txt", "2 timestamps, but")):
        path = copy / "sequences/00" / name
        text = path.read_text()
        path.write_text("\n".join(text.splitlines()[:2]) + "\n")
        with pytest.raises(DataError, match=said):
            _read(copy)
        path.write_text(text)
    with pytest.raises(DataError, match="no scan in sequences"):
        open_reader("semantic_kitti", copy / "sequences")
