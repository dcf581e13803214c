"""Average precision by the overlap of boxes, seen from above or in space, with 40 recall points.

KITTI's procedure (Geiger et al., CVPR 2012; 40 points since Simonelli et al., ICCV 2019), for any class:

1. Each true box, in its order, takes the best detection of those that overlap it enough and are free. The
   scores of these hits give the thresholds whose recall is nearest to 0, 1/40, ..., 1.
2. At each threshold the true boxes take anew, now the detection that overlaps them most; what is left of the
   detections is wrong. Precision at a recall is the highest at that or any higher one.
3. AP is the mean of the 40 precisions without the one at recall 0.

With fewer than 40 true boxes there are fewer hits than recall points, and KITTI's evaluator leaves the others
at precision 0: ten boxes, all found, have AP 9/40. There a recall point takes the first hit that reaches it,
so that they have AP 1.

Ignored true boxes need not be found; a detection that takes one is neither right nor wrong. An ignored
detection is only taken where no other overlaps enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from pc3d.data.records import Float64
from pc3d.evaluation.own.box_frame import BoxFrame
from pc3d.ops.nms import box_iou, rotated_iou
from pc3d.storage.compiled import njit

Overlap = Literal["bev", "3d"]
POINTS = 40
"""Recall points above 0."""


def overlaps(frame: BoxFrame, kind: Overlap) -> Float64:
    """(N, M) IoU of each found with each true box: of rectangles seen from above, or of boxes in space."""
    found, truth = (torch.from_numpy(boxes[:, :7]) for boxes in (frame.found, frame.truth))
    if kind == "3d":
        return np.asarray(box_iou(found, truth))
    flat = [0, 1, 3, 4, 6]
    return np.asarray(rotated_iou(found[:, flat], truth[:, flat]))


@dataclass(frozen=True, eq=False)
class OverlapCurve:
    """Precision at the recalls 0, 1/40, ..., 1, the highest at that or any higher one.

    Attributes:
        precision: (41,), 0 where no recall is so high.
        true: true boxes that count. recall: share of them that all detections together find.
    """

    precision: Float64
    true: int
    recall: float

    @property
    def average_precision(self) -> float:
        """Mean over the 40 recalls above 0; NaN without a true box."""
        return float(self.precision[1:].mean()) if self.true else float("nan")


def overlap_curve(frames: Sequence[BoxFrame], threshold: float, kind: Overlap = "3d") -> OverlapCurve:
    """Count the detections of one class in all frames.

    Args:
        frames: what is of the class. threshold: a match has an IoU above it.
    """
    tables = [np.ascontiguousarray(overlaps(frame, kind)) for frame in frames]
    true = sum(int((~frame.ignored).sum()) for frame in frames)
    hits = [_hits(table, frame, threshold) for table, frame in zip(tables, frames, strict=True)]
    scores = np.sort(np.concatenate([np.zeros(0), *hits]))[::-1]
    taken = scores[_ranks(len(scores), true)]
    counts = np.zeros((len(taken), 2), dtype=np.int64)
    for table, frame in zip(tables, frames, strict=True):
        _count(table, frame.scores, frame.ignored, frame.found_ignored, threshold, taken, counts)
    precision = np.zeros(POINTS + 1)
    precision[: len(taken)] = counts[:, 0] / np.maximum(counts.sum(axis=1), 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return OverlapCurve(highest, true, len(scores) / true if true else float("nan"))


def _ranks(hits: int, true: int) -> list[int]:
    """For the recall points from 0 on, as far as they are reached, which hit (best first) stands for each."""
    if not hits:
        return []
    if true < POINTS:  # the first whose recall, (rank + 1) / true, is not below k / 40
        reached = hits * POINTS // true
        return [max(-(-k * true // POINTS) - 1, 0) for k in range(reached + 1)]
    ranks: list[int] = []
    aim = 0.0  # added up as KITTI does, because halves between two hits occur
    for rank in range(hits):
        last = rank == hits - 1
        here, after = (rank + 1) / true, (rank + 2) / true
        if last or after - aim >= aim - here:
            ranks.append(rank)
            aim += 1 / POINTS
    return ranks[: POINTS + 1]


def _hits(table: Float64, frame: BoxFrame, threshold: float) -> Float64:
    """Scores of the detections that are right, each true box taking the best score."""
    scores = np.zeros(len(frame.truth))
    count = _best_hits(table, frame.scores, frame.ignored, frame.found_ignored, float(threshold), scores)
    return scores[:count]


@njit(cache=True)
def _best_hits(table, scores, ignored, found_ignored, threshold, hits):  # type: ignore[no-untyped-def]
    free = np.ones(len(scores), np.bool_)
    count = 0
    for j in range(table.shape[1]):
        best = -1
        for i in range(len(scores)):
            if free[i] and table[i, j] > threshold and (best < 0 or scores[i] > scores[best]):
                best = i
        if best < 0:
            continue
        free[best] = False
        if not ignored[j] and not found_ignored[best]:
            hits[count] = scores[best]
            count += 1
    return count


@njit(cache=True)
def _count(table, scores, ignored, found_ignored, threshold, levels, counts):  # type: ignore[no-untyped-def]
    """Add the right and the wrong detections from each score on to `counts`, (levels, 2)."""
    free = np.empty(len(scores), np.bool_)
    for level in range(len(levels)):
        for i in range(len(scores)):
            free[i] = scores[i] >= levels[level]
        for j in range(table.shape[1]):
            best, spare = -1, -1
            for i in range(len(scores)):
                if not free[i] or not table[i, j] > threshold:
                    continue
                if found_ignored[i]:
                    spare = i if spare < 0 else spare
                elif best < 0 or table[i, j] > table[best, j]:
                    best = i
            taken = spare if best < 0 else best
            if taken < 0:
                continue
            free[taken] = False
            if best >= 0 and not ignored[j]:
                counts[level, 0] += 1
        for i in range(len(scores)):
            if free[i] and not found_ignored[i]:
                counts[level, 1] += 1


KITTI_LEVELS: dict[str, tuple[float, int, float]] = {
    "easy": (40.0, 0, 0.15),
    "moderate": (25.0, 1, 0.3),
    "hard": (25.0, 2, 0.5),
}
"""Pixels that a box must be higher than, most occlusion, most truncation, of KITTI's three difficulties."""


def kitti_ignored(
    level: str, heights: Float64, occlusion: NDArray[np.int64], truncation: Float64
) -> NDArray[np.bool_]:
    """(M,) true boxes of a class that a KITTI difficulty ignores.

    Args:
        level: of `KITTI_LEVELS`.
        heights: (M,) of the boxes in the image, pixels. occlusion: (M,) 0 (none) to 3 (unknown).
        truncation: (M,) share outside of the image.
    """
    height, most_occluded, most_truncated = KITTI_LEVELS[level]
    return (heights <= height) | (occlusion > most_occluded) | (truncation > most_truncated)
