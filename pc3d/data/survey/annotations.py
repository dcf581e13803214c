"""Whether a data set whose classes are known has boxes and labels of points at all."""

from __future__ import annotations

from collections.abc import Sequence

from pc3d.data.classes import ClassSet
from pc3d.data.records import Sweep
from pc3d.findings import Finding

NO_BOXES, NO_LABELS = "no boxes", "no labels"
"""Names of the findings of a data set that has none."""


class Annotations:
    """Counts key frames with boxes and with labels, scene after scene, those of the split `test` aside.

    Args:
        classes: of the data set: without classes of boxes or points none are expected.
        labels: label files are wanted.
    """

    def __init__(self, classes: ClassSet | None, labels: bool = True) -> None:
        self._boxes = bool(classes and classes.boxes)
        self._labels = bool(classes and classes.labels and labels)
        self._frames = self._with_boxes = self._with_labels = 0

    def look(self, sweeps: Sequence[Sweep]) -> None:
        for sweep in sweeps:
            if sweep.is_key_frame and sweep.split != "test":
                self._frames += 1
                self._with_boxes += sweep.boxes is not None
                self._with_labels += sweep.lidarseg_path is not None

    def findings(self) -> list[Finding]:
        if not self._frames:
            return []
        remedy = "extract their archive if there is one, below the name that docs/formats.md has"
        looked = (
            (NO_BOXES, self._boxes, self._with_boxes),
            (NO_LABELS, self._labels, self._with_labels),
        )
        return [
            Finding(name, "ok", f"none of {self._frames} key frames has {name[3:]}", remedy)
            for name, expected, count in looked
            if expected and not count
        ]
