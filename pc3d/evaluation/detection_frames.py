"""Detection boxes between the LiDAR frame of a sweep and the world frame of a submission, and the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.classes import ClassSet, load_class_set
from pc3d.data.detection import box_rows, counted_boxes, moved_boxes
from pc3d.data.errors import fail
from pc3d.data.index import SweepIndex
from pc3d.data.records import Float64, Sweep
from pc3d.geometry.rigid import invert_SE3


@dataclass(frozen=True, eq=False)
class TrueDetections:
    """The annotated boxes of a key frame that detection is scored on.

    Attributes:
        token: of the sweep. sample_token: of its sample.
        boxes: (N, 9) float64 `x y z l w h yaw vx vy`, the sweep's LiDAR frame, velocity NaN where unknown.
        labels: (N,) int64 into `NUSCENES_DETECTION_CLASSES`.
        attributes: N attribute names, "" where there is none.
        world_SE3_lidar: (4, 4) float64.
    """

    token: str
    sample_token: str
    boxes: Float64
    labels: NDArray[np.int64]
    attributes: tuple[str, ...]
    world_SE3_lidar: Float64


def true_detections(index: SweepIndex, split: str | None) -> Iterator[TrueDetections]:
    """The truth of every annotated key frame of a split (of all with None), in the index's order."""
    for row in index.key_rows(split).tolist():
        sweep = index[row]
        if sweep.boxes is not None:
            yield true_detections_of(sweep)


def true_detections_of(sweep: Sweep) -> TrueDetections:
    """The truth of one key frame: the boxes of a detection class with a LiDAR point (or unknown number).

    The official truth also keeps boxes that only the radar hits; an index does not count radar points.

    Raises:
        DataError: it has no annotations.
    """
    if sweep.boxes is None:
        fail("the sweep has no boxes", f"sweep {sweep.token}", "choose an annotated key frame")
    boxes = sweep.boxes
    labels = _official().box_labels(boxes.names)
    counted = counted_boxes(boxes, labels)
    return TrueDetections(
        token=sweep.token,
        sample_token=sweep.sample_token,
        boxes=box_rows(boxes)[counted],
        labels=labels[counted],
        attributes=tuple(boxes.attributes[row] for row in np.flatnonzero(counted)),
        world_SE3_lidar=sweep.world_SE3_ego @ sweep.ego_SE3_lidar,
    )


@cache
def _official() -> ClassSet:
    """The classes of the official evaluation, whatever those of an index."""
    return load_class_set("nuscenes")


def float64_array(values: Any) -> Float64:
    """float64 copy of numbers, an array, or a tensor on any device."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().double()
    return np.array(values, dtype=np.float64)


def boxes_to_world(boxes: Any, world_SE3_lidar: Float64) -> Float64:
    """Boxes of a sweep in the world frame, where they stand upright.

    A box in the LiDAR frame has the heading and velocity of an upright box as the (slightly tilted)
    LiDAR sees them from above: the upper left 2x2 block of the rotation, which is inverted here. So the
    way back gives the same box, however the vehicle is tilted.

    Args:
        boxes: (N, 9) `x y z l w h yaw vx vy`. world_SE3_lidar: (4, 4).
    """
    plane = np.linalg.inv(invert_SE3(world_SE3_lidar)[:2, :2])
    return moved_boxes(float64_array(boxes).reshape(-1, 9), world_SE3_lidar, plane)


def boxes_to_lidar(boxes: Any, world_SE3_lidar: Float64) -> Float64:
    """The inverse of `boxes_to_world`: (N, 9) of (N, 9) upright boxes in the world frame."""
    lidar_SE3_world = invert_SE3(world_SE3_lidar)
    return moved_boxes(float64_array(boxes).reshape(-1, 9), lidar_SE3_world, lidar_SE3_world[:2, :2])
