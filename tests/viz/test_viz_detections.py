"""Pictures of a scored submission: all there, and boxes where the devkit projects them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.evaluation.detection import evaluate_predictions
from pc3d.evaluation.detection_frames import true_detections
from pc3d.viz.camera_boxes import box_wires
from pc3d.viz.detections import draw_bev, draw_detections, worst_frames
from pc3d.viz.plots import TRUTH

SPLIT = "sim_val"


@pytest.fixture(scope="module")
def index(tiny_index: Path) -> SweepIndex:
    return SweepIndex.open(tiny_index)


@pytest.fixture(scope="module")
def scored(index: SweepIndex, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A submission of the truth, with nothing in the last key frame."""
    folder = tmp_path_factory.mktemp("scored")
    frames = list(true_detections(index, SPLIT))
    kept = [len(frame.labels) for frame in frames[:-1]] + [0]
    predictions = [
        (frame.token, frame.boxes[:n], np.linspace(1, 0.5, n), frame.labels[:n])
        for frame, n in zip(frames, kept, strict=True)
    ]
    evaluate_predictions(index, SPLIT, folder, predictions)
    return folder


def test_every_picture_is_drawn(index: SweepIndex, scored: Path) -> None:
    paths = draw_detections(index, SPLIT, scored, pictures=1)
    assert [path.stem for path in paths] == [
        "precision_recall",
        "class_ap",
        "ranges",
        "confusion",
        "worst-1-bev",
        "worst-1-cameras",
    ]
    for path in paths:
        with Image.open(path) as picture:
            assert picture.width >= 1000
            assert np.asarray(picture).std() > 5


def test_the_worst_frame_is_the_one_without_detections(
    index: SweepIndex, scored: Path, tmp_path: Path
) -> None:
    worst, *others = worst_frames(index, SPLIT, scored, 3)
    assert worst.sweep.token == list(true_detections(index, SPLIT))[-1].token
    assert len(worst.predicted) == 0
    assert len(worst.truth) > 0
    for frame in others:
        np.testing.assert_allclose(frame.predicted.centers, frame.truth.centers, atol=1e-4)
    draw_bev(worst, tmp_path / "worst.png")
    picture = np.asarray(Image.open(tmp_path / "worst.png").convert("RGB")).astype(int)
    assert (np.abs(picture - np.array(TRUTH)).max(axis=-1) < 30).sum() > 100


def test_boxes_lie_where_the_devkit_projects_them(index: SweepIndex, scored: Path) -> None:
    from nuscenes import NuScenes
    from nuscenes.eval.detection.utils import category_to_detection_name
    from nuscenes.utils.geometry_utils import view_points

    frame = worst_frames(index, SPLIT, scored, 1)[0]
    nusc = NuScenes("v1.0-sim", str(index.root), verbose=False)
    sample = nusc.get("sample", frame.sweep.sample_token)
    compared = 0
    for camera in frame.sweep.cameras:
        ours = box_wires(frame.truth, camera, frame.sweep.world_SE3_ego @ frame.sweep.ego_SE3_lidar)
        starts = np.array([wires[:12, 0] for wires in ours])
        _, boxes, K = nusc.get_sample_data(sample["data"][camera.name])
        for box in boxes:
            in_front = box.corners()[2].min() > 0.5
            counts = nusc.get("sample_annotation", box.token)["num_lidar_pts"] > 0
            near = np.linalg.norm(box.center) < 25
            if not (in_front and counts and near and category_to_detection_name(box.name)):
                continue
            # Pixel centres are at integers in the devkit, at + 0.5 here.
            official = view_points(box.corners(), K, normalize=True)[:2].T + 0.5
            off = np.abs(starts[:, :, None] - official).max(axis=3).min(axis=2).max(axis=1)
            assert np.nanmin(off) < 0.01
            compared += 1
    assert compared > 3


def test_another_split_is_refused(index: SweepIndex, scored: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not in split 'sim_train'"):
        worst_frames(index, "sim_train", scored, 1)
    with pytest.raises(DataError, match="evaluate again"):
        draw_detections(index, SPLIT, tmp_path)
