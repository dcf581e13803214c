"""AP and errors by centre distance against nuscenes-devkit's own functions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.detection.algo import accumulate, calc_ap, calc_tp
from nuscenes.eval.detection.data_classes import DetectionBox

from pc3d.evaluation.own.box_frame import BoxFrame, of_class
from pc3d.evaluation.own.centre_distance import average_precision, distance_curve, mean_errors
from pc3d.evaluation.own.detection_scores import DetectionScoring, score_detections

CLASSES = ("car", "pedestrian", "barrier")
DEVKIT = {
    "translation": "trans_err",
    "scale": "scale_err",
    "orientation": "orient_err",
    "velocity": "vel_err",
}
CONFIG = config_factory("detection_cvpr_2019")


def random_frames(seed: int, count: int, noise: float = 1.5) -> list[BoxFrame]:
    """Truth, and detections near it, of nothing, doubled and with equal scores."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        true, owned = rng.integers(0, 8), rng.integers(0, 12)
        truth = random_boxes(rng, true)
        truth[rng.random(true) < 0.3, 7:] = np.nan
        found, labels = random_boxes(rng, owned), rng.integers(0, 3, owned)
        near = rng.integers(0, max(true, 1), owned)
        truth_labels = rng.integers(0, 3, true)
        if true:
            taken = rng.random(owned) < 0.7
            found[taken] = np.nan_to_num(truth[near[taken]]) + rng.normal(0, noise, (taken.sum(), 9))
            found[:, 3:6] = np.abs(found[:, 3:6]) + 0.1
            labels[taken] = truth_labels[near[taken]]
        scores = rng.integers(1, 30, owned) / 30
        frames.append(BoxFrame.of((truth, truth_labels), (found, scores, labels)))
    return frames


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    low, high = np.array(
        [[-45, -45, -2, 0.5, 0.5, 0.5, -3.1, -5, -5], [45, 45, 2, 5, 2, 2, 3.1, 5, 5]], dtype=np.float64
    )
    return low + rng.random((count, 9)) * (high - low)


def devkit_boxes(frames: list[BoxFrame]) -> tuple[EvalBoxes, EvalBoxes]:
    truth, found = EvalBoxes(), EvalBoxes()
    for number, frame in enumerate(frames):
        token = f"frame{number}"
        unscored = np.full(len(frame.truth), -1.0)
        truth.add_boxes(token, _boxes(token, frame.truth, frame.truth_labels, unscored))
        found.add_boxes(token, _boxes(token, frame.found, frame.labels, frame.scores))
    return truth, found


def _boxes(token: str, boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> list[DetectionBox]:
    return [
        DetectionBox(
            sample_token=token,
            translation=tuple(box[:3]),
            size=(box[4], box[3], box[5]),
            rotation=(math.cos(box[6] / 2), 0.0, 0.0, math.sin(box[6] / 2)),
            velocity=tuple(box[7:]),
            detection_name=CLASSES[label],
            detection_score=float(score),
        )
        for box, label, score in zip(boxes, labels, scores, strict=True)
    ]


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 12), noise=st.sampled_from([0.05, 0.5, 1.5]))
@settings(max_examples=25, deadline=None)
def test_equals_the_devkit_on_random_boxes(seed: int, count: int, noise: float) -> None:
    frames = random_frames(seed, count, noise)
    truth, found = devkit_boxes(frames)
    for label, name in enumerate(CLASSES):
        own = of_class(frames, label)
        for distance in CONFIG.dist_ths:
            expected = accumulate(truth, found, name, CONFIG.dist_fcn_callable, distance)
            period = math.pi if name == "barrier" else 2 * math.pi
            curve = distance_curve(own, distance, period)
            np.testing.assert_allclose(curve.precision, expected.precision, rtol=1e-12)
            np.testing.assert_allclose(curve.confidence, expected.confidence, rtol=1e-12)
            ap = calc_ap(expected, CONFIG.min_recall, CONFIG.min_precision)
            assert average_precision(curve) == pytest.approx(ap, rel=1e-12)
            for error, value in mean_errors(curve).items():
                theirs = calc_tp(expected, CONFIG.min_recall, DEVKIT[error])
                assert value == pytest.approx(theirs, rel=1e-9, abs=1e-12)


def test_the_scores_of_a_split_are_the_devkits_means() -> None:
    frames = random_frames(3, 30, 0.5)
    truth, found = devkit_boxes(frames)
    result = score_detections(frames, CLASSES, DetectionScoring(max_distance=1e6))
    aps = {
        name: [calc_ap(accumulate(truth, found, name, CONFIG.dist_fcn_callable, at), 0.1, 0.1) for at in ths]
        for name in CLASSES
        for ths in [CONFIG.dist_ths]
    }
    assert list(result["ap"]["car"]) == ["0.5", "1.0", "2.0", "4.0"]
    for name in CLASSES:
        np.testing.assert_allclose(list(result["ap"][name].values()), aps[name], rtol=1e-12)
    assert result["map"] == pytest.approx(np.mean(list(aps.values())), rel=1e-12)
    ate = [
        calc_tp(accumulate(truth, found, name, CONFIG.dist_fcn_callable, 2.0), 0.1, "trans_err")
        for name in CLASSES
    ]
    assert result["mATE"] == pytest.approx(np.mean(ate), rel=1e-12)
    assert result["true_boxes"] == {
        name: sum(box.detection_name == name for box in truth.all) for name in CLASSES
    }


def test_a_class_without_a_true_box_is_left_out_and_said() -> None:
    frames = random_frames(5, 10)
    result = score_detections(frames, (*CLASSES, "unicorn"))
    assert math.isnan(result["class_ap"]["unicorn"])
    assert math.isnan(result["class_ap_3d"]["unicorn"])
    assert result["true_boxes"]["unicorn"] == 0
    assert result["map"] == pytest.approx(np.mean([result["class_ap"][name] for name in CLASSES]))
    assert result["map_all"] == pytest.approx(0.75 * result["map"])


def test_unknown_velocities_give_no_error() -> None:
    box = [5.0, 0, 0, 4, 2, 1.5, 0, np.nan, np.nan]
    found = [5.0, 0, 0, 4, 2, 1.5, 0, 3, 4]
    frame = BoxFrame.of(([box], [0]), ([found], [0.9], [0]))
    errors = score_detections([frame], ["car"])["class_errors"]["car"]
    assert math.isnan(errors.pop("AVE"))
    assert errors == {"ATE": 0, "ASE": 0, "AOE": 0}


def test_boxes_beyond_the_range_do_not_count() -> None:
    def at(x: float) -> list[float]:
        return [x, 0, 0, 4, 2, 1.5, 0, 0, 0]

    frame = BoxFrame.of(([at(10), at(60)], [0, 0]), ([at(10), at(70)], [0.5, 0.9], [0, 0]))
    near = score_detections([frame], ["car"])
    assert near["map"] == pytest.approx(1)
    assert near["map_3d"] == 1
    assert near["true_boxes"] == {"car": 1}
    far = score_detections([frame], ["car"], DetectionScoring(max_distance=100))
    assert far["map"] < 0.5
    assert far["map_3d"] == 0.25
    assert far["true_boxes"] == {"car": 2}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"iou": {"car": 1.0}}, "IoU of 'car'"),
        ({"max_distance": 0}, "max_distance"),
        ({"distances": ()}, "distances"),
    ],
)
def test_refuses_settings(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DetectionScoring(**wrong)
    with pytest.raises(ValueError, match="'bus', which is none of car"):
        DetectionScoring(iou={"bus": 0.5}).describe(["car"])


@pytest.mark.parametrize(
    ("boxes", "message"), [([[0] * 9], "size 0"), ([[np.nan] + [1] * 8], "not finite"), ([], "columns")]
)
def test_refuses_boxes(boxes: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BoxFrame.of(([], []), (boxes, [0.5], [0]))
