"""The submission of the nuScenes detection challenge: boxes in the world frame as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.label_maps import NUSCENES_DETECTION_CLASSES
from pc3d.data.records import Float64
from pc3d.evaluation.detection_frames import boxes_to_lidar, boxes_to_world, float64_array
from pc3d.geometry.rigid import quaternion_to_matrix, yaw_of
from pc3d.models.heads.attributes import attribute_of
from pc3d.storage.whole import clean, new_file

RESULTS = "results_nusc.json"
"""File name of the submission."""
MAX_BOXES = 500
"""Boxes of a sample that the evaluator accepts."""


class DetectionWriter:
    """Writes a submission in the format of the nuScenes detection challenge.

    Samples go to a file beside the submission as they come; `close` puts it in place, so that a
    submission is whole or not there. As a context (`with`) it closes at the end, and leaves nothing
    behind when an exception passes.

    Args:
        folder: made if need be; gets `results_nusc.json`.
        split: e.g. `val`, or a custom split of the data set.
        use_camera, use_lidar: what the predictions were made with.
        use_external: whether data beside nuScenes was used, pretraining included.
        attribute_of: attribute name ("" for none) of a class name and a speed in m/s.
    """

    def __init__(
        self,
        folder: Path | str,
        split: str,
        use_camera: bool = False,
        use_lidar: bool = True,
        use_external: bool = False,
        attribute_of: Callable[[str, float], str] = attribute_of,
    ) -> None:
        self.path, self.split = Path(folder) / RESULTS, split
        self._attribute_of = attribute_of
        self._written: set[str] = set()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        clean(self.path.parent)
        self._whole = ExitStack()
        self._file = self._whole.enter_context(new_file(self.path))
        used = {"camera": use_camera, "lidar": use_lidar, "external": use_external}
        meta = {
            f"use_{name}": used.get(name, False) for name in ("camera", "lidar", "radar", "map", "external")
        }
        self._write(f'{{"meta": {json.dumps(meta)}, "results": {{')

    def add(
        self,
        sample_token: str,
        boxes: Any,
        scores: Any,
        labels: Any,
        world_SE3_lidar: Float64,
        attributes: Sequence[str] | None = None,
    ) -> None:
        """Add the detections of one sample; the 500 with the best scores are kept.

        Args:
            sample_token: of the key frame.
            boxes: (N, 9) `x y z l w h yaw vx vy` in the loaded sweep's LiDAR frame, metres, radians, m/s,
                x y z the centre; an unknown velocity (NaN) is written as 0.
            scores: (N,). labels: (N,) into `NUSCENES_DETECTION_CLASSES`.
            world_SE3_lidar: (4, 4) pose of the sweep.
            attributes: N names, where they are known; else by `attribute_of`.

        Raises:
            ValueError: shapes do not agree, a value is not finite, a size not positive, a label unknown,
                or the sample was added before.
        """
        boxes, scores, labels = (
            float64_array(boxes).reshape(-1, 9),
            float64_array(scores),
            float64_array(labels).astype(np.int64),
        )
        boxes[:, 7:] = np.nan_to_num(boxes[:, 7:], nan=0.0)
        _check(sample_token, boxes, scores, labels, attributes)
        if sample_token in self._written:
            raise ValueError(f"sample {sample_token} was added before: one call holds all of its boxes")
        order = np.argsort(-scores, kind="stable")[:MAX_BOXES]
        world = boxes_to_world(boxes[order], world_SE3_lidar).round(6)
        entries = []
        for row, box in zip(order.tolist(), world.tolist(), strict=True):
            name = NUSCENES_DETECTION_CLASSES[labels[row]]
            given = (
                self._attribute_of(name, float(np.hypot(*box[7:]))) if attributes is None else attributes[row]
            )
            entries.append(submission_entry(sample_token, box, name, float(scores[row]), given))
        separator = ",\n" if self._written else "\n"
        self._write(f"{separator}{json.dumps(sample_token)}: {json.dumps(entries)}")
        self._written.add(sample_token)

    def close(self) -> Path:
        """Finish the submission and put it in place; gives its path."""
        self._write("}}\n")
        self._whole.close()
        return self.path

    def _write(self, text: str) -> None:
        self._file.write(text.encode())

    def __enter__(self) -> DetectionWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._whole.__exit__(kind, error, trace)


def _check(sample: str, boxes: Float64, scores: Any, labels: Any, attributes: Sequence[str] | None) -> None:
    n = len(boxes)
    if scores.shape != (n,) or labels.shape != (n,) or (attributes is not None and len(attributes) != n):
        raise ValueError(
            f"sample {sample}: {n} boxes, scores {scores.shape}, labels {labels.shape}: expected one for each"
        )
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError(f"sample {sample}: a box or score is not finite; did the training diverge?")
    if n and boxes[:, 3:6].min() <= 0:
        raise ValueError(f"sample {sample}: a box has size {boxes[:, 3:6].min()} m, expected above 0")
    if n and not 0 <= labels.min() <= labels.max() < len(NUSCENES_DETECTION_CLASSES):
        raise ValueError(f"sample {sample}: labels span {labels.min()}..{labels.max()}, expected 0..9")


def out_of_range_entry(sample: str) -> dict[str, Any]:
    """A detection that the evaluator filters away before anything is counted."""
    return submission_entry(sample, [1e9, 1e9, 0, 1, 1, 1, 0, 0, 0], "car", 0.0, "")


def submission_entry(
    sample: str, box: list[float], name: str, score: float, attribute: str
) -> dict[str, Any]:
    """A detection of the submission; the box is in the world frame."""
    x, y, z, length, width, height, yaw, vx, vy = box
    return {
        "sample_token": sample,
        "translation": [x, y, z],
        "size": [width, length, height],
        "rotation": [float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2))],
        "velocity": [vx, vy],
        "detection_name": name,
        "detection_score": score,
        "attribute_name": attribute,
    }


def lidar_boxes(
    entries: Sequence[Mapping[str, Any]], world_SE3_lidar: Float64
) -> tuple[Float64, NDArray[np.int64]]:
    """The boxes of a sample's entries in a submission, back in the LiDAR frame.

    Args:
        entries: `results[sample_token]`. world_SE3_lidar: (4, 4) pose of the sweep.

    Returns:
        (N, 9) `x y z l w h yaw vx vy`, and (N,) labels into `NUSCENES_DETECTION_CLASSES`.
    """
    rows = []
    for entry in entries:
        width, length, height = entry["size"]
        yaw = float(yaw_of(quaternion_to_matrix(entry["rotation"])))
        rows.append([*entry["translation"], length, width, height, yaw, *entry["velocity"]])
    labels = [NUSCENES_DETECTION_CLASSES.index(entry["detection_name"]) for entry in entries]
    boxes = boxes_to_lidar(np.array(rows).reshape(-1, 9), world_SE3_lidar)
    return boxes, np.array(labels, dtype=np.int64)
