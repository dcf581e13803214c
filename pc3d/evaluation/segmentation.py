"""Evaluate a fine-tuned segmenter on a split: predictions, official metrics, a confusion matrix."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from pc3d.data.batch import Needs
from pc3d.data.collate import collate
from pc3d.data.dataset import FrameDataset
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.label_maps import NUSCENES_LIDARSEG_CLASSES
from pc3d.engine.checkpoints import load_segmenter
from pc3d.evaluation.label_efficiency import json_values
from pc3d.evaluation.lidarseg import LidarsegWriter, evaluate_lidarseg
from pc3d.evaluation.metrics import confusion_matrix
from pc3d.models.heads.segmentation import PointSegmenter


def evaluate_segmenter(
    segmenter: PointSegmenter, index: str | Path, split: str, folder: Path, workers: int = 0
) -> dict[str, Any]:
    """Predict every key frame of a split, write the submission, score it officially.

    Args:
        segmenter: the model; evaluated as it is, on its own device.
        index: index folder of a nuScenes-format data set with lidarseg labels.
        split: e.g. `val`, `sim_val`.
        folder: gets `lidarseg/` (the submission), `metrics.json` and `confusion.npy` (16, 16).

    Returns:
        What `evaluate_lidarseg` returns, and `frames`, the number of sweeps.

    Raises:
        DataError: the index is not of a nuScenes-format data set.
    """
    opened = SweepIndex.open(index)
    dataset = FrameDataset(opened, Needs(labels=True), split=split)
    facts = opened.metadata
    if "version" not in facts:
        raise DataError(
            f"official evaluation needs a nuScenes-format data set, and {index} indexes {facts['dataset']}"
        )
    shutil.rmtree(folder / "lidarseg" / split, ignore_errors=True)  # of an earlier evaluation
    writer = LidarsegWriter(folder, split, use_external=True)
    device = next(segmenter.parameters()).device
    confusion = np.zeros((segmenter.num_classes, segmenter.num_classes), dtype=np.int64)
    segmenter.eval()
    for batch in DataLoader(dataset, batch_size=1, num_workers=workers, collate_fn=collate):
        frame = batch.to(device).now
        view = frame.views["a"]
        labels = torch.zeros(frame.num_points, dtype=torch.long)
        labels[view.row.cpu()] = segmenter.predict(view).cpu()
        writer.write(batch.tokens[0], labels.numpy())
        truth = frame.labels.cpu()  # type: ignore[union-attr]
        confusion += np.asarray(confusion_matrix(truth, labels, segmenter.num_classes))
    result = evaluate_lidarseg(opened.root, facts["version"], split, folder)
    result["frames"] = len(dataset)
    np.save(folder / "confusion.npy", confusion)
    (folder / "metrics.json").write_text(json.dumps(json_values(result), indent=2) + "\n")
    return result


def evaluate_checkpoint(
    checkpoint: Path, index: str | Path, split: str, folder: Path, workers: int = 0
) -> dict[str, Any]:
    """`evaluate_segmenter` for the `segmenter.safetensors` of a run folder."""
    return evaluate_segmenter(load_segmenter(checkpoint), index, split, Path(folder), workers)


def summary_text(result: dict[str, Any]) -> str:
    """The result as a few lines for the terminal, in percent."""
    lines = [f"{result['frames']} frames, official mIoU {100 * result['miou']:.1f} %"]
    for name in NUSCENES_LIDARSEG_CLASSES:
        iou = result["iou"][name]
        lines.append(f"  {name:<22} " + ("absent" if np.isnan(iou) else f"{100 * iou:5.1f}"))
    return "\n".join(lines)
