"""Which frames of a split a detector gets wrong: F1 at 2 m, at the score of each class where it is best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pc3d.evaluation.own.box_frame import BoxFrame, of_class
from pc3d.evaluation.own.centre_distance import ERROR_DISTANCE, nearest_matches


def _counted(frame: BoxFrame, least: Mapping[int, float] | None = None) -> BoxFrame:
    """Without what is ignored, and of the detections those with the least score of their class."""
    kept = ~frame.found_ignored
    if least is not None:
        kept &= frame.scores >= np.array([least[int(label)] for label in frame.labels])
    return frame.select(~frame.ignored, kept)


def operating_points(frames: Sequence[BoxFrame], count: int) -> dict[int, float]:
    """Score of each of `count` classes from which its detections are shown: where F1 at 2 m is the highest.

    A class that is never right gets the median of the others, 0 if there is none.
    """
    points: dict[int, float] = {}
    for label in range(count):
        own = of_class([_counted(frame) for frame in frames], label)
        scores = np.concatenate([np.zeros(0), *(frame.scores for frame in own)])
        hits = np.concatenate([np.zeros(0), *(nearest_matches(f, ERROR_DISTANCE) >= 0 for f in own)])
        if not hits.any():
            continue
        true = sum(len(frame.truth) for frame in own)
        order = np.argsort(-scores, kind="stable")
        f1 = 2 * np.cumsum(hits[order]) / (np.arange(1, len(order) + 1) + true)
        f1[:-1][np.diff(scores[order]) == 0] = 0.0  # a threshold takes all that have the same score
        points[label] = float(scores[order][f1.argmax()])
    usual = float(np.median(list(points.values()))) if points else 0.0
    return {label: points.get(label, usual) for label in range(count)}


def frame_scores(frames: Mapping[str, BoxFrame], points: Mapping[int, float]) -> list[dict[str, Any]]:
    """Each frame by its token: `f1`, the mean over the classes that occur or are found there, worst first.

    Where equal, more errors first; without the frames where nothing is. `hits`, `false` and `missed` are
    numbers of boxes.
    """
    scored = []
    for token, frame in frames.items():
        shown = _counted(frame, points)
        f1s, hits = [], 0
        for label in np.union1d(shown.truth_labels, shown.labels).tolist():
            own = shown.of_class(label)
            right = int((nearest_matches(own, ERROR_DISTANCE) >= 0).sum())
            f1s.append(2 * right / (len(own.found) + len(own.truth)))
            hits += right
        if f1s:
            wrong = {"false": len(shown.found) - hits, "missed": len(shown.truth) - hits}
            scored.append({"token": token, "f1": float(np.mean(f1s)), "hits": hits, **wrong})
    return sorted(scored, key=lambda row: (row["f1"], -row["missed"] - row["false"], row["token"]))
