"""What a detection head finds in a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from pc3d.data.errors import did_you_mean
from pc3d.ops.device import constant

CENTRE_RANGE = (-61.2, -61.2, -10.0, 61.2, 61.2, 10.0)
"""x_min y_min z_min x_max y_max z_max (m) of box centres, as public nuScenes configurations have it."""


@dataclass(frozen=True)
class Detections:
    """Boxes found in one sample, best first, in the frame of the map.

    Attributes:
        boxes: (N, 9) float32 `x y z l w h yaw vx vy`, metres, radians, m/s; x y z the centre.
        scores: (N,) float32 in (0, 1).
        labels: (N,) int64 index into the detection classes of the data.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def __getitem__(self, rows: Tensor | slice) -> Detections:
        """Those of the given rows, mask or slice."""
        return Detections(self.boxes[rows], self.scores[rows], self.labels[rows])

    def best_first(self) -> Detections:
        """The same, sorted; equal scores stay in order."""
        return self[self.scores.argsort(descending=True, stable=True)]


def in_range(boxes: Tensor, centre_range: Sequence[float]) -> Tensor:
    """(N,) bool: the centre is in range, and every number finite (a diverged network gives NaN)."""
    low, high = constant(centre_range, boxes).view(2, 3)
    inside = ((boxes[:, :3] >= low) & (boxes[:, :3] <= high)).all(dim=1)
    return inside & boxes.isfinite().all(dim=1)


def check_centre_range(centre_range: Sequence[float]) -> None:
    """
    Raises:
        ValueError: not six numbers.
    """
    if len(centre_range) != 6:
        raise ValueError(f"centre_range {centre_range}: expected x y z of the low, then the high corner")


def labels_of(groups: Sequence[Sequence[str]], detection: Sequence[str]) -> list[list[int]]:
    """Labels of groups of class names.

    Args:
        detection: classes of the data, in the order of their labels.

    Raises:
        ValueError: an unknown or repeated class, or an empty group.
    """
    names = [name for group in groups for name in group]
    unknown = sorted(set(names) - set(detection))
    if unknown or len(set(names)) != len(names) or not names or not all(groups):
        near = f"; {unknown[0]!r} is none of them{did_you_mean(unknown[0], detection)}" if unknown else ""
        raise ValueError(
            f"groups {groups}: expected groups of at least one class, each class once, of "
            f"{', '.join(detection)}{near}"
        )
    return [[detection.index(name) for name in group] for group in groups]
