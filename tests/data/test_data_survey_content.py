"""What is seen in the content of sampled files and in the course of a drive."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pc3d.data.classes import load_class_set
from pc3d.data.readers.nuscenes_splits import odd_splits
from pc3d.data.records import Boxes, Sweep
from pc3d.data.survey.file_use import FileUse
from pc3d.data.survey.heading import Heading
from pc3d.data.survey.labels import LabelContent, Unlabelled
from pc3d.data.survey.listing import why_missing
from pc3d.data.survey.point_columns import odd_rings
from pc3d.geometry.rigid import make_SE3, yaw_matrix

CAR, ROAD = 3, 10  # classes of nuScenes-lidarseg


def driven(sweep: Sweep, places: np.ndarray, yaws: np.ndarray) -> str:
    """What is found of a drive over places (N, 2)."""
    heading = Heading()
    heading.look(
        [
            replace(sweep, world_SE3_ego=make_SE3(yaw_matrix(yaw), [*place, 0.0]))
            for place, yaw in zip(places, yaws, strict=True)
        ]
    )
    return "".join(finding.text for finding in heading.findings())


def test_heading(sweeps: list[Sweep]) -> None:
    n = np.arange(60.0)
    ahead = np.stack([0.7 * n, 0 * n], axis=1)
    assert driven(sweeps[0], ahead, 0 * n) == "", "all rotations are the identity"
    circle = 8 * np.stack([np.sin(0.1 * n), 1 - np.cos(0.1 * n)], axis=1)
    assert driven(sweeps[0], circle, 0.1 * n) == ""
    back_and_on = np.stack([np.r_[0.7 * n[:15][::-1], 0.7 * n[:45]], 0 * n], axis=1)
    assert driven(sweeps[0], back_and_on, 0 * n) == ""
    noise = np.random.default_rng(0).normal(0, 0.1, (60, 2))
    assert driven(sweeps[0], noise, np.full(60, 2.0)) == "", "a vehicle that stands"
    assert "sideways: 29 of 29" in driven(sweeps[0], ahead, np.full(60, np.pi / 2))
    assert "backwards" in driven(sweeps[0], ahead, np.full(60, np.pi))
    assert "sideways" in driven(sweeps[0], circle, -0.1 * n)


def test_rings() -> None:
    rng = np.random.default_rng(0)
    ring = np.repeat(np.arange(32.0), 50)
    reach = rng.uniform(3, 60, len(ring))
    elevation = np.radians(-30 + 1.3 * ring)
    points = np.stack(
        [reach, 0 * ring, reach * np.tan(elevation), rng.integers(0, 200, len(ring)), ring], axis=1
    )
    points = points.astype(np.float32)
    assert odd_rings(points) == ""
    points[::7, :3] = 1e-6 * rng.normal(size=(len(points[::7]), 3))
    assert odd_rings(points) == "", "without a return at the origin"
    assert "rings" in odd_rings(points[:, [0, 1, 2, 4, 3]])
    points[:, 4] = rng.permutation(points[:, 4])
    assert "as wide in elevation" in odd_rings(points)
    points[:, 4] = 0
    assert odd_rings(points) == "", "no ring is known"


@pytest.mark.parametrize(("share", "state"), [(1.0, ""), (0.9, ""), (0.5, "problem")])
def test_labels_in_boxes(share: float, state: str) -> None:
    """Three cars of ten points each, of which a share is labelled as car."""
    centers = np.array([[10.0, 0, 0], [0, 10, 0], [-10, 0, 0]])
    boxes = Boxes(
        centers, np.full((3, 3), 2.0), np.zeros(3), np.zeros((3, 2)), ("vehicle.car",) * 3, ("a", "b", "c"),
        np.full(3, 10), ("",) * 3,
    )  # fmt: skip
    points = np.zeros((40, 5), np.float32)
    points[:30, :3] = np.repeat(centers, 10, axis=0) + np.random.default_rng(0).uniform(-0.6, 0.6, (30, 3))
    points[30:, 2] = -5
    labels = np.where(np.arange(40) % 10 < 10 * share, CAR, ROAD)
    content = LabelContent(load_class_set("nuscenes"))
    content.look(labels, points, boxes, np.arange(3), "s0f0")
    assert "".join(finding.state for finding in content.findings()) == state


def test_key_frames_without_labels(sweeps: list[Sweep]) -> None:
    bare = [replace(sweep, lidarseg_path=None) for sweep in sweeps]
    for given, stated, states in (
        (sweeps, True, []),
        (bare, False, []),
        (bare, True, ["problem"]),
        ([replace(sweep, boxes=None) for sweep in bare], True, ["ok"]),
        ([*bare[:3], *sweeps[3:]], False, ["warning"]),
        ([replace(sweep, split="test") for sweep in bare], True, []),
    ):
        look = Unlabelled(stated)
        look.look(given)
        assert [finding.state for finding in look.findings()] == states


def test_files_and_their_sizes(sweeps: list[Sweep]) -> None:
    def named(scene: list[Sweep], sizes: list[int]) -> dict[str, str]:
        use = FileUse()
        use.look(scene, sizes)
        return {finding.name: finding.text for finding in use.findings()}

    scene, whole = sweeps[:7], [8000, 7000, 5000, 8000, 9000, 8000, 20000]
    assert named(scene, whole) == {}
    assert "1 of 7 " in named(scene, [*whole[:6], 3980])["small LiDAR files"]
    assert "1 of 7 " in named(scene, [*whole[:6], 8001])["sizes of LiDAR files"]
    first, later = scene[0], scene[3]
    slow = replace(later, cameras=first.cameras)  # a camera that is slower than the key frames
    assert named([first, slow], whole[:2]) == {}
    copied = tuple(replace(camera, path=first.cameras[0].path) for camera in later.cameras)
    assert "s0f3" in named([first, replace(later, cameras=copied)], whole[:2])["shared files"]
    labels = replace(later, lidarseg_path=first.lidarseg_path)
    assert "of the labels, sweep s0f3" in named([first, labels], whole[:2])["shared files"]


def test_why_a_file_is_missing(tmp_path: Path) -> None:
    (tmp_path / "A.JPG").write_bytes(b"x")
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    said = {name: why_missing(tmp_path / name) for name in ("a.jpg", "empty", "folder", "link", "b", "no/b")}
    assert list(said.values()) == [
        "is missing, but there is A.JPG",
        "is empty",
        "is a folder",
        "is a link that leads nowhere",
        "is missing",
        "is missing, and so is its folder",
    ]


@pytest.mark.parametrize(
    ("lists", "names"),
    [
        ({"train": ["a"], "val": ["b"]}, []),
        ({"mini": ["a"], "train": ["a", "b"]}, []),
        ({"train": ["a", "b"], "mini": ["a"]}, ["split mini"]),
        ({"train": ["a", "b"], "val": []}, ["split val"]),
        ({"train": ["a", "b"], "val": ["of another part"]}, ["split val"]),
        ({"train": []}, ["splits"]),
        ({}, ["splits"]),
    ],
)
def test_splits_without_scenes(lists: dict[str, list[str]], names: list[str], tmp_path: Path) -> None:
    (tmp_path / "splits.json").write_text(json.dumps(lists))
    assert [finding.name for finding in odd_splits(tmp_path, ["a", "b"])] == names
