"""Score the detections of a split with pc3d's own metrics, and keep them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pc3d.data.index import SweepIndex
from pc3d.evaluation.detection_frames import float64_array
from pc3d.evaluation.own.box_frame import BoxFrame
from pc3d.evaluation.own.detection_scores import DetectionScoring, score_detections
from pc3d.evaluation.own.frame_scores import frame_scores, operating_points
from pc3d.evaluation.own.scored_classes import OWN, scored_classes
from pc3d.evaluation.own.truth import LABELLED, box_frame
from pc3d.evaluation.settings import write_metrics
from pc3d.storage.whole import clean, new_file, write_json

DETECTIONS = "detections.jsonl"
"""One line for each key frame: `token`, `boxes` (N, 9) in its LiDAR frame, `scores`, `names`."""
ANALYSIS = "analysis.json"
"""`thresholds`: class to the score from which its detections are shown; `frames`, see `frame_scores`; and
`max_distance`."""


def evaluate_boxes(
    index: SweepIndex,
    folder: Path,
    predictions: Iterable[tuple[str, Any, Any, Any]],
    scoring: DetectionScoring | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write the predictions of a split and score them.

    Args:
        index: with classes of boxes.
        folder: gets `detections.jsonl`, `analysis.json` and `metrics.json`.
        predictions: (sweep token, boxes (N, 9) in its LiDAR frame, scores (N,), labels (N,) into the
            detection classes of the index) of every annotated key frame.
        settings: what `metrics.json` says of how it was made.

    Returns:
        What `score_detections` returns, `evaluator` and `frames`.

    Raises:
        DataError: the index has no classes of boxes, or a key frame no annotations.
        ValueError: a prediction is not finite or has no size.
    """
    classes = scored_classes(index, "detection")
    labelled = index.metadata.get(LABELLED) or ()
    folder.mkdir(parents=True, exist_ok=True)
    clean(folder)
    frames: dict[str, BoxFrame] = {}
    with new_file(folder / DETECTIONS) as file:
        for token, boxes, scores, labels in predictions:
            sweep = index[index.row_of(token)]
            frames[token] = box_frame(sweep, classes, (boxes, scores, labels), labelled)
            line = {
                "token": token,
                "boxes": float64_array(boxes).reshape(-1, 9).round(4).tolist(),
                "scores": float64_array(scores).round(6).tolist(),
                "names": [classes.detection[int(label)] for label in labels],
            }
            file.write(f"{json.dumps(line)}\n".encode())
    scoring = scoring or DetectionScoring()
    _analyse(folder, frames, classes.detection, scoring.max_distance)
    scores = score_detections(frames.values(), classes.detection, scoring)
    result = {"evaluator": OWN, "frames": len(frames), **scores}
    write_metrics(folder, result, settings)
    return result


def _analyse(folder: Path, frames: Mapping[str, BoxFrame], names: Sequence[str], reach: float) -> None:
    near = {token: frame.within(reach) for token, frame in frames.items()}
    points = operating_points(list(near.values()), len(names))
    content = {
        "thresholds": {names[label]: score for label, score in points.items()},
        "frames": frame_scores(near, points),
        "max_distance": reach,
    }
    write_json(folder / ANALYSIS, content)


def detection_text(result: Mapping[str, Any]) -> str:
    """The scores as lines for the terminal; AP in percent."""
    iou = result["scoring"]["iou"]
    errors = {name: result[name] for name in ("mATE", "mASE", "mAOE", "mAVE")}
    means = ", ".join(f"{name} {value:.3f}" for name, value in errors.items() if not math.isnan(value))
    lines = [
        f"{result['frames']} frames, boxes within {result['scoring']['max_distance']:g} m, scored by pc3d: "
        f"mAP {100 * result['map']:.1f} % by centre distance, {100 * result['map_3d']:.1f} % by 3D IoU, "
        f"{100 * result['map_bev']:.1f} % by IoU from above",
        f"  {means}",
        f"  {'AP in percent':<22} {'distance':>8} {'3D IoU':>7} {'above':>6}   IoU  true boxes",
    ]
    for name, value in result["class_ap"].items():
        true = result["true_boxes"][name]
        if not true:
            lines.append(f"  {name:<22} {'absent':>8}")
            continue
        overlap = 100 * result["class_ap_3d"][name], 100 * result["class_ap_bev"][name]
        lines.append(
            f"  {name:<22} {100 * value:8.1f} {overlap[0]:7.1f} {overlap[1]:6.1f}  {iou[name]:4.2f}  {true}"
        )
    return "\n".join(lines)
