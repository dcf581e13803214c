"""What detections get wrong, beside the official numbers: by range, by class, by key frame.

Everything here starts from the boxes that the official evaluator counts (`EvalBoxes` of nuscenes-devkit)
and matches as it does: best score first, each with the nearest true box that is still free, by the
distance of the centres on the ground.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.label_maps import NUSCENES_DETECTION_CLASSES
from pc3d.data.records import Float64
from pc3d.evaluation.detection_frames import float64_array
from pc3d.geometry.rigid import transform_points

if TYPE_CHECKING:
    from nuscenes.eval.common.data_classes import EvalBoxes
    from nuscenes.eval.detection.data_classes import DetectionConfig, DetectionMetricData

DISTANCES = (0.5, 1.0, 2.0, 4.0)
"""Metres up to which a detection matches, of the official AP."""
MATCH = 2.0
"""Metres up to which a detection matches in everything that needs one distance."""
RANGES = ((0.0, 20.0), (20.0, 40.0), (40.0, float("inf")))
"""Metres from the vehicle."""
BACKGROUND = "background"


@lru_cache
def official_config() -> DetectionConfig:
    """The devkit's configuration `detection_cvpr_2019`, read once."""
    from nuscenes.eval.common.config import config_factory

    return config_factory("detection_cvpr_2019")


def class_ranges() -> dict[str, float]:
    """Metres from the vehicle up to which a box of each class counts officially, in the order of labels."""
    reach = official_config().class_range
    return {name: reach[name] for name in NUSCENES_DETECTION_CLASSES}


def greedy_match(
    predicted: Float64, scores: Float64, truth: Float64, distance: float = MATCH
) -> NDArray[np.int64]:
    """Match predicted to true centres as the official AP does.

    Args:
        predicted: (N, 2) metres. scores: (N,). truth: (M, 2).

    Returns:
        (N,) row of the true centre that each prediction takes, -1 where none within `distance` is free.
    """
    match = np.full(len(predicted), -1, dtype=np.int64)
    if not len(truth):
        return match
    away = np.linalg.norm(predicted[:, None] - truth[None], axis=2)
    for row in np.argsort(-scores, kind="stable"):
        nearest = int(away[row].argmin())
        if away[row, nearest] < distance:
            match[row] = nearest
            away[:, nearest] = np.inf
    return match


def operating_points(truth: EvalBoxes, predicted: EvalBoxes) -> dict[str, float]:
    """Score of each class from which its detections are shown: where its F1 at 2 m is the highest.

    A class that is never right has no such score and gets the median of the others (0 if there is none).
    """
    points: dict[str, float] = {}
    for name in NUSCENES_DETECTION_CLASSES:
        scores, hits, true = _outcomes(truth, predicted, name)
        if not hits.any():
            continue
        order = np.argsort(-scores, kind="stable")
        f1 = 2 * np.cumsum(hits[order]) / (np.arange(len(order)) + 1 + true)
        # A threshold takes all that have the same score.
        f1[:-1][np.diff(scores[order]) == 0] = 0.0
        points[name] = float(scores[order][f1.argmax()])
    usual = float(np.median(list(points.values()))) if points else 0.0
    return {name: points.get(name, usual) for name in NUSCENES_DETECTION_CLASSES}


def _outcomes(truth: EvalBoxes, predicted: EvalBoxes, name: str) -> tuple[Float64, NDArray[np.bool_], int]:
    """Scores of all detections of a class, whether each is right, and the number of true boxes."""
    all_scores, hits, true = [np.zeros(0)], [np.zeros(0, dtype=np.bool_)], 0
    for sample in truth.sample_tokens:
        there, _, _ = _columns([box for box in truth[sample] if box.detection_name == name])
        found, scores, _ = _columns([box for box in predicted[sample] if box.detection_name == name])
        all_scores.append(scores)
        hits.append(greedy_match(found, scores, there) >= 0)
        true += len(there)
    return np.concatenate(all_scores), np.concatenate(hits), true


def analyse(truth: EvalBoxes, predicted: EvalBoxes) -> dict[str, Any]:
    """Where the detections of a split go wrong.

    Args:
        truth, predicted: the boxes that count, with their distance to the vehicle.

    Returns:
        `thresholds`: class to score, see `operating_points`; the confusion and the frames count detections
            from there up.
        `ranges`: for each of `RANGES`, `from`, `to` and `classes`: class to `true` (boxes), `ap` (mean over
            `DISTANCES`), `ap_2m`, and `recall` (at 2 m, of all detections); truth and detections are each
            taken by their own distance, as the official class ranges are.
        `classes` and `confusion`: (11, 11) counts, row the true class, column the predicted one, matched
            within 2 m whatever the class; the last of both is the background.
        `frames`: worst first (where equal, more errors first), `sample` (token), `f1` (mean over the
            classes that occur or are predicted there), `hits`, `false` and `missed`; without the samples
            where nothing is.
    """
    points = operating_points(truth, predicted)
    shown = _select(predicted, lambda box: box.detection_score >= points[box.detection_name])
    return {
        "thresholds": points,
        "ranges": [_range_scores(truth, predicted, low, high) for low, high in RANGES],
        "classes": [*NUSCENES_DETECTION_CLASSES, BACKGROUND],
        "confusion": confusion(truth, shown).tolist(),
        "frames": frame_scores(truth, shown),
    }


def _select(boxes: EvalBoxes, keep: Any) -> EvalBoxes:
    from nuscenes.eval.common.data_classes import EvalBoxes

    chosen = EvalBoxes()
    for sample in boxes.sample_tokens:
        chosen.add_boxes(sample, [box for box in boxes[sample] if keep(box)])
    return chosen


def _columns(boxes: Sequence[Any]) -> tuple[Float64, Float64, NDArray[np.int64]]:
    """(N, 2) centres, (N,) scores, (N,) classes."""
    return (
        np.array([box.translation[:2] for box in boxes], dtype=np.float64).reshape(-1, 2),
        np.array([box.detection_score for box in boxes], dtype=np.float64),
        np.array([NUSCENES_DETECTION_CLASSES.index(box.detection_name) for box in boxes], dtype=np.int64),
    )


def _range_scores(truth: EvalBoxes, predicted: EvalBoxes, low: float, high: float) -> dict[str, Any]:
    near, found = (_select(boxes, lambda box: low <= box.ego_dist < high) for boxes in (truth, predicted))
    classes = {}
    for name in NUSCENES_DETECTION_CLASSES:
        true = sum(box.detection_name == name for box in near.all)
        aps = _class_ap(near, found, name, DISTANCES) if true else {}
        classes[name] = {
            "true": true,
            "ap": float(np.mean(list(aps.values()))) if true else None,
            "ap_2m": aps.get(MATCH),
            "recall": int(_outcomes(near, found, name)[1].sum()) / true if true else None,
        }
    return {"from": low, "to": high, "classes": classes}


def confusion(truth: EvalBoxes, predicted: EvalBoxes) -> NDArray[np.int64]:
    """(11, 11) counts: row the true class, column the predicted one, the last of both the background."""
    background = len(NUSCENES_DETECTION_CLASSES)
    counts = np.zeros((background + 1, background + 1), dtype=np.int64)
    for sample in truth.sample_tokens:
        true, _, true_class = _columns(truth[sample])
        found, scores, found_class = _columns(predicted[sample])
        match = greedy_match(found, scores, true)
        hit = match >= 0
        np.add.at(counts, (true_class[match[hit]], found_class[hit]), 1)
        counts[background] += np.bincount(found_class[~hit], minlength=background + 1)
        missed = np.setdiff1d(np.arange(len(true)), match)
        counts[:, background] += np.bincount(true_class[missed], minlength=background + 1)
    return counts


def frame_scores(truth: EvalBoxes, predicted: EvalBoxes) -> list[dict[str, Any]]:
    """Mean F1 of each sample over the classes that occur or are predicted there, worst first."""
    frames = []
    for sample in truth.sample_tokens:
        true, _, true_class = _columns(truth[sample])
        found, scores, found_class = _columns(predicted[sample])
        f1s, hits = [], 0
        for label in np.union1d(true_class, found_class).tolist():
            own, owed = found_class == label, true_class == label
            right = int((greedy_match(found[own], scores[own], true[owed]) >= 0).sum())
            f1s.append(2 * right / int(own.sum() + owed.sum()))
            hits += right
        if f1s:
            score = {"sample": sample, "f1": float(np.mean(f1s)), "hits": hits}
            frames.append({**score, "false": len(found) - hits, "missed": len(true) - hits})
    return sorted(frames, key=lambda frame: (frame["f1"], -frame["missed"] - frame["false"], frame["sample"]))


def _class_ap(
    truth: EvalBoxes, predicted: EvalBoxes, name: str, distances: Sequence[float]
) -> dict[float, float]:
    """Official AP of a class at each distance."""
    from nuscenes.eval.detection.algo import accumulate, calc_ap

    config = official_config()

    def ap(distance: float) -> float:
        curve: DetectionMetricData = accumulate(truth, predicted, name, config.dist_fcn_callable, distance)
        return float(calc_ap(curve, config.min_recall, config.min_precision))

    return {distance: ap(distance) for distance in distances}


def average_precision_by_distance(
    predicted: tuple[Any, Any, Any],
    truth: tuple[Any, Any],
    thresholds: Sequence[float] = DISTANCES,
    ego_SE3_boxes: Float64 | None = None,
) -> dict[str, Any]:
    """Official AP of one frame, without the tables of the data set.

    Args:
        predicted: boxes (N, 9) or anything with x y z first, scores (N,), labels (N,) into
            `NUSCENES_DETECTION_CLASSES`; tensors or arrays.
        truth: boxes (M, 9) and labels (M,) in the same frame, the boxes that count (see
            `detection_frames.true_detections_of`).
        thresholds: metres up to which the centre of a detection may be off.
        ego_SE3_boxes: (4, 4) from the frame of the boxes to the vehicle's, where the official class ranges
            and the distances on the ground are measured: `Sweep.ego_SE3_lidar` for boxes in the LiDAR
            frame, which in nuScenes is tilted and 0.9 m ahead. None takes the frame as it is.

    Returns:
        `map`: mean over the classes that have a true box in range, and the thresholds; `ap`: class to
            threshold to AP.

    Raises:
        ValueError: no true box is in range.
    """
    reach = class_ranges()
    boxes, scores, labels = (float64_array(values) for values in predicted)
    true_boxes, true_labels = (float64_array(values) for values in truth)
    ego_SE3_boxes = np.eye(4) if ego_SE3_boxes is None else ego_SE3_boxes
    found = _eval_boxes(transform_points(ego_SE3_boxes, boxes), scores, labels, reach)
    unscored = np.full(len(true_boxes), -1.0)
    true = _eval_boxes(transform_points(ego_SE3_boxes, true_boxes), unscored, true_labels, reach)
    names = [name for name in NUSCENES_DETECTION_CLASSES if any(b.detection_name == name for b in true.all)]
    if not names:
        raise ValueError(f"none of the {len(true_boxes)} true boxes is in the range of its class")
    ap = {name: _class_ap(true, found, name, thresholds) for name in names}
    return {"map": float(np.mean([list(values.values()) for values in ap.values()])), "ap": ap}


def _eval_boxes(boxes: Float64, scores: Float64, labels: Float64, reach: dict[str, float]) -> EvalBoxes:
    """Boxes of one frame about the vehicle for the devkit, those in range; AP needs no more than centres."""
    from nuscenes.eval.common.data_classes import EvalBoxes
    from nuscenes.eval.detection.data_classes import DetectionBox

    kept = []
    for box, score, label in zip(boxes[:, :3], scores.tolist(), labels.astype(int).tolist(), strict=True):
        name = NUSCENES_DETECTION_CLASSES[label]
        if np.hypot(box[0], box[1]) < reach[name]:
            position = tuple(box.tolist())
            kept.append(
                DetectionBox(
                    sample_token="frame",
                    translation=position,
                    size=(1.0, 1.0, 1.0),
                    rotation=(1.0, 0.0, 0.0, 0.0),
                    detection_name=name,
                    detection_score=score,
                )
            )
    result = EvalBoxes()
    result.add_boxes("frame", kept)
    return result
