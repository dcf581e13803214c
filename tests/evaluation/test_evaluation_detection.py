"""Detection by the official metrics: the truth scores one, and everything degenerate has its number."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spoiled_truth import SPLIT, VERSION, perturbed, submit

from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.label_maps import NUSCENES_DETECTION_CLASSES as CLASSES
from pc3d.evaluation.detection import (
    DetectionWriter,
    evaluate_detection,
    evaluate_predictions,
)
from pc3d.evaluation.detection_frames import (
    boxes_to_lidar,
    boxes_to_world,
    true_detections,
)
from pc3d.geometry.rigid import make_SE3, quaternion_to_matrix

ERRORS = ("mATE", "mASE", "mAOE", "mAVE", "mAAE")


@pytest.fixture(scope="module")
def index(tiny_index: Path) -> SweepIndex:
    return SweepIndex.open(tiny_index)


def test_the_truth_scores_one_in_every_class_that_occurs(index: SweepIndex, tmp_path: Path) -> None:
    result = submit(index, tmp_path)
    occurring = [name for name in CLASSES if result["true_boxes"][name]]
    assert len(occurring) >= 3
    for name in CLASSES:
        if name in occurring:
            assert result["class_ap"][name] == pytest.approx(1.0, abs=1e-6)
            errors = np.array(list(result["class_errors"][name].values()))
            assert (np.isnan(errors) | (errors < 1e-4)).all(), name
        else:
            assert result["class_ap"][name] == 0.0
    assert result["map"] == pytest.approx(len(occurring) / 10)


def test_empty_submission_scores_zero(index: SweepIndex, tmp_path: Path) -> None:
    result = submit(index, tmp_path, lambda frame: slice(0))
    assert result["map"] == 0.0
    assert result["nds"] == 0.0
    assert all(result[name] == 1.0 for name in ERRORS)
    assert not (tmp_path / "empty_submission.json").exists()


def test_padding_would_not_change_the_numbers_of_others(index: SweepIndex, tmp_path: Path) -> None:
    """One box within range in one frame: no padding; the same box with one out of range: the same score."""
    first = next(frame.token for frame in true_detections(index, SPLIT) if len(frame.labels))
    one = submit(index, tmp_path / "a", lambda frame: slice(1 if frame.token == first else 0))
    path = tmp_path / "a" / "results_nusc.json"
    content = json.loads(path.read_text())
    box = next(boxes[0] for boxes in content["results"].values() if boxes)
    content["results"][box["sample_token"]].append({**box, "translation": [1e9, 1e9, 0.0]})
    path.write_text(json.dumps(content))
    again = evaluate_detection(index.root, VERSION, SPLIT, path, tmp_path / "b")
    assert json.dumps(again) == json.dumps(one)


def test_missing_and_foreign_samples_are_named(index: SweepIndex, tmp_path: Path) -> None:
    submit(index, tmp_path)
    path = tmp_path / "results_nusc.json"
    content = json.loads(path.read_text())
    token, boxes = content["results"].popitem()
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"(?s)no result for 1 of .*{token}"):
        evaluate_detection(index.root, VERSION, SPLIT, path, tmp_path)
    content["results"] |= {token: boxes, "elsewhere": []}
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="elsewhere"):
        evaluate_detection(index.root, VERSION, SPLIT, path, tmp_path)
    content["results"].pop("elsewhere")
    content["results"][token] = [{**next(b[0] for b in content["results"].values() if b)}] * 501
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="501 boxes"):
        evaluate_detection(index.root, VERSION, SPLIT, path, tmp_path)
    content["results"][token] = [{**boxes[0], "attribute_name": "car.flying"}] if boxes else []
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"refuses: AssertionError.*car\.flying"):
        evaluate_detection(index.root, VERSION, SPLIT, path, tmp_path)
    path.write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        evaluate_detection(index.root, VERSION, SPLIT, path, tmp_path)


def test_a_class_without_predictions_costs_its_share(index: SweepIndex, tmp_path: Path) -> None:
    whole = submit(index, tmp_path / "whole")
    car = CLASSES.index("car")
    result = submit(index, tmp_path / "rest", lambda frame: frame.labels != car)
    assert result["class_ap"]["car"] == 0.0
    assert result["class_errors"]["car"] == dict.fromkeys(("ATE", "ASE", "AOE", "AVE", "AAE"), 1.0)
    assert whole["map"] - result["map"] == pytest.approx(0.1)


def test_writer_keeps_the_best_and_leaves_no_half_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    boxes = np.column_stack([rng.normal(size=(700, 3)), np.ones((700, 3)), np.full((700, 3), np.nan)])
    boxes[:, 6] = 0.0
    scores = rng.permutation(700) / 700
    writer = DetectionWriter(tmp_path, "any", use_camera=True, use_lidar=False, attribute_of=lambda *_: "")
    writer.add("s", boxes, scores, np.zeros(700), np.eye(4))
    assert not (tmp_path / "results_nusc.json").exists()
    with pytest.raises(ValueError, match="added before"):
        writer.add("s", boxes, scores, np.zeros(700), np.eye(4))
    content = json.loads(writer.close().read_text())
    assert content["meta"]["use_camera"]
    assert not content["meta"]["use_lidar"]
    kept = content["results"]["s"]
    assert [box["detection_score"] for box in kept] == (np.arange(699, 199, -1) / 700).tolist()
    assert all(box["velocity"] == [0.0, 0.0] for box in kept)
    assert [p.name for p in tmp_path.iterdir()] == ["results_nusc.json"]


def test_an_aborted_submission_leaves_nothing(index: SweepIndex, tmp_path: Path) -> None:
    frames = perturbed(index)
    frames[-1][1][0, 0] = np.inf
    with pytest.raises(ValueError, match="not finite"):
        evaluate_predictions(index, SPLIT, tmp_path, frames)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_writer_left_goes_with_the_next(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_killed_writer, args=(tmp_path,))
    process.start()
    process.join()
    assert [path.suffix for path in tmp_path.iterdir()] == [".partial"]
    DetectionWriter(tmp_path, "any").close()
    assert [path.name for path in tmp_path.iterdir()] == ["results_nusc.json"]


def _killed_writer(folder: Path) -> None:
    writer = DetectionWriter(folder, "any")
    assert not writer.path.exists()
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": [np.nan]}, "not finite"),
        ({"boxes": np.zeros((1, 9))}, "size 0.0 m"),
        ({"labels": [10]}, "labels span"),
        ({"scores": [1.0, 2.0]}, "expected one for each"),
    ],
)
def test_writer_refuses_broken_detections(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    good = {"boxes": np.ones((1, 9)), "scores": [0.5], "labels": [0], "world_SE3_lidar": np.eye(4)}
    with pytest.raises(ValueError, match=message):
        DetectionWriter(tmp_path, "any").add("s", **(good | change))


angles = st.floats(-0.3, 0.3)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), angles, angles, st.floats(-3.1, 3.1))
def test_boxes_come_back_from_the_world(seed: int, roll: float, pitch: float, yaw: float) -> None:
    rng = np.random.default_rng(seed)
    world = np.column_stack(
        [
            rng.normal(size=(5, 3)) * 500,
            rng.uniform(0.3, 9, (5, 3)),
            rng.uniform(-3.1, 3.1, 5),
            rng.normal(size=(5, 2)),
        ]
    )

    def turn(axis: int, angle: float) -> np.ndarray:
        return quaternion_to_matrix(np.array([np.cos(angle / 2), *(np.eye(3)[axis] * np.sin(angle / 2))]))

    pose = make_SE3(turn(2, yaw) @ turn(1, pitch) @ turn(0, roll), rng.normal(size=3) * 500)
    seen = boxes_to_lidar(world, pose)
    np.testing.assert_allclose(boxes_to_world(seen, pose), world, atol=1e-8)
    # What a box in the LiDAR frame is by definition: heading and velocity seen from above.
    heading = np.column_stack([np.cos(world[:, 6]), np.sin(world[:, 6]), np.zeros(5)]) @ pose[:3, :3]
    np.testing.assert_allclose(np.cos(seen[:, 6] - np.arctan2(heading[:, 1], heading[:, 0])), 1.0, atol=1e-12)


def test_written_boxes_are_the_tables_own(index: SweepIndex, tmp_path: Path) -> None:
    submit(index, tmp_path)
    tables = index.root / VERSION
    rows = json.loads((tables / "sample_annotation.json").read_text())
    results = json.loads((tmp_path / "results_nusc.json").read_text())["results"]
    checked = 0
    for sample, boxes in results.items():
        truth = np.array([r["translation"] + r["size"] for r in rows if r["sample_token"] == sample])
        for box in boxes:
            values = np.array(box["translation"] + box["size"])
            assert np.abs(truth - values).max(axis=1).min() < 1e-5
            checked += 1
    assert checked > 50


def test_predictions_are_scored_and_analysed(index: SweepIndex, tmp_path: Path) -> None:
    result = evaluate_predictions(index, SPLIT, tmp_path, perturbed(index))
    assert 0.0 < result["map"] < 1.0
    assert result["frames"] == len(index.key_rows(SPLIT))
    assert json.loads((tmp_path / "metrics.json").read_text())["nds"] == result["nds"]
    assert "car:2.0" in json.loads((tmp_path / "metrics_details.json").read_text())
    analysis = json.loads((tmp_path / "analysis.json").read_text())
    counts = np.array(analysis["confusion"])
    assert counts[:-1].sum(axis=1).tolist() == [result["true_boxes"][name] for name in CLASSES]
    by_range = {n: sum(r["classes"][n]["true"] for r in analysis["ranges"]) for n in CLASSES}
    assert by_range == result["true_boxes"]
    f1 = [frame["f1"] for frame in analysis["frames"]]
    assert f1 == sorted(f1)
    missed = sum(frame["missed"] + frame["hits"] for frame in analysis["frames"])
    assert missed == sum(result["true_boxes"].values())


def test_an_index_of_another_format_is_refused(index: SweepIndex, tmp_path: Path) -> None:
    other = SweepIndex(index.folder, index.root, {"dataset": "kitti"}, 1)
    with pytest.raises(DataError, match="not kitti"):
        evaluate_predictions(other, SPLIT, tmp_path, [])
