"""Evaluate a fine-tuned model, whatever its task: predictions of a split, metrics, files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from pc3d.data.batch import Batch
from pc3d.data.collate import collate
from pc3d.data.dataset import FrameConfig, FrameDataset
from pc3d.data.index import SweepIndex
from pc3d.engine.checkpoints import frames_of, load_bev_model, task_of
from pc3d.evaluation import segmentation
from pc3d.evaluation.detection import evaluate_predictions
from pc3d.evaluation.label_efficiency import json_values
from pc3d.evaluation.map_segmentation import FIXED_THRESHOLD, evaluate_map
from pc3d.evaluation.official import check_maps, check_official
from pc3d.evaluation.own.detection_scores import DetectionScoring
from pc3d.evaluation.own.evaluate_boxes import detection_text, evaluate_boxes
from pc3d.evaluation.own.scored_classes import (
    OFFICIAL,
    OWN,
    check_model_classes,
    evaluator_of,
    scored_names,
)
from pc3d.evaluation.own.truth import check_own, labelled_rows
from pc3d.evaluation.settings import evaluation_settings, prepare_folder, write_metrics
from pc3d.models.bev_models import BevModel
from pc3d.ops.device import chosen_device

MAP_FRAMES = "frames.json"
"""Beside the metrics of a map segmenter: mIoU at 0.5 of each key frame by sweep token, None for no map."""


def frame_miou(probabilities: Tensor, truth: Tensor) -> float:
    """Mean IoU at 0.5 over the classes that a frame shows, NaN for none; both (1, 6, rows, cols)."""
    if not bool(truth.any()):
        return float("nan")
    return evaluate_map([(probabilities, truth)], thresholds=(FIXED_THRESHOLD,))["miou_fixed"]


def predict_bev(model: BevModel, dataset: FrameDataset, workers: int = 0) -> Iterator[tuple[Batch, Any]]:
    """(batch of one, prediction) of each key frame of a data set, in its order.

    Args:
        model: evaluated as it is. dataset: without augmentation, with what `model.input_needs` asks for.
    """
    device = next(model.parameters()).device
    model.eval()
    for batch in DataLoader(dataset, batch_size=1, num_workers=workers, collate_fn=collate):
        with torch.no_grad():
            yield batch, model.predict(batch.to(device))[0]


def evaluate_checkpoint(
    checkpoint: Path,
    index: str | Path | SweepIndex,
    split: str,
    folder: Path,
    workers: int = 0,
    overwrite: bool = False,
    evaluator: str | None = None,
    scoring: DetectionScoring | None = None,
    device: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Predict a split with the model of a run folder, score it, write `metrics.json`.

    Data in the nuScenes format with nuScenes' classes is scored by the devkit, other data by pc3d.

    That says under `settings` how it was made; metrics of the same settings are replaced.

    Args:
        checkpoint: `segmenter.safetensors`, `detector.safetensors` or `map_segmenter.safetensors`.
        index: of a data set with labels of the task, or its folder.
        split: e.g. `val`, `sim_val`.
        folder: gets the submission or the detections, the metrics, and what the plots are made of.
        overwrite: replace metrics of other settings, too.
        evaluator: `pc3d` or `nuscenes-devkit`; None for the one of the data set.
        scoring: how pc3d scores boxes; None takes the defaults.
        device: on which is predicted, see `chosen_device`.
        options: of `evaluate_segmenter`, for a segmenter only.

    Returns:
        What `evaluate_segmenter`, `evaluate_predictions`, `evaluate_boxes` or `evaluate_map` returns; the
        first three with `evaluator`.

    Raises:
        DataError: before anything is predicted: the checkpoint or the index cannot be used, the evaluator
            would refuse the data set, the model is of other classes, or the folder holds metrics of other
            settings.
        ValueError: an option that the task or the evaluator does not have, or no such device.
    """
    task, place = task_of(checkpoint), chosen_device(device)
    unknown = sorted(name for name, value in options.items() if value is not None)
    if unknown and task != "lidarseg":
        raise ValueError(f"{', '.join(unknown)} is for LiDAR segmentation; {checkpoint} is for {task}")
    opened = index if isinstance(index, SweepIndex) else SweepIndex.open(index)
    own = task != "map" and evaluator_of(opened, task, evaluator) == OWN
    if scoring is not None and not (own and task == "detection"):
        raise ValueError("the scoring of boxes is for detection that pc3d scores")
    check_evaluation(opened, split, task, evaluator, scoring)
    if task != "map":
        names = scored_names(opened, task, OWN if own else OFFICIAL)
        check_model_classes(checkpoint, task, names)
        if own and task == "detection":
            options["scoring"] = (scoring or DetectionScoring()).describe(names)
    settings = evaluation_settings(checkpoint, opened, split, own=own, **options)
    prepare_folder(folder, checkpoint, settings, overwrite)
    if task == "lidarseg":
        given = {**options, "settings": settings, "evaluator": OWN if own else OFFICIAL}
        return segmentation.evaluate_checkpoint(
            checkpoint, opened, split, Path(folder), workers, device=device, **given
        )
    model, frames = load_bev_model(checkpoint).to(place), frames_of(checkpoint)
    if task == "map":
        result = _evaluate_map(model, opened, split, frames, Path(folder), workers)
        write_metrics(folder, result, settings)
        return result
    if own:
        found = _found(model, opened, labelled_rows(opened, split, task), frames, workers)
        return evaluate_boxes(opened, Path(folder), found, scoring, settings)
    found = _found(model, opened, opened.key_rows(split), frames, workers)
    uses = {"use_camera": model.network.image is not None, "use_lidar": model.network.lidar is not None}
    return evaluate_predictions(opened, split, Path(folder), found, settings, use_external=True, **uses)


def check_evaluation(
    index: SweepIndex,
    split: str,
    task: str,
    evaluator: str | None = None,
    scoring: DetectionScoring | None = None,
) -> None:
    """Find out now whether a model of a task can be scored on a split, and not after its prediction.

    Args:
        evaluator, scoring: as `evaluate_checkpoint` takes them.

    Raises:
        DataError: says what the evaluator would not accept.
    """
    index.key_rows(split)
    if task == "map":
        check_maps(index, split)
    elif evaluator_of(index, task, evaluator) == OWN:
        check_own(index, split, task, scoring)
    else:
        check_official(index, split, task)


def _found(
    model: BevModel, index: SweepIndex, rows: NDArray[np.int64], config: FrameConfig, workers: int
) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
    """(sweep token, boxes, scores, labels) of each of the key frames."""
    dataset = FrameDataset(index, model.input_needs, rows=rows.tolist(), config=config)
    for batch, boxes in predict_bev(model, dataset, workers):
        yield batch.tokens[0], boxes.boxes.cpu(), boxes.scores.cpu(), boxes.labels.cpu()


def _evaluate_map(
    model: BevModel, index: SweepIndex, split: str, config: FrameConfig, folder: Path, workers: int
) -> dict[str, Any]:
    dataset = FrameDataset(index, model.needs, split=split, config=config)
    frames: dict[str, float] = {}

    def masks() -> Iterator[tuple[Tensor, Tensor]]:
        for batch, probabilities in predict_bev(model, dataset, workers):
            assert batch.now.maps is not None
            pair = probabilities[None].cpu(), batch.now.maps
            frames[batch.tokens[0]] = frame_miou(*pair)
            yield pair

    result = {**evaluate_map(masks()), "frames": len(dataset)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MAP_FRAMES).write_text(json.dumps(json_values(frames), indent=1) + "\n")
    return result


def summary_text(result: dict[str, Any]) -> str:
    """The result as a few lines for the terminal."""
    if "threshold" in result:
        return _map_text(result)
    if "class_ap" not in result:
        return segmentation.summary_text(result)
    if result.get("evaluator") == OWN:
        return detection_text(result)
    errors = ", ".join(f"{name} {result[name]:.3f}" for name in ("mATE", "mASE", "mAOE", "mAVE", "mAAE"))
    lines = [f"{result['frames']} frames, NDS {result['nds']:.3f}, mAP {result['map']:.3f}, {errors}"]
    for name, value in result["class_ap"].items():
        lines.append(f"  {name:<22} AP {100 * value:5.1f} %   {result['true_boxes'][name]} true boxes")
    return "\n".join(lines)


def _map_text(result: dict[str, Any]) -> str:
    best, fixed = 100 * result["miou"], 100 * result["miou_fixed"]
    lines = [f"{result['frames']} frames, map mIoU {best:.1f} % (best thresholds), {fixed:.1f} % (at 0.5)"]
    for name, value in result["iou"].items():
        shown = "absent" if np.isnan(value) else f"{100 * value:5.1f} % at {result['threshold'][name]}"
        lines.append(f"  {name:<16} {shown}")
    return "\n".join(lines)
