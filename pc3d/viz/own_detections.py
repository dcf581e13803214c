"""Pictures of detections that pc3d scored: the worst key frames, from above and in the cameras."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pc3d.data.classes import ClassSet
from pc3d.data.detection import box_rows
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.records import Boxes, Float64, Sweep
from pc3d.evaluation.own.evaluate_boxes import ANALYSIS, DETECTIONS
from pc3d.evaluation.own.scored_classes import scored_classes
from pc3d.geometry.rigid import transform_points
from pc3d.viz.detections import KeyFrame, draw_bev, draw_cameras, read_evaluation


def draw_own_detections(index: SweepIndex, folder: Path | str, pictures: int = 4) -> list[Path]:
    """Draw the key frames with the lowest F1 of what `evaluate_boxes` wrote into a folder.

    Args:
        index: of the data set. pictures: number of key frames.

    Returns:
        The files in `pictures/`: from above, and in the cameras where there are any, of each.

    Raises:
        DataError: a file of the evaluation is missing or broken.
    """
    folder = Path(folder)
    analysis = read_evaluation(folder / ANALYSIS)
    worst = analysis["frames"][:pictures]
    found = _lines(folder / DETECTIONS, {frame["token"] for frame in worst})
    classes, paths = scored_classes(index, "detection"), []
    for rank, scores in enumerate(worst, start=1):
        frame = _key_frame(index, found[scores["token"]], scores, analysis, classes)
        paths.append(folder / "pictures" / f"worst-{rank}-bev.png")
        draw_bev(frame, paths[-1], extent=analysis["max_distance"] + 2)
        if frame.sweep.cameras:
            paths.append(folder / "pictures" / f"worst-{rank}-cameras.png")
            draw_cameras(frame, paths[-1])
    return paths


def _lines(path: Path, tokens: set[str]) -> dict[str, dict[str, Any]]:
    try:
        with open(path, encoding="utf-8") as file:
            lines = {line["token"]: line for line in map(json.loads, file) if line["token"] in tokens}
        return {token: lines[token] for token in tokens}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"detections are not there or broken: {error}\n  where: {path}\n  remedy: evaluate again"
        ) from error


def _key_frame(
    index: SweepIndex,
    line: Mapping[str, Any],
    scores: Mapping[str, Any],
    analysis: Mapping[str, Any],
    classes: ClassSet,
) -> KeyFrame:
    sweep, reach = index[index.row_of(line["token"])], analysis["max_distance"]
    least = [analysis["thresholds"][name] for name in line["names"]]
    shown = np.array(line["scores"]) >= np.array(least)
    rows = np.array(line["boxes"]).reshape(-1, 9)[shown]
    names = [name for name, kept in zip(line["names"], shown, strict=True) if kept]
    true = sweep.boxes
    assert true is not None  # only annotated key frames are scored
    labels = classes.box_labels(true.names)
    counted = (labels >= 0) & (true.num_lidar_pts != 0)
    true_names = [classes.detection[label] for label in labels[counted]]
    found, missed, false = scores["hits"], scores["missed"], scores["false"]
    return KeyFrame(
        sweep=sweep,
        predicted=_near(sweep, rows, names, reach),
        truth=_near(sweep, box_rows(true)[counted], true_names, reach),
        title=f"{sweep.scene}: F1 {scores['f1']:.2f}, {found} found, {missed} missed, {false} false",
        classes=classes,
    )


def _near(sweep: Sweep, rows: Float64, names: list[str], reach: float) -> Boxes:
    """The (N, 9) boxes that count by their distance from the vehicle."""
    kept = np.hypot(*transform_points(sweep.ego_SE3_lidar, rows[:, :3])[:, :2].T) < reach
    rows = rows[kept]
    return Boxes(
        centers=rows[:, :3],
        sizes=rows[:, 3:6],
        yaws=rows[:, 6],
        velocities=rows[:, 7:],
        names=tuple(name for name, near in zip(names, kept, strict=True) if near),
        tracks=("",) * len(rows),
        num_lidar_pts=np.full(len(rows), -1, dtype=np.int64),
        attributes=("",) * len(rows),
    )
