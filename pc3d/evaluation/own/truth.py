"""What pc3d scores predictions against: the labels of a split that an index knows, looked at in time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.classes import IGNORE, ClassSet
from pc3d.data.detection import box_rows, moved_boxes
from pc3d.data.errors import fail
from pc3d.data.index import SweepIndex
from pc3d.data.labels import load_labels
from pc3d.data.points import load_sweep
from pc3d.data.records import Boxes, Camera, Float64, Sweep
from pc3d.evaluation.detection_frames import float64_array
from pc3d.evaluation.own.box_frame import BoxFrame
from pc3d.evaluation.own.detection_scores import DetectionScoring
from pc3d.evaluation.own.scored_classes import scored_classes
from pc3d.geometry.camera import in_image, project
from pc3d.geometry.rigid import invert_SE3, transform_points

LABELLED = "labelled"
"""Key of an index's metadata: names of the cameras whose images boxes are annotated in, as in KITTI."""
_TRIED = 8
"""Label files that are read before anything is predicted; all are looked for."""


def labelled_rows(index: SweepIndex, split: str, task: str) -> NDArray[np.int64]:
    """Rows of the key frames of a split that have labels of a task.

    Raises:
        DataError: none has.
    """
    rows = index.key_rows(split)
    there = [row for row in rows.tolist() if _labelled(index[row], task)]
    if not there:
        kind = "point labels" if task == "lidarseg" else "boxes"
        what = f"none of the {len(rows)} key frames of split {split!r} has {kind}: nothing could be scored"
        fail(what, index.folder, "choose another split, or add the labels and build the index again")
    return np.array(there, dtype=np.int64)


def _labelled(sweep: Sweep, task: str) -> bool:
    return (sweep.lidarseg_path if task == "lidarseg" else sweep.boxes) is not None


def check_own(
    index: SweepIndex, split: str, task: str, scoring: DetectionScoring | None = None
) -> NDArray[np.int64]:
    """Find out now whether pc3d can score a split, and not after its prediction.

    Returns:
        `labelled_rows`.

    Raises:
        DataError: there are no classes of the task or no labels, a label file is missing or does not fit
            (some are read), or no label is of a class that counts.
    """
    classes = scored_classes(index, task)
    rows = labelled_rows(index, split, task)
    if task == "lidarseg":
        _check_points(index, split, rows, classes)
    else:
        _check_boxes(index, split, rows, classes, scoring or DetectionScoring())
    return rows


def _check_points(index: SweepIndex, split: str, rows: NDArray[np.int64], classes: ClassSet) -> None:
    paths = [index[row].lidarseg_path for row in rows.tolist()]
    missing = [path for path in paths if path is not None and not path.is_file()]
    if missing:
        what = f"{len(missing)} of the {len(paths)} label files of split {split!r} are missing"
        fail(what, missing[0], "copy them again, or build the index again")
    tried = rows[np.unique(np.linspace(0, len(rows) - 1, _TRIED).astype(int))]
    sweeps = [index[row] for row in tried.tolist()]
    found = [load_labels(sweep, len(load_sweep(sweep)), classes) for sweep in sweeps]
    if not any((labels >= 0).any() for labels in found):
        what = f"all points of the {len(found)} key frames of split {split!r} that were tried are ignored"
        fail(what, paths[0], "give the raw ids of the labels classes in the class file")


def _check_boxes(
    index: SweepIndex, split: str, rows: NDArray[np.int64], classes: ClassSet, scoring: DetectionScoring
) -> None:
    scoring.describe(classes.detection)
    names: set[str] = set()
    for row in rows.tolist():
        sweep = index[row]
        nothing = np.zeros((0, 9)), np.zeros(0), np.zeros(0)
        frame = box_frame(sweep, classes, nothing).within(scoring.max_distance)
        if not frame.ignored.all():
            return
        names |= set(sweep.boxes.names) if sweep.boxes else set()
    shown = ", ".join(sorted(names)[:8]) or "none"
    fail(
        f"no annotated box of split {split!r} counts: none is of a class, within {scoring.max_distance:g} m "
        f"and has points (categories: {shown})",
        index.folder,
        "choose another split, or give the categories classes under `boxes` in the class file",
    )


def box_frame(
    sweep: Sweep, classes: ClassSet, found: tuple[Any, Any, Any], labelled: Sequence[str] = ()
) -> BoxFrame:
    """The boxes of a key frame about the vehicle.

    A true box that is known to hold no point is ignored: nobody has to find it. One whose category is
    ignored is so for every class.

    Args:
        sweep: annotated. classes: whose detection classes are the labels.
        found: boxes (N, 9) in the sweep's LiDAR frame, scores and labels (N,).
        labelled: cameras; what was found where none of them sees it is ignored, if the sweep has one.

    Raises:
        DataError: the sweep has no annotations.
    """
    if sweep.boxes is None:
        fail("the sweep has no boxes", f"sweep {sweep.token}", "choose an annotated key frame")
    boxes: Boxes = sweep.boxes
    labels = classes.box_labels(boxes.names)
    any_class = np.array([classes.boxes.get(name) == IGNORE for name in boxes.names], dtype=np.bool_)
    own = (labels >= 0) | any_class
    rows = float64_array(found[0]).reshape(-1, 9)
    cameras = [camera for camera in sweep.cameras if camera.name in labelled]
    return BoxFrame.of(
        (_about_the_vehicle(box_rows(boxes)[own], sweep), labels[own]),
        (_about_the_vehicle(rows, sweep), found[1], found[2]),
        ignored=(any_class | (boxes.num_lidar_pts == 0))[own],
        found_ignored=~seen(sweep, cameras, rows[:, :3]) if cameras else None,
    )


def _about_the_vehicle(rows: Float64, sweep: Sweep) -> Float64:
    return moved_boxes(rows, sweep.ego_SE3_lidar, sweep.ego_SE3_lidar[:2, :2])


def seen(sweep: Sweep, cameras: Iterable[Camera], points: Float64) -> NDArray[np.bool_]:
    """(N,) whether one of the cameras of a sweep has (N, 3) points of its LiDAR frame in its image."""
    inside = np.zeros(len(points), dtype=np.bool_)
    for camera in cameras:
        cam_SE3_world = invert_SE3(camera.world_SE3_ego @ camera.ego_SE3_cam)
        cam_SE3_lidar = cam_SE3_world @ sweep.world_SE3_ego @ sweep.ego_SE3_lidar
        uv, _ = project(transform_points(cam_SE3_lidar, points), camera.intrinsics, camera.lens)
        inside |= in_image(uv, camera.size)
    return inside
