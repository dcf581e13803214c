"""Evaluate a fine-tuned segmenter on a split: predictions, metrics, a confusion matrix."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pc3d.data.batch import Needs
from pc3d.data.classes import ClassSet, load_class_set
from pc3d.data.collate import collate
from pc3d.data.dataset import FrameConfig, FrameDataset
from pc3d.data.index import SweepIndex
from pc3d.data.region_cache import RegionCache
from pc3d.engine.checkpoints import frames_of, load_segmenter
from pc3d.evaluation.lidarseg import LidarsegWriter, evaluate_lidarseg
from pc3d.evaluation.metrics import confusion_matrix, summary
from pc3d.evaluation.official import official_version
from pc3d.evaluation.own.scored_classes import OFFICIAL, OWN, evaluator_of, may_move, scored_names
from pc3d.evaluation.own.truth import labelled_rows
from pc3d.evaluation.settings import write_metrics
from pc3d.evaluation.temporal_voting import Scan, VotingConfig, vote, windows
from pc3d.evaluation.test_time_augmentation import AugmentedCopies, copies_probabilities
from pc3d.models.heads.segmentation import PointSegmenter
from pc3d.ops.device import chosen_device

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
    """Confusion matrix of a split, scored by pc3d."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder, self.names = folder, names
        self._confusion = torch.zeros(len(names), len(names), dtype=torch.int64)

    def add(self, scan: Scan, labels: Tensor) -> None:
        """Count a scan; `labels` (P,) are predicted."""
        self._confusion += confusion_matrix(scan.labels, labels, len(self.names))

    def result(self) -> dict[str, Any]:
        self.folder.mkdir(parents=True, exist_ok=True)
        np.save(self.folder / "confusion.npy", self._confusion.numpy())
        return self._scored()

    def _scored(self) -> dict[str, Any]:
        points = dict(zip(self.names, self._confusion.sum(1).tolist(), strict=True))
        return {"evaluator": OWN, **summary(self._confusion, self.names), "true_points": points}


class _OfficialScores(_Scores):
    """A submission in the making beside the confusion matrix, scored by the devkit."""

    def __init__(self, folder: Path, names: Sequence[str], index: SweepIndex, split: str) -> None:
        super().__init__(folder, names)
        shutil.rmtree(folder / "lidarseg" / split, ignore_errors=True)  # of an earlier evaluation
        self._index, self._split = index, split
        self._writer = LidarsegWriter(folder, split, use_external=True)

    def add(self, scan: Scan, labels: Tensor) -> None:
        self._writer.write(scan.token, labels.numpy())
        super().add(scan, labels)

    def _scored(self) -> dict[str, Any]:
        index = self._index
        result = evaluate_lidarseg(index.root, index.metadata["version"], self._split, self.folder)
        return {"evaluator": OFFICIAL, **result}


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
    evaluator: str | None = None,
) -> dict[str, Any]:
    """Predict the key frames of a split, score them by nuScenes-devkit or by pc3d.

    Args:
        segmenter: the model; evaluated as it is, on its own device.
        index: of a data set with labels of points, or its folder.
        split: e.g. `val`, `sim_val`.
        folder: gets `metrics.json`, `confusion.npy` (K, K) and, for the devkit, `lidarseg/` (the submission).
        voting: score the predictions after temporal voting too; their submission and confusion matrix
            go to `temporal_voting/` inside `folder`. Which classes may move: `scored_classes.may_move`.
        tracks: cache of the kind `tracks`: points inside segments that move take no part in the vote.
        tta: predict by test-time augmentation, the mean over these copies of each sweep.
        frames: how a frame is loaded, which point features for one.
        settings: what `metrics.json` says of how it was made.
        evaluator: None for the one of the data set, see `scored_classes.evaluator_of`.

    Returns:
        What `evaluate_lidarseg` returns, or `metrics.summary` and `true_points` (class to points); in both
        `evaluator` and `frames`, the number of sweeps; with `tta` its settings; with `voting` also `voting`,
        its settings, and `voted`, the same scores of what was voted.

    Raises:
        DataError: the index is not of a nuScenes-format data set that the devkit scores, or has no labels.
        ValueError: the model has another number of classes.
    """
    opened = index if isinstance(index, SweepIndex) else SweepIndex.open(index)
    official = evaluator_of(opened, "lidarseg", evaluator) == OFFICIAL
    if official:
        official_version(opened)
    names = scored_names(opened, "lidarseg", OFFICIAL if official else OWN)
    if segmenter.num_classes != len(names):
        what = f"the model has {segmenter.num_classes} classes, the {'official ' * official}evaluation"
        raise ValueError(f"{what} {len(names)}: train it with head.num_classes={len(names)}")
    needs = Needs(labels=True, tracks=tracks is not None)
    caches = {"tracks": tracks} if tracks else None
    rows = None if official else labelled_rows(opened, split, "lidarseg").tolist()
    dataset = FrameDataset(
        opened, needs, split=split if official else None, rows=rows, config=frames, caches=caches
    )
    voting = voting and _voting_of(voting, opened)

    def scores_in(place: Path) -> _Scores:
        return _OfficialScores(place, names, opened, split) if official else _Scores(place, names)

    scores, voted = scores_in(folder), scores_in(folder / VOTED) if voting else None
    scans = predict_scans(segmenter, dataset, workers, tta)
    for now, window in windows(scans, voting.neighbours if voting else 0):
        scores.add(window[now], window[now].probabilities.argmax(dim=1))
        if voting and voted:
            voted.add(window[now], vote(window, now, voting).argmax(dim=1))
    result = {**scores.result(), "frames": len(dataset)}
    if tta:
        result["tta"] = asdict(tta)
    if voting and voted:
        result |= {"voting": asdict(voting), "voted": voted.result()}
    write_metrics(folder, result, settings)
    return result


def _voting_of(voting: VotingConfig, index: SweepIndex) -> VotingConfig:
    """The vote with the moving classes of the data set, where none were chosen."""
    if voting.moving_classes is not None:
        return voting
    return replace(voting, moving_classes=may_move(ClassSet.of(index.metadata) or load_class_set("nuscenes")))


def evaluate_checkpoint(
    checkpoint: Path,
    index: str | Path | SweepIndex,
    split: str,
    folder: Path,
    workers: int = 0,
    device: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """`evaluate_segmenter` for the `segmenter.safetensors` of a run folder; `options` are its own.

    Args:
        device: on which is predicted, see `chosen_device`.
    """
    segmenter, frames = load_segmenter(checkpoint).to(chosen_device(device)), frames_of(checkpoint)
    return evaluate_segmenter(segmenter, index, split, Path(folder), workers, frames=frames, **options)


def summary_text(result: dict[str, Any]) -> str:
    """The result as a few lines for the terminal, in percent; voted ones in a second column."""
    official = result.get("evaluator", OFFICIAL) == OFFICIAL
    columns = [result] + ([result["voted"]] if "voted" in result else [])
    miou = " -> ".join(f"{100 * scores['miou']:.1f}" for scores in columns)
    voting = f" (with temporal voting, k = {result['voting']['neighbours']})" if "voted" in result else ""
    copies = f", the mean of {result['tta']['count']} copies" if "tta" in result else ""
    lines = [f"{result['frames']} frames{copies}, {'official ' * official}mIoU {miou} %{voting}"]
    if not official:
        lines[0] += f", scored by pc3d; over all classes {100 * result['miou_all']:.1f} %"
    for name in result["iou"]:
        ious = [scores["iou"][name] for scores in columns]
        values = ["absent" if np.isnan(iou) else f"{100 * iou:5.1f}" for iou in ious]
        lines.append(f"  {name:<22} " + "  ".join(f"{value:>6}" for value in values))
    return "\n".join(lines)
