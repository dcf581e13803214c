"""Evaluate a fine-tuned segmenter on a split: predictions, official metrics, a confusion matrix."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pc3d.data.batch import Needs
from pc3d.data.collate import collate
from pc3d.data.dataset import FrameConfig, FrameDataset
from pc3d.data.index import SweepIndex
from pc3d.data.label_maps import NUSCENES_LIDARSEG_CLASSES
from pc3d.data.region_cache import RegionCache
from pc3d.engine.checkpoints import frames_of, load_segmenter
from pc3d.evaluation.lidarseg import LidarsegWriter, evaluate_lidarseg
from pc3d.evaluation.metrics import confusion_matrix
from pc3d.evaluation.official import official_version
from pc3d.evaluation.settings import write_metrics
from pc3d.evaluation.temporal_voting import Scan, VotingConfig, vote, windows
from pc3d.evaluation.test_time_augmentation import AugmentedCopies, copies_probabilities
from pc3d.models.heads.segmentation import PointSegmenter

VOTED = "temporal_voting"
"""Folder of the submission with voting, inside that without."""


def predict_scans(
    segmenter: PointSegmenter,
    dataset: FrameDataset,
    workers: int = 0,
    tta: AugmentedCopies | None = None,
) -> Iterator[Scan]:
    """Predict the key frames of a data set in its order, one at a time.

    Args:
        segmenter: evaluated as it is, on its own device.
        dataset: gives every point of a frame, without augmentation; what it reads of labels and moving
            segments goes into the scans.
        workers: of the loader.
        tta: average the probabilities over these copies of each frame; None: the frame as it is.
    """
    device = next(segmenter.parameters()).device
    segmenter.eval()
    for batch in DataLoader(dataset, batch_size=1, num_workers=workers, collate_fn=collate):
        frame = batch.now
        view = batch.to(device).now.views["a"]
        if tta:
            probabilities = copies_probabilities(segmenter, view, tta.maps())
        else:
            with torch.no_grad():
                probabilities = segmenter.logits(view).float().softmax(dim=1)
        yield Scan(
            token=batch.tokens[0],
            scene=batch.meta[0]["scene"],
            seconds=1e-6 * dataset.index[batch.meta[0]["row"]].timestamp,
            xyz=frame.views["a"].points[:, :3],
            world_SE3_lidar=frame.world_SE3_lidar[0].numpy(),
            probabilities=probabilities.cpu(),
            moving=frame.moving,
            labels=frame.labels,
        )


class _Scores:
    """A submission in the making, and its confusion matrix."""

    def __init__(self, folder: Path, split: str, num_classes: int) -> None:
        shutil.rmtree(folder / "lidarseg" / split, ignore_errors=True)  # of an earlier evaluation
        self.folder, self.split = folder, split
        self._writer = LidarsegWriter(folder, split, use_external=True)
        self._confusion = np.zeros((num_classes, num_classes), dtype=np.int64)

    def add(self, scan: Scan, probabilities: Tensor) -> None:
        labels = probabilities.argmax(dim=1)
        self._writer.write(scan.token, labels.numpy())
        self._confusion += np.asarray(confusion_matrix(scan.labels, labels, len(self._confusion)))

    def official(self, index: SweepIndex) -> dict[str, Any]:
        np.save(self.folder / "confusion.npy", self._confusion)
        return evaluate_lidarseg(index.root, index.metadata["version"], self.split, self.folder)


def evaluate_segmenter(
    segmenter: PointSegmenter,
    index: str | Path | SweepIndex,
    split: str,
    folder: Path,
    workers: int = 0,
    voting: VotingConfig | None = None,
    tracks: RegionCache | None = None,
    tta: AugmentedCopies | None = None,
    frames: FrameConfig | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Predict every key frame of a split, write the submission, score it officially.

    Args:
        segmenter: the model; evaluated as it is, on its own device.
        index: of a nuScenes-format data set with lidarseg labels, or its folder.
        split: e.g. `val`, `sim_val`.
        folder: gets `lidarseg/` (the submission), `metrics.json` and `confusion.npy` (16, 16).
        voting: score the predictions after temporal voting too; their submission and confusion matrix
            go to `temporal_voting/` inside `folder`.
        tracks: cache of the kind `tracks`: points inside segments that move take no part in the vote.
        tta: predict by test-time augmentation, the mean over these copies of each sweep.
        frames: how a frame is loaded, which point features for one.
        settings: what `metrics.json` says of how it was made.

    Returns:
        What `evaluate_lidarseg` returns, and `frames`, the number of sweeps; with `tta` its settings; with
        `voting` also `voting`, its settings, and `voted`, what `evaluate_lidarseg` returns for them.

    Raises:
        DataError: the index is not of a nuScenes-format data set.
    """
    opened = index if isinstance(index, SweepIndex) else SweepIndex.open(index)
    needs = Needs(labels=True, tracks=tracks is not None)
    caches = {"tracks": tracks} if tracks else None
    dataset = FrameDataset(opened, needs, split=split, config=frames, caches=caches)
    official_version(opened)
    official = len(NUSCENES_LIDARSEG_CLASSES)
    if segmenter.num_classes != official:
        what = f"the model has {segmenter.num_classes} classes, the official evaluation {official}"
        raise ValueError(f"{what}: train it with head.num_classes={official}")
    scores = _Scores(folder, split, segmenter.num_classes)
    voted = _Scores(folder / VOTED, split, segmenter.num_classes) if voting else None
    scans = predict_scans(segmenter, dataset, workers, tta)
    for now, window in windows(scans, voting.neighbours if voting else 0):
        scores.add(window[now], window[now].probabilities)
        if voting and voted:
            voted.add(window[now], vote(window, now, voting))
    result = {**scores.official(opened), "frames": len(dataset)}
    if tta:
        result["tta"] = asdict(tta)
    if voting and voted:
        result |= {"voting": asdict(voting), "voted": voted.official(opened)}
    write_metrics(folder, result, settings)
    return result


def evaluate_checkpoint(
    checkpoint: Path,
    index: str | Path | SweepIndex,
    split: str,
    folder: Path,
    workers: int = 0,
    **options: Any,
) -> dict[str, Any]:
    """`evaluate_segmenter` for the `segmenter.safetensors` of a run folder; `options` are its own."""
    segmenter, frames = load_segmenter(checkpoint), frames_of(checkpoint)
    return evaluate_segmenter(segmenter, index, split, Path(folder), workers, frames=frames, **options)


def summary_text(result: dict[str, Any]) -> str:
    """The result as a few lines for the terminal, in percent; voted ones in a second column."""
    columns = [result] + ([result["voted"]] if "voted" in result else [])
    miou = " -> ".join(f"{100 * scores['miou']:.1f}" for scores in columns)
    voting = f" (with temporal voting, k = {result['voting']['neighbours']})" if "voted" in result else ""
    copies = f", the mean of {result['tta']['count']} copies" if "tta" in result else ""
    lines = [f"{result['frames']} frames{copies}, official mIoU {miou} %{voting}"]
    for name in NUSCENES_LIDARSEG_CLASSES:
        ious = [scores["iou"][name] for scores in columns]
        values = ["absent" if np.isnan(iou) else f"{100 * iou:5.1f}" for iou in ious]
        lines.append(f"  {name:<22} " + "  ".join(f"{value:>6}" for value in values))
    return "\n".join(lines)
