"""AP by overlap with 40 recall points: a plain loop over shapely's polygons, and KITTI's public evaluator."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from seeded_boxes import DrawnBox, drawn_frames

from pc3d.evaluation.own.box_frame import BoxFrame
from pc3d.evaluation.own.box_iou import KITTI_LEVELS, kitti_ignored, overlap_curve, overlaps
from pc3d.evaluation.own.detection_scores import default_iou

NEIGHBOUR = {"Car": "Van", "Pedestrian": "Person_sitting"}
PUBLIC: dict[str, dict[str, tuple[float, float, float]]] = {
    "bev": {
        "Car": (34.350410, 53.241505, 59.186512),
        "Pedestrian": (52.856030, 55.010544, 58.295666),
        "Cyclist": (43.606098, 60.516708, 64.585602),
    },
    "3d": {
        "Car": (10.697805, 22.847404, 27.999146),
        "Pedestrian": (52.806927, 54.431458, 57.898258),
        "Cyclist": (43.606098, 60.516708, 64.585602),
    },
}
"""Percent AP (easy, moderate, hard) of `drawn_frames(11, 240)` by KITTI's evaluator in C++ with 41 sample
points (evaluate_object_3d_offline of github.com/asharakeh/kitti_native_evaluation, commit 17be9e1), which
sums in float32. It read the boxes in KITTI's camera coordinates, and one DontCare region in each frame."""


def kitti_frames(name: str, level: str, drawn: list[tuple[list[DrawnBox], list[DrawnBox]]]) -> list[BoxFrame]:
    """What KITTI scores of a class at a difficulty: the class beside it and what is too hard is ignored."""
    frames = []
    for true, found in drawn:
        true = [box for box in true if box.name in (name, NEIGHBOUR.get(name))]
        found = [box for box in found if box.name == name]
        hard = kitti_ignored(
            level,
            np.array([box.height for box in true]),
            np.array([box.occlusion for box in true], dtype=np.int64),
            np.array([box.truncation for box in true]),
        )
        frames.append(
            BoxFrame.of(
                ([(*box.box, 0, 0) for box in true], np.zeros(len(true))),
                ([(*box.box, 0, 0) for box in found], [box.score for box in found], np.zeros(len(found))),
                ignored=hard | np.array([box.name != name for box in true], dtype=np.bool_),
                found_ignored=[int(box.height) < KITTI_LEVELS[level][0] for box in found],
            )
        )
    return frames


@pytest.mark.parametrize("kind", ["bev", "3d"])
@pytest.mark.parametrize("name", ["Car", "Pedestrian", "Cyclist"])
def test_equals_kittis_public_evaluator(kind: Any, name: str) -> None:
    drawn = drawn_frames(11, 240)
    for level, percent in zip(KITTI_LEVELS, PUBLIC[kind][name], strict=True):
        curve = overlap_curve(kitti_frames(name, level, drawn), default_iou(name), kind)
        assert curve.true >= 40
        assert 100 * curve.average_precision == pytest.approx(percent, abs=3e-5)


def plain_ap(frames: list[BoxFrame], threshold: float, kind: str) -> float:
    """The procedure as KITTI's paper and evaluator describe it, box by box; no box is ignored."""
    tables = [[[plain_iou(a, b, kind) for b in frame.truth] for a in frame.found] for frame in frames]
    total = sum(len(frame.truth) for frame in frames)
    hits = []
    for frame, table in zip(frames, tables, strict=True):
        left = set(range(len(frame.found)))
        for j in range(len(frame.truth)):
            near = [i for i in sorted(left) if table[i][j] > threshold]
            if near:
                best = max(near, key=lambda i: frame.scores[i])
                left.remove(best)
                hits.append(float(frame.scores[best]))
    hits.sort(reverse=True)
    precisions = [0.0] * 41
    for k, score in enumerate(recall_scores(hits, total)):
        right = wrong = 0
        for frame, table in zip(frames, tables, strict=True):
            left = {i for i in range(len(frame.found)) if frame.scores[i] >= score}
            for j in range(len(frame.truth)):
                near = [i for i in sorted(left) if table[i][j] > threshold]
                if near:
                    left.remove(max(near, key=lambda i: table[i][j]))
                    right += 1
            wrong += len(left)
        precisions[k] = right / (right + wrong)
    return sum(max(precisions[k:]) for k in range(1, 41)) / 40


def recall_scores(hits: list[float], total: int) -> list[float]:
    """The scores that stand for the recalls 0, 1/40, ... as far as they are reached."""
    if total < 40:
        counts = [next((n for n in range(1, len(hits) + 1) if 40 * n >= k * total), None) for k in range(41)]
        return [hits[n - 1] for n in counts if n]
    taken: list[float] = []
    for n, score in enumerate(hits, start=1):
        aim = sum([1 / 40] * len(taken))
        if n == len(hits) or (n + 1) / total - aim >= aim - n / total:
            taken.append(score)
    return taken


def plain_iou(a: np.ndarray, b: np.ndarray, kind: str) -> float:
    first, second = polygon(a), polygon(b)
    shared, areas = first.intersection(second).area, (a[3] * a[4], b[3] * b[4])
    if kind == "bev":
        return shared / (sum(areas) - shared)
    high = max(0.0, min(a[2] + a[5] / 2, b[2] + b[5] / 2) - max(a[2] - a[5] / 2, b[2] - b[5] / 2))
    return shared * high / (areas[0] * a[5] + areas[1] * b[5] - shared * high)


def polygon(box: np.ndarray) -> shapely.Polygon:
    ahead = 0.5 * box[3] * np.array([math.cos(box[6]), math.sin(box[6])])
    left = 0.5 * box[4] * np.array([-math.sin(box[6]), math.cos(box[6])])
    return shapely.Polygon([box[:2] + s * ahead + t * left for s, t in ((1, 1), (-1, 1), (-1, -1), (1, -1))])


def crowded_frames(seed: int, count: int) -> list[BoxFrame]:
    """Boxes so close that several detections meet several true ones; no two scores are equal."""
    rng = np.random.default_rng(seed)
    frames = []
    scores = rng.permutation(20 * count) / (20 * count)
    for number in range(count):
        true, found = rng.integers(0, 9), rng.integers(0, 13)
        boxes = [np.zeros((n, 9)) for n in (true, found)]
        for part in boxes:
            part[:, :2] = rng.uniform(-5, 5, (len(part), 2))
            part[:, 2] = rng.uniform(-0.4, 0.4, len(part))
            part[:, 3:6] = rng.uniform(2, 4, (len(part), 3))
            part[:, 6] = rng.uniform(-4, 4, len(part))
        own = scores[20 * number : 20 * number + found]
        frames.append(BoxFrame.of((boxes[0], np.zeros(true)), (boxes[1], own, np.zeros(found))))
    return frames


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 14),
    threshold=st.sampled_from([0.1, 0.2, 0.3]),
    kind=st.sampled_from(["bev", "3d"]),
)
@settings(max_examples=25, deadline=None)
def test_equals_a_plain_loop(seed: int, count: int, threshold: float, kind: Any) -> None:
    frames = crowded_frames(seed, count)
    curve = overlap_curve(frames, threshold, kind)
    if not sum(len(frame.truth) for frame in frames):
        assert math.isnan(curve.average_precision)
        return
    assert curve.average_precision == pytest.approx(plain_ap(frames, threshold, kind), abs=1e-12)


@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(["bev", "3d"]))
@settings(max_examples=10, deadline=None)
def test_overlaps_are_those_of_polygons(seed: int, kind: Any) -> None:
    frame = crowded_frames(seed, 1)[0]
    expected = [[plain_iou(a, b, kind) for b in frame.truth] for a in frame.found]
    expected = np.array(expected).reshape(len(frame.found), len(frame.truth))
    np.testing.assert_allclose(overlaps(frame, kind), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("true", "found", "expected"), [(1, 1, 1.0), (10, 10, 1.0), (10, 5, 0.5), (3, 1, 13 / 40)]
)
def test_few_boxes_that_are_found_are_scored_by_their_share(true: int, found: int, expected: float) -> None:
    box = np.array([0.0, 0, 0, 4, 2, 1.5, 0, 0, 0])
    boxes = box + np.arange(true)[:, None] * np.array([10.0, *[0] * 8])
    frame = BoxFrame.of((boxes, np.zeros(true)), (boxes[:found], np.linspace(1, 0.5, found), np.zeros(found)))
    assert overlap_curve([frame], 0.7).average_precision == pytest.approx(expected)


def test_ignored_boxes_cost_nothing() -> None:
    box = np.array([[0.0, 0, 0, 4, 2, 1.5, 0, 0, 0], [20.0, 0, 0, 4, 2, 1.5, 0, 0, 0]])
    both = (box, [0.5, 0.9], [0, 0])
    counted = BoxFrame.of((box[:1], [0]), both)
    assert overlap_curve([counted], 0.7).average_precision == 0.5
    ignored = BoxFrame.of((box, [0, 0]), both, ignored=[False, True])
    assert overlap_curve([ignored], 0.7).average_precision == 1
    unscored = BoxFrame.of((box[:1], [0]), both, found_ignored=[False, True])
    assert overlap_curve([unscored], 0.7).average_precision == 1


@pytest.mark.parametrize(
    ("name", "iou"),
    [
        ("car", 0.7),
        ("vehicle.bus.rigid", 0.7),
        ("LARGE_VEHICLE", 0.7),
        ("VEHICULAR_TRAILER", 0.7),
        ("boxTruck", 0.7),
        ("construction_vehicle", 0.7),
        ("bicycle", 0.5),
        ("Pedestrian", 0.5),
        ("motorcycle", 0.5),
        ("cart", 0.5),
        ("scarecrow", 0.5),
    ],
)
def test_default_iou_by_the_words_of_a_name(name: str, iou: float) -> None:
    assert default_iou(name) == iou
