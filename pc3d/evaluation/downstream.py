"""Evaluate a fine-tuned model, whatever its task: predictions of a split, official metrics, files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from pc3d.data.collate import collate
from pc3d.data.dataset import FrameDataset
from pc3d.data.index import SweepIndex
from pc3d.engine.checkpoints import load_bev_model, task_of
from pc3d.engine.data import frame_config
from pc3d.evaluation import segmentation
from pc3d.evaluation.detection import evaluate_predictions
from pc3d.models.bev_models import BevModel


def predict_bev(model: BevModel, dataset: FrameDataset, workers: int = 0) -> Iterator[tuple[str, Any]]:
    """(sweep token, prediction) of each key frame of a data set, in its order, on the model's device.

    Args:
        model: evaluated as it is. dataset: without augmentation, with what `model.input_needs` asks for.
    """
    device = next(model.parameters()).device
    model.eval()
    for batch in DataLoader(dataset, batch_size=1, num_workers=workers, collate_fn=collate):
        with torch.no_grad():
            yield batch.tokens[0], model.predict(batch.to(device))[0]


def evaluate_checkpoint(
    checkpoint: Path, index: str | Path, split: str, folder: Path, workers: int = 0, **options: Any
) -> dict[str, Any]:
    """Predict a split with the model of a run folder, score it officially, write `metrics.json`.

    Args:
        checkpoint: `segmenter.safetensors` or `detector.safetensors`.
        index: index folder of a nuScenes-format data set.
        split: e.g. `val`, `sim_val`.
        folder: gets the submission, the metrics, and what the plots are made of.
        options: of `evaluate_segmenter`, for a segmenter only.

    Returns:
        What `evaluate_segmenter` or `evaluate_predictions` returns.

    Raises:
        DataError: the checkpoint or the index cannot be used.
        ValueError: an option that the task does not have.
    """
    task = task_of(checkpoint)
    if task == "lidarseg":
        return segmentation.evaluate_checkpoint(checkpoint, index, split, Path(folder), workers, **options)
    unknown = sorted(name for name, value in options.items() if value is not None)
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is for LiDAR segmentation; {checkpoint} is for {task}")
    model, frames = load_bev_model(checkpoint)
    opened = SweepIndex.open(index)
    dataset = FrameDataset(opened, model.input_needs, split=split, config=frame_config(frames))
    found = (
        (token, boxes.boxes, boxes.scores, boxes.labels)
        for token, boxes in predict_bev(model, dataset, workers)
    )
    uses = {"use_camera": model.network.image is not None, "use_lidar": model.network.lidar is not None}
    return evaluate_predictions(opened, split, folder, found, use_external=True, **uses)


def summary_text(result: dict[str, Any]) -> str:
    """The result as a few lines for the terminal."""
    if "nds" not in result:
        return segmentation.summary_text(result)
    errors = ", ".join(f"{name} {result[name]:.3f}" for name in ("mATE", "mASE", "mAOE", "mAVE", "mAAE"))
    lines = [f"{result['frames']} frames, NDS {result['nds']:.3f}, mAP {result['map']:.3f}, {errors}"]
    for name, value in result["class_ap"].items():
        lines.append(f"  {name:<22} AP {100 * value:5.1f} %   {result['true_boxes'][name]} true boxes")
    return "\n".join(lines)
