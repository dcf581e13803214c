"""Labels of points: which key frames have none, and whether what they say is where boxes say it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pc3d.data.classes import ClassSet
from pc3d.data.records import Boxes, Float32, Sweep
from pc3d.data.survey.tally import Tally
from pc3d.findings import Finding
from pc3d.geometry.boxes import points_in_boxes

_SHOWN = 5
_FIT = 0.75
"""Share of the points in the boxes of a frame that have the class of their box: 1.00 in simulated frames, up
to 0.52 with labels that are shifted or shuffled, 0.72 with those of half a second before."""
_CORE = (0.9, 0.9, 0.7)  # of length, width, height: without the road below, and what stands close by
_POINTS, _BOXES = 5, 3


class Unlabelled:
    """Looks at the label files of one scene after the other.

    Args:
        stated: the data set has a table of them, and they were not left out.
        sparse: it labels some of its frames only.
    """

    def __init__(self, stated: bool, sparse: bool = False) -> None:
        self._stated, self._sparse = stated, sparse
        self._frames = self._without = self._scenes = 0
        self._annotated = False
        self._shown: list[str] = []

    def look(self, sweeps: Sequence[Sweep]) -> None:
        frames = [sweep for sweep in sweeps if sweep.is_key_frame]
        without = [frame for frame in frames if frame.lidarseg_path is None]
        if without == frames and sweeps[0].split == "test":
            return  # benchmarks keep the labels of their test split
        self._annotated = self._annotated or any(frame.boxes for frame in frames)
        self._frames += len(frames)
        self._without += len(without)
        if without:
            self._scenes += 1
            if len(self._shown) < _SHOWN:
                self._shown.append(f"{sweeps[0].scene} {len(without)} of {len(frames)}, {without[0].token}")

    def findings(self) -> list[Finding]:
        if not self._without or (self._without == self._frames and not self._stated):
            return []
        if self._sparse and self._without < self._frames:
            return []
        more = (
            f"; and {self._scenes - len(self._shown)} scenes more" if self._scenes > len(self._shown) else ""
        )
        text = (
            f"{self._without} of {self._frames} key frames have no label file: {'; '.join(self._shown)}{more}"
        )
        remedy = "add them if there are any: a supervised run learns nothing from a frame without labels"
        if self._without < self._frames:
            return [Finding("labels", "warning", text, remedy)]
        # A test set has neither labels nor boxes.
        return [Finding("labels", "problem" if self._annotated else "ok", text, remedy)]


class LabelContent:
    """What the label files of a few frames say.

    Args:
        classes: of the data set.
    """

    def __init__(self, classes: ClassSet) -> None:
        # A class of boxes and one of points of the same name are the same.
        self._classes = {
            category: classes.classes.index(name)
            for category, name in classes.boxes.items()
            if name in classes.classes
        }
        self._ignored, self._beside = Tally(), Tally()

    def look(
        self,
        labels: NDArray[np.int64],
        points: Float32,
        boxes: Boxes | None,
        chosen: NDArray[np.int64],
        token: str,
    ) -> None:
        """Look at a frame; `chosen` of its boxes hold points."""
        ignored = not (labels >= 0).any()
        self._ignored.look(ignored, f"sweep {token}")
        share = None if boxes is None or ignored else self._share_in_boxes(labels, points, boxes, chosen)
        if share is not None:
            self._beside.look(share < _FIT, f"{100 * share:.0f} % of sweep {token}")

    def _share_in_boxes(
        self, labels: NDArray[np.int64], points: Float32, boxes: Boxes, chosen: NDArray[np.int64]
    ) -> float | None:
        """The share of the points in boxes that have the class of their box, a mean over the boxes; None
        where too few boxes hold points."""
        of_class = [(n, self._classes[boxes.names[n]]) for n in chosen if boxes.names[n] in self._classes]
        at = np.array([n for n, _ in of_class], dtype=np.int64)
        inside = points_in_boxes(points, boxes.centers[at], boxes.sizes[at] * _CORE, boxes.yaws[at])
        shares = [
            float((labels[within] == label).mean())
            for (_, label), within in zip(of_class, inside, strict=True)
            if within.sum() >= _POINTS
        ]
        return float(np.mean(shares)) if len(shares) >= _BOXES else None

    def findings(self) -> list[Finding]:
        ignored, beside = self._ignored, self._beside
        return [
            *ignored.finding(
                "label content",
                "problem" if ignored.count == ignored.of else "warning",
                "label files (a sample) hold ignored categories only",
                "write a raw id that the classes know for each point",
            ),
            *beside.finding(
                "labels in boxes",
                "problem" if 2 * beside.count > beside.of else "warning",
                f"label files (a sample) give fewer than {100 * _FIT:.0f} % of points in boxes their class",
                "give each sweep its own label file, a label for each of its points in their order",
            ),
        ]
