"""Pictures of a scored submission: its curves, and its worst key frames from above and in the cameras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.classes import ClassSet
from pc3d.data.errors import DataError, fail
from pc3d.data.images import load_image
from pc3d.data.index import SweepIndex
from pc3d.data.points import load_sweep
from pc3d.data.records import Boxes, Camera, Float64, Sweep
from pc3d.evaluation.detection_analysis import class_ranges
from pc3d.evaluation.detection_frames import true_detections_of
from pc3d.evaluation.detection_submission import RESULTS, lidar_boxes
from pc3d.geometry.rigid import transform_points
from pc3d.storage.whole import read_json
from pc3d.viz.camera_boxes import box_wires
from pc3d.viz.canvas import (
    INK,
    caption,
    dark_axis,
    legend_columns,
    legend_height,
    legend_of,
    pixel_figure,
)
from pc3d.viz.class_colours import box_colours, box_legend
from pc3d.viz.detection_plots import class_ap_bars, confusion_picture, precision_recall, range_bars
from pc3d.viz.plots import TRUTH, bev, heading_of

_POINTS = (84, 92, 108)
_GAP = 6  # pixels between images
_ORDER = (
    "CAM_FRONT_LEFT",
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_BACK_LEFT",
    "CAM_BACK",
    "CAM_BACK_RIGHT",
)


@dataclass(frozen=True, eq=False)
class KeyFrame:
    """A key frame with what was found in it and what is there, as far as either counts.

    Attributes:
        sweep: of the index. predicted, truth: boxes in its LiDAR frame, named by detection class.
        title: what the pictures say of it. classes: of the data set, for the colours.
    """

    sweep: Sweep
    predicted: Boxes
    truth: Boxes
    title: str
    classes: ClassSet | None = None


def draw_detections(
    index: SweepIndex, split: str, folder: Path | str, pictures: int = 4, extent: float = 52.0
) -> list[Path]:
    """Draw what `evaluate_predictions` wrote into a folder.

    Args:
        index: of the data set. split: that was scored.
        folder: with the submission and its scores; the pictures go to `pictures/` in it.
        pictures: number of worst key frames to draw, each from above and in its cameras.
        extent: metres from the middle of the views from above to their edges.

    Returns:
        The files: precision over recall, AP, ranges, confusion, then two for each key frame.

    Raises:
        DataError: a file of the evaluation is missing, or it is of another split.
    """
    folder = Path(folder)
    scores, analysis, curves = (
        read_evaluation(folder / name) for name in ("metrics.json", "analysis.json", "metrics_details.json")
    )
    out = folder / "pictures"
    names = ("precision_recall", "class_ap", "ranges", "confusion")
    paths = [out / f"{name}.png" for name in names]
    precision_recall(curves, scores, paths[0])
    class_ap_bars(scores, paths[1])
    range_bars(analysis["ranges"], paths[2])
    confusion_picture(analysis["confusion"], analysis["classes"], paths[3])
    for rank, frame in enumerate(worst_frames(index, split, folder, pictures), start=1):
        paths += [out / f"worst-{rank}-{view}.png" for view in ("bev", "cameras")]
        draw_bev(frame, paths[-2], extent)
        draw_cameras(frame, paths[-1])
    return paths


def read_evaluation(path: Path) -> Any:
    """Content of a JSON file of an evaluation.

    Raises:
        DataError: it is not there, or broken.
    """
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"evaluation is not there or broken: {error}\n  where: {path}\n  remedy: evaluate again"
        ) from error


def worst_frames(index: SweepIndex, split: str, folder: Path | str, count: int) -> list[KeyFrame]:
    """The key frames of a scored submission with the lowest F1 at 2 m, worst first.

    Detections are those above the operating point of their class (`detection_analysis.operating_points`).
    """
    folder = Path(folder)
    analysis, results = (
        read_evaluation(folder / "analysis.json"),
        read_evaluation(folder / RESULTS)["results"],
    )
    worst = analysis["frames"][:count]
    wanted = {frame["sample"] for frame in worst}
    rows: dict[str, int] = {}
    for row in index.key_rows(split).tolist():
        if wanted <= rows.keys():
            break
        rows[index[row].sample_token] = row
    strange = wanted - rows.keys()
    if strange:
        fail(f"sample {min(strange)} is not in split {split!r}", folder, "draw the split that was scored")
    return [
        _key_frame(index[rows[frame["sample"]]], results[frame["sample"]], analysis["thresholds"], frame)
        for frame in worst
    ]


def _key_frame(
    sweep: Sweep,
    entries: Sequence[Mapping[str, Any]],
    thresholds: Mapping[str, float],
    score: Mapping[str, Any],
) -> KeyFrame:
    shown = [entry for entry in entries if entry["detection_score"] >= thresholds[entry["detection_name"]]]
    truth = true_detections_of(sweep)
    boxes, labels = lidar_boxes(shown, truth.world_SE3_lidar)
    title = (
        f"{sweep.scene}: F1 {score['f1']:.2f}, {score['hits']} found, {score['missed']} missed, "
        f"{score['false']} false"
    )
    return KeyFrame(
        sweep=sweep,
        predicted=_counting_boxes(boxes, labels, sweep.ego_SE3_lidar),
        truth=_counting_boxes(truth.boxes, truth.labels, sweep.ego_SE3_lidar),
        title=title,
    )


def _counting_boxes(boxes: Float64, labels: NDArray[np.int64], ego_SE3_lidar: Float64) -> Boxes:
    """Those within the official range of their class."""
    ranges = class_ranges()
    names = tuple(ranges)
    reach = np.array(list(ranges.values()))
    away = np.hypot(*transform_points(ego_SE3_lidar, boxes)[:, :2].T)
    kept = away < reach[labels]
    boxes, labels = boxes[kept], labels[kept]
    return Boxes(
        centers=boxes[:, :3],
        sizes=boxes[:, 3:6],
        yaws=boxes[:, 6],
        velocities=boxes[:, 7:],
        names=tuple(names[label] for label in labels),
        tracks=("",) * len(labels),
        num_lidar_pts=np.full(len(labels), -1, dtype=np.int64),
        attributes=("",) * len(labels),
    )


def _legend(frame: KeyFrame) -> dict[str, Any]:
    colours = box_legend(frame.predicted.names, frame.classes)
    return {"truth": TRUTH, **{name.replace("_", " "): colour for name, colour in colours.items()}}


def draw_bev(frame: KeyFrame, path: Path | str, extent: float = 52.0) -> None:
    """The points of a key frame from above with the true boxes (green) and the predicted ones by class."""
    sweep = frame.sweep
    points = load_sweep(sweep)
    bev(
        points,
        np.full((len(points), 3), _POINTS, np.uint8),
        path,
        boxes=frame.predicted,
        truth=frame.truth,
        title=frame.title,
        extent=extent,
        heading=heading_of(sweep.ego_SE3_lidar),
        legend=_legend(frame),
        classes=frame.classes,
    )


def draw_cameras(frame: KeyFrame, path: Path | str, width: int = 1800) -> None:
    """The images of a key frame under the true boxes (green) and the predicted ones by class.

    Raises:
        DataError: it has no cameras.
    """
    cameras = sorted(frame.sweep.cameras, key=lambda camera: _place(camera.name))
    if not cameras:
        fail("the sweep has no cameras", f"sweep {frame.sweep.token}", "choose a key frame with images")
    cols = min(len(cameras), 3)
    rows = -(-len(cameras) // cols)
    side = width // cols
    tall = round(side * max(camera.size[1] / camera.size[0] for camera in cameras))
    legend = _legend(frame)
    head, foot = 44, max(40, legend_height(legend, 1100, width))
    height = head + rows * tall + foot
    with pixel_figure(width, height, path) as figure:
        figure.text(0.01, 1 - head / 2 / height, frame.title, color=INK, fontsize=14, va="center")
        for i, camera in enumerate(cameras):
            top = head + (i // cols) * tall
            left, bottom = (i % cols) * side / width, 1 - (top + tall) / height
            axis = dark_axis(figure, (left, bottom, (side - _GAP) / width, (tall - _GAP) / height))
            _draw_camera(axis, frame, camera)
            caption(axis, camera.name, side * 1.6)
        legend_of(figure, legend, 1100, "lower center", min(11, legend_columns(legend, 1100, width)))


def _place(name: str) -> tuple[int, str]:
    """Order of the images: in front from left to right, then behind."""
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)


def _draw_camera(axis: Any, frame: KeyFrame, camera: Camera) -> None:
    from matplotlib.collections import LineCollection

    width, height = camera.size
    image = load_image(camera.path, frame.sweep.token, size=camera.size, key=camera.key)
    axis.imshow(image, extent=(0, width, height, 0), aspect="auto")
    pose = frame.sweep.world_SE3_ego @ frame.sweep.ego_SE3_lidar
    predicted = box_colours(frame.predicted.names, frame.classes) / 255.0
    for boxes, colours in (
        (frame.truth, np.full((len(frame.truth), 3), TRUTH) / 255.0),
        (frame.predicted, predicted),
    ):
        for lines, colour in zip(box_wires(boxes, camera, pose), colours, strict=True):
            axis.add_collection(LineCollection(list(lines), colors=[colour], lw=1.3, alpha=0.95))
    axis.set(xlim=(0, width), ylim=(height, 0))
