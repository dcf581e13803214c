"""Evaluate a fine-tuned model, whatever its task: predictions of a split, official metrics, files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
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
from pc3d.evaluation.settings import evaluation_settings, prepare_folder, write_metrics
from pc3d.models.bev_models import BevModel

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
    **options: Any,
) -> dict[str, Any]:
    """Predict a split with the model of a run folder, score it officially, write `metrics.json`.

    That says under `settings` how it was made; metrics of the same settings are replaced.

    Args:
        checkpoint: `segmenter.safetensors`, `detector.safetensors` or `map_segmenter.safetensors`.
        index: of a nuScenes-format data set, or its folder.
        split: e.g. `val`, `sim_val`.
        folder: gets the submission, the metrics, and what the plots are made of.
        overwrite: replace metrics of other settings, too.
        options: of `evaluate_segmenter`, for a segmenter only.

    Returns:
        What `evaluate_segmenter`, `evaluate_predictions` or `evaluate_map` returns.

    Raises:
        DataError: before anything is predicted: the checkpoint or the index cannot be used, the evaluator
            would refuse the data set, or the folder holds metrics of other settings.
        ValueError: an option that the task does not have.
    """
    task = task_of(checkpoint)
    unknown = sorted(name for name, value in options.items() if value is not None)
    if unknown and task != "lidarseg":
        raise ValueError(f"{', '.join(unknown)} is for LiDAR segmentation; {checkpoint} is for {task}")
    opened = index if isinstance(index, SweepIndex) else SweepIndex.open(index)
    check_evaluation(opened, split, task)
    settings = evaluation_settings(checkpoint, opened, split, **options)
    prepare_folder(folder, checkpoint, settings, overwrite)
    if task == "lidarseg":
        given = {**options, "settings": settings}
        return segmentation.evaluate_checkpoint(checkpoint, opened, split, Path(folder), workers, **given)
    return _evaluate_bev(task, checkpoint, opened, split, Path(folder), workers, settings)


def check_evaluation(index: SweepIndex, split: str, task: str) -> None:
    """Find out now whether a model of a task can be scored on a split, and not after its prediction.

    Raises:
        DataError: says what the evaluator would not accept.
    """
    index.key_rows(split)
    if task == "map":
        check_maps(index, split)
    else:
        check_official(index, split, task)


def _evaluate_bev(
    task: str,
    checkpoint: Path,
    opened: SweepIndex,
    split: str,
    folder: Path,
    workers: int,
    settings: dict[str, Any],
) -> dict[str, Any]:
    model, frames = load_bev_model(checkpoint), frames_of(checkpoint)
    if task == "map":
        result = _evaluate_map(model, opened, split, frames, folder, workers)
        write_metrics(folder, result, settings)
        return result
    dataset = FrameDataset(opened, model.input_needs, split=split, config=frames)
    found = (
        (batch.tokens[0], boxes.boxes, boxes.scores, boxes.labels)
        for batch, boxes in predict_bev(model, dataset, workers)
    )
    uses = {"use_camera": model.network.image is not None, "use_lidar": model.network.lidar is not None}
    return evaluate_predictions(opened, split, folder, found, settings, use_external=True, **uses)


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
    if "nds" not in result:
        return segmentation.summary_text(result)
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
