"""The boxes of one frame that detection is scored on: the true ones and those that were found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.records import Float64
from pc3d.evaluation.detection_frames import float64_array

ANY_CLASS = -1


@dataclass(frozen=True, eq=False)
class BoxFrame:
    """True and found boxes of one frame, upright in one frame of reference with z up.

    Attributes:
        truth: (M, 9) float64 `x y z l w h yaw vx vy`, metres, radians, m/s; velocity NaN where unknown.
        truth_labels: (M,) int64 class of each, `ANY_CLASS` for one that is ignored whatever is looked for.
        found: (N, 9) likewise. scores: (N,) float64, higher is surer. labels: (N,) int64.
        ignored: (M,) bool: true boxes that nobody has to find, and that cost nothing when found.
        found_ignored: (N,) bool: detections that are neither right nor wrong.
    """

    truth: Float64
    truth_labels: NDArray[np.int64]
    found: Float64
    scores: Float64
    labels: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    found_ignored: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        truth: tuple[Any, Any],
        found: tuple[Any, Any, Any],
        ignored: Any = None,
        found_ignored: Any = None,
    ) -> BoxFrame:
        """From tensors, arrays or lists.

        Args:
            truth: boxes (M, 9) and labels (M,).
            found: boxes (N, 9), scores (N,) and labels (N,).
            ignored: (M,), None: none is. found_ignored: (N,), None: none is.

        Raises:
            ValueError: shapes differ, a position, size, yaw or score is not finite, a size not positive.
        """
        true_boxes, boxes = (float64_array(part[0]).reshape(-1, 9) for part in (truth, found))
        none, nothing = np.zeros(len(true_boxes), dtype=np.bool_), np.zeros(len(boxes), dtype=np.bool_)
        frame = cls(
            truth=true_boxes,
            truth_labels=float64_array(truth[1]).astype(np.int64),
            found=boxes,
            scores=float64_array(found[1]),
            labels=float64_array(found[2]).astype(np.int64),
            ignored=none if ignored is None else np.asarray(ignored, dtype=np.bool_),
            found_ignored=nothing if found_ignored is None else np.asarray(found_ignored, dtype=np.bool_),
        )
        frame._check()
        return frame

    def _check(self) -> None:
        for what, boxes, columns in (
            ("true", self.truth, (self.truth_labels, self.ignored)),
            ("found", self.found, (self.scores, self.labels, self.found_ignored)),
        ):
            if any(column.shape != (len(boxes),) for column in columns):
                raise ValueError(f"{len(boxes)} {what} boxes, columns of {[c.shape for c in columns]}")
            if not np.isfinite(boxes[:, :7]).all() or not np.isfinite(columns[0]).all():
                raise ValueError(f"a {what} box or score is not finite; did the training diverge?")
            if len(boxes) and boxes[:, 3:6].min() <= 0:
                raise ValueError(f"a {what} box has size {boxes[:, 3:6].min()} m, expected above 0")
        if not self.ignored[self.truth_labels == ANY_CLASS].all():
            raise ValueError("a true box without a class is not ignored")

    def of_class(self, label: int) -> BoxFrame:
        """Only what is of one class, or ignored for all."""
        owed = (self.truth_labels == label) | (self.truth_labels == ANY_CLASS)
        return self.select(owed, self.labels == label)

    def select(self, owed: NDArray[np.bool_], own: NDArray[np.bool_]) -> BoxFrame:
        """Those true (M,) and found (N,) boxes."""
        return BoxFrame(
            self.truth[owed],
            self.truth_labels[owed],
            self.found[own],
            self.scores[own],
            self.labels[own],
            self.ignored[owed],
            self.found_ignored[own],
        )

    def within(self, distance: float, origin: Sequence[float] = (0.0, 0.0)) -> BoxFrame:
        """Only boxes whose centre lies less than `distance` metres from `origin`, seen from above."""
        near = [np.hypot(*(boxes[:, :2] - origin).T) < distance for boxes in (self.truth, self.found)]
        return self.select(near[0], near[1])


def of_class(frames: Iterable[BoxFrame], label: int) -> list[BoxFrame]:
    """Of each frame what is of one class, without the frames where nothing is."""
    parts = (frame.of_class(label) for frame in frames)
    return [part for part in parts if len(part.truth) or len(part.found)]
