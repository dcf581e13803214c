"""Average precision by the distance of the centres on the ground, and the errors of what is right.

As nuScenes defines it (Caesar et al., CVPR 2020, section 3.1), for any class: detections of all frames, best
first, each take the nearest true box of their frame that is still free; it is right when their centres are
less than a threshold apart. Precision is read at 101 recalls, those up to 0.1 and precision up to 0.1 are
cut off. The errors are means over the right ones of all higher scores, averaged from recall 0.11 to the
highest that is reached; 1 where that is less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pc3d.data.records import Float64
from pc3d.evaluation.own.box_frame import BoxFrame
from pc3d.storage.compiled import njit

DISTANCES = (0.5, 1.0, 2.0, 4.0)
"""Metres, of the mean AP."""
ERROR_DISTANCE = 2.0
"""Metres up to which a detection is right where its errors are measured."""
MIN_RECALL, MIN_PRECISION = 0.1, 0.1
RECALLS: Float64 = np.linspace(0.0, 1.0, 101)
ERRORS = ("translation", "scale", "orientation", "velocity")
"""Metres; 1 - IoU of the sizes; radians; m/s."""


@dataclass(frozen=True, eq=False)
class DistanceCurve:
    """Precision, score and running errors at `RECALLS`.

    Attributes:
        precision: (101,), 0 beyond the highest recall. confidence: (101,) score, likewise.
        errors: name of `ERRORS` to (101,).
    """

    precision: Float64
    confidence: Float64
    errors: Mapping[str, Float64]


def distance_curve(frames: Sequence[BoxFrame], distance: float, period: float = 2 * math.pi) -> DistanceCurve:
    """Match the detections of one class in all frames and count.

    Args:
        frames: what is of the class; ignored boxes are left out, true and found.
        distance: metres, above which centres do not match.
        period: radians after which a box looks the same; pi where front and back are not told apart.
    """
    frames = [frame.select(~frame.ignored, ~frame.found_ignored) for frame in frames]
    true = sum(len(frame.truth) for frame in frames)
    matches = [nearest_matches(frame, distance) for frame in frames]
    hits = np.concatenate([match >= 0 for match in matches]) if frames else np.zeros(0, dtype=np.bool_)
    if not true or not hits.any():
        zeros = np.zeros(len(RECALLS))
        return DistanceCurve(zeros, zeros, {name: np.ones(len(RECALLS)) for name in ERRORS})
    scores = np.concatenate([frame.scores for frame in frames])
    order = np.argsort(scores, kind="stable")[::-1]  # of equal scores the later one first, as the devkit
    right = np.cumsum(hits[order])
    precision, recall = right / np.arange(1, len(order) + 1), right / true
    confidence = np.interp(RECALLS, recall, scores[order], right=0)
    errors = np.concatenate([_errors(*pair, period) for pair in zip(frames, matches, strict=True)])
    errors, found = errors[order][hits[order]], scores[order][hits[order]]
    running = {name: _running_mean(errors[:, column]) for column, name in enumerate(ERRORS)}
    return DistanceCurve(
        np.interp(RECALLS, recall, precision, right=0),
        confidence,
        {name: np.interp(confidence, found[::-1], mean[::-1]) for name, mean in running.items()},
    )


@njit(cache=True)
def _nearest_free(found, truth, order, distance, match):  # type: ignore[no-untyped-def]
    free = np.ones(len(truth), np.bool_)
    for row in order:
        least, best = np.inf, -1
        for j in range(len(truth)):
            if free[j]:
                dx, dy = found[row, 0] - truth[j, 0], found[row, 1] - truth[j, 1]
                away = math.sqrt(dx * dx + dy * dy)
                if away < least:
                    least, best = away, j
        if least < distance:
            match[row] = best
            free[best] = False


def nearest_matches(frame: BoxFrame, distance: float) -> NDArray[np.int64]:
    """(N,) row of the true box that each detection of one class takes, best score first, -1 for none."""
    match = np.full(len(frame.found), -1, dtype=np.int64)
    order = np.argsort(frame.scores, kind="stable")[::-1]
    found, truth = (np.ascontiguousarray(boxes[:, :2]) for boxes in (frame.found, frame.truth))
    _nearest_free(found, truth, order, float(distance), match)
    return match


def _errors(frame: BoxFrame, match: NDArray[np.int64], period: float) -> Float64:
    """(N, 4) `ERRORS` of each detection, NaN where it has no true box."""
    errors = np.full((len(match), len(ERRORS)), np.nan)
    hit = match >= 0
    found, truth = frame.found[hit], frame.truth[match[hit]]
    shared = np.minimum(found[:, 3:6], truth[:, 3:6]).prod(axis=1)
    volumes = found[:, 3:6].prod(axis=1) + truth[:, 3:6].prod(axis=1)
    turn = np.abs((truth[:, 6] - found[:, 6] + period / 2) % period - period / 2)
    errors[hit] = np.column_stack(
        [
            np.hypot(*(found[:, :2] - truth[:, :2]).T),
            1 - shared / (volumes - shared),
            turn,
            np.hypot(*(found[:, 7:] - truth[:, 7:]).T),
        ]
    )
    return errors


def _running_mean(values: Float64) -> Float64:
    """Mean of all up to each, without the unknown ones (NaN): 0 before the first, 1 where none is known."""
    known = ~np.isnan(values)
    if not known.any():
        return np.ones(len(values))
    return np.nancumsum(values) / np.maximum(np.cumsum(known), 1)


def average_precision(curve: DistanceCurve) -> float:
    """Area of precision above 0.1 at recalls above 0.1, as a share of the whole."""
    above = np.maximum(curve.precision[_first_recall() :] - MIN_PRECISION, 0)
    return float(above.mean()) / (1 - MIN_PRECISION)


def mean_errors(curve: DistanceCurve) -> dict[str, float]:
    """Error name to its mean over the recalls above 0.1 that are reached, 1 where none is."""
    first, reached = _first_recall(), np.flatnonzero(curve.confidence)
    last = int(reached[-1]) if len(reached) else 0
    if last < first:
        return dict.fromkeys(curve.errors, 1.0)
    return {name: float(values[first : last + 1].mean()) for name, values in curve.errors.items()}


def _first_recall() -> int:
    return round(100 * MIN_RECALL) + 1
