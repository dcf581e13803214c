"""What detections get wrong, and the AP of one frame: against plain loops and the devkit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from spoiled_truth import SPLIT, VERSION, perturbed

from pc3d.data.index import SweepIndex
from pc3d.data.readers.nuscenes import NuScenesReader
from pc3d.evaluation.detection import evaluate_predictions, official_evaluator
from pc3d.evaluation.detection_analysis import (
    average_precision_by_distance,
    confusion,
    greedy_match,
    operating_points,
)
from pc3d.evaluation.detection_frames import boxes_to_world, true_detections, true_detections_of


@pytest.fixture(scope="module")
def index(tiny_index: Path) -> SweepIndex:
    return SweepIndex.open(tiny_index)


def test_operating_points_have_the_highest_f1(index: SweepIndex, tmp_path: Path) -> None:
    """Against the number of right and wrong detections at every possible threshold."""
    from nuscenes import NuScenes
    from nuscenes.eval.common.data_classes import EvalBoxes

    evaluate_predictions(index, SPLIT, tmp_path, perturbed(index, seed=5))
    nusc = NuScenes(VERSION, str(index.root), verbose=False)
    official = official_evaluator(nusc, SPLIT, tmp_path / "results_nusc.json", tmp_path)
    truth, predicted = official.gt_boxes, official.pred_boxes
    points = operating_points(truth, predicted)

    def f1(threshold: float) -> float:
        kept = EvalBoxes()
        for sample in predicted.sample_tokens:
            boxes = [b for b in predicted[sample] if b.detection_score >= threshold]
            kept.add_boxes(sample, [b for b in boxes if b.detection_name == "car"])
        counts = confusion(only_cars, kept)
        return 2 * counts[0, 0] / (counts[0].sum() + counts[:, 0].sum())

    only_cars = EvalBoxes()
    for sample in truth.sample_tokens:
        only_cars.add_boxes(sample, [b for b in truth[sample] if b.detection_name == "car"])
    tried = {b.detection_score for b in predicted.all if b.detection_name == "car"}
    assert f1(points["car"]) == pytest.approx(max(f1(score) for score in tried), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 12), st.integers(0, 12))
def test_matching_is_the_plain_loop(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    found, truth, scores = rng.uniform(0, 6, (n, 2)), rng.uniform(0, 6, (m, 2)), rng.random(n)
    gaps = np.diff(np.sort(np.r_[cdist(found, truth).ravel(), 2.0])) if n and m else np.ones(1)
    assume(min(gaps.min(initial=1), np.diff(np.sort(scores)).min(initial=1)) > 1e-9)
    expected, taken = [-1] * n, set()
    for i in sorted(range(n), key=lambda i: -scores[i]):
        free = [(float(np.hypot(*(found[i] - truth[j]))), j) for j in range(m) if j not in taken]
        if free and min(free)[0] < 2.0:
            expected[i] = min(free)[1]
            taken.add(expected[i])
    assert greedy_match(found, scores, truth).tolist() == expected


def test_ap_of_one_frame_is_the_devkits(index: SweepIndex, tmp_path: Path) -> None:
    """The devkit on the whole data set, all other samples emptied of truth and predictions."""
    from nuscenes import NuScenes
    from nuscenes.eval.detection.algo import accumulate, calc_ap

    predictions = perturbed(index, seed=3)
    evaluate_predictions(index, SPLIT, tmp_path, predictions)
    nusc = NuScenes(VERSION, str(index.root), verbose=False)
    official = official_evaluator(nusc, SPLIT, tmp_path / "results_nusc.json", tmp_path)
    truths = {frame.token: frame for frame in true_detections(index, SPLIT)}
    token, boxes, scores, labels = max(predictions, key=lambda frame: len(frame[3]))
    truth, sweep = truths[token], index[index.row_of(token)]
    for side in (official.gt_boxes, official.pred_boxes):
        side.boxes = {sample: b if sample == truth.sample_token else [] for sample, b in side.boxes.items()}
    result = average_precision_by_distance(
        (boxes, scores, labels), (truth.boxes, truth.labels), ego_SE3_boxes=sweep.ego_SE3_lidar
    )
    assert len(result["ap"]) >= 3
    distance_of = official.cfg.dist_fcn_callable
    for name, values in result["ap"].items():
        for distance, ap in values.items():
            curve = accumulate(official.gt_boxes, official.pred_boxes, name, distance_of, distance)
            assert ap == pytest.approx(calc_ap(curve, 0.1, 0.1), abs=1e-6), (name, distance)
    assert result["map"] == pytest.approx(np.mean([list(v.values()) for v in result["ap"].values()]))


def test_ap_of_one_frame_counts_only_classes_that_are_there() -> None:
    truth = (np.array([[10.0, 0, 0, 4, 2, 1, 0, 0, 0]]), np.array([0]))
    right = (truth[0], np.array([0.9]), truth[1])
    assert average_precision_by_distance(right, truth)["map"] == pytest.approx(1.0)
    moved = truth[0].copy()
    moved[0, 0] += 0.8
    assert average_precision_by_distance((moved, np.array([0.9]), truth[1]), truth)["map"] == pytest.approx(
        0.75
    )
    nothing = (np.zeros((0, 9)), np.zeros(0), np.zeros(0))
    assert average_precision_by_distance(nothing, truth)["map"] == 0.0
    with pytest.raises(ValueError, match="in the range"):
        average_precision_by_distance(right, (truth[0] + 100, truth[1]))


def test_the_truth_of_a_real_key_frame_scores_one(real_data: Path) -> None:
    sweeps = NuScenesReader(real_data / "nuscenes", "v1.0-mini").sweeps()
    sweep = next(sweep for sweep in sweeps if sweep.boxes is not None and len(sweep.boxes))
    truth = true_detections_of(sweep)
    perfect = (truth.boxes, np.linspace(0.1, 1, len(truth.labels)), truth.labels)
    right = (truth.boxes, truth.labels)
    result = average_precision_by_distance(perfect, right, ego_SE3_boxes=sweep.ego_SE3_lidar)
    assert result["map"] == pytest.approx(1.0, abs=1e-9)
    assert len(result["ap"]) >= 2
    # Upright boxes in the world are those of the table, although this LiDAR is tilted.
    rows = json.loads((real_data / "nuscenes/v1.0-mini/sample_annotation.json").read_text())
    table = np.array([row["translation"] for row in rows if row["sample_token"] == sweep.sample_token])
    world = boxes_to_world(truth.boxes, truth.world_SE3_lidar)
    assert np.abs(world[:, None, :3] - table[None]).max(axis=2).min(axis=1).max() < 1e-6
