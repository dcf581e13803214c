"""Pseudo-labels: predictions that are sure, and on which scans of different times agree.

The semi-supervised form of temporal voting (SuperFlow++, arXiv 2503.19912): train on the labelled frames
and on these. The numbers are our choice.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pc3d.data.batch import Needs
from pc3d.data.classes import ClassSet
from pc3d.data.dataset import FrameDataset
from pc3d.data.errors import fail
from pc3d.data.frames import NO_PSEUDO_LABEL
from pc3d.data.index import SweepIndex
from pc3d.data.region_cache import RegionCache
from pc3d.data.splits import write_tokens
from pc3d.engine.checkpoints import classes_of_model, frames_of, load_segmenter
from pc3d.engine.data_classes import names_of
from pc3d.evaluation.label_efficiency import json_values
from pc3d.evaluation.metrics import confusion_matrix
from pc3d.evaluation.own.scored_classes import check_model_classes, may_move
from pc3d.evaluation.segmentation import predict_scans
from pc3d.evaluation.temporal_voting import Scan, VotingConfig, agreeing_scans, vote, windows
from pc3d.ops.device import chosen_device


@dataclass(frozen=True)
class PseudoLabelConfig:
    """When a prediction becomes a label.

    Attributes:
        threshold: least probability of its class, after the vote.
        agree: scans of the window that must say the same where the point is, its own included.
        voting: the vote, and the scans that are asked; `neighbours=0` takes each scan alone, and then
            `agree` can only be 1.
    """

    threshold: float = 0.9
    agree: int = 2
    voting: VotingConfig = field(default_factory=VotingConfig)

    def __post_init__(self) -> None:
        scans = 2 * self.voting.neighbours + 1
        if not 0 <= self.threshold <= 1 or not 1 <= self.agree <= scans:
            raise ValueError(
                f"threshold {self.threshold} must be in 0..1, and agree {self.agree} in 1..{scans}, the "
                f"scans of a window of {self.voting.neighbours} neighbours"
            )


def pseudo_labels(window: list[Scan], now: int, config: PseudoLabelConfig) -> Tensor:
    """Label of each point of scan `now`: (P,) int64 class, -1 where none.

    The class is the argmax of the voted probabilities if they reach the threshold and `agree` scans say
    the same of its voxel (`agreeing_scans`). A thing that drives has left its voxel, so it gets none.
    """
    sure, labels = vote(window, now, config.voting).max(dim=1)
    agree = agreeing_scans(window, now, labels, config.voting.voxel_size) >= config.agree
    return torch.where((sure >= config.threshold) & agree, labels, -1)


def write_pseudo_labels(
    checkpoint: Path,
    index: str | Path,
    split: str,
    folder: Path,
    config: PseudoLabelConfig,
    excluded: set[str] | None = None,
    workers: int = 0,
    tracks: RegionCache | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """Label the key frames of a split with a fine-tuned segmenter.

    Args:
        checkpoint: `segmenter.safetensors`.
        index: index folder.
        split: e.g. `sim_train`.
        folder: gets a cache of the kind `pseudo_labels` (array `labels`, (P,) uint8, 255 for none),
            `tokens.txt`, the frames that have at least one, and `statistics.json`.
        config: see `PseudoLabelConfig`.
        excluded: tokens of the frames that have true labels: they vote, and get no file.
        workers: of the loader.
        tracks: cache of the kind `tracks`, for the vote.
        device: on which is predicted, see `chosen_device`.

    Returns:
        `frames` asked for, `frames_labelled`, `points`, `share` of points labelled; of the labelled points
        whose true class is known `accuracy`, and `confusion` (K, K), both None without label files.

    Raises:
        DataError: `folder` holds pseudo-labels made in another way; an excluded token is not in the
            split; the index has other classes than the model; no frame got a label.
    """
    opened = SweepIndex.open(index)
    excluded = excluded or set()
    _check_excluded(opened, split, excluded)
    classes = _classes(checkpoint, opened)
    config = _with_movers(config, classes)
    cache = _open(folder, checkpoint, config, tracks, classes)
    first = opened[int(opened.key_rows(split)[0])]
    known = first.lidarseg_path is not None and bool(names_of(ClassSet.of(opened.metadata), "lidarseg"))
    needs = Needs(labels=known, tracks=tracks is not None)
    caches = {"tracks": tracks} if tracks else None
    dataset = FrameDataset(opened, needs, split=split, config=frames_of(checkpoint), caches=caches)
    segmenter = load_segmenter(checkpoint).to(chosen_device(device))
    counts = _Counts(segmenter.num_classes)
    for now, window in windows(predict_scans(segmenter, dataset, workers), config.voting.neighbours):
        scan = window[now]
        if scan.token not in excluded:
            labels = pseudo_labels(window, now, config)
            counts.add(scan, labels)
            if bool((labels >= 0).any()):
                stored = torch.where(labels < 0, NO_PSEUDO_LABEL, labels)
                cache.save(scan.token, {"labels": stored.numpy().astype(np.uint8)})
    result = counts.result(known)
    if not counts.tokens:
        fail("no point got a pseudo-label", checkpoint, "lower the threshold, or train the segmenter longer")
    write_tokens(folder / "tokens.txt", counts.tokens, f"frames of {split} with pseudo-labels")
    (folder / "statistics.json").write_text(json.dumps(json_values(result), indent=2) + "\n")
    return result


def summary_text(result: dict[str, Any]) -> str:
    """The statistics as a few lines for the terminal, in percent."""
    lines = [
        f"{result['frames_labelled']} of {result['frames']} frames, "
        f"{100 * result['share']:.1f} % of {result['points']} points labelled"
    ]
    if result["accuracy"] is not None:
        lines.append(f"accuracy on points with a known class: {100 * result['accuracy']:.1f} %")
    return "\n".join(lines)


class _Counts:
    """Statistics of the pseudo-labels that pass by, and the tokens of the frames that have any."""

    def __init__(self, num_classes: int) -> None:
        self.tokens: list[str] = []
        self._frames = self._points = self._labelled = 0
        self._confusion = torch.zeros(num_classes, num_classes, dtype=torch.long)

    def add(self, scan: Scan, labels: Tensor) -> None:
        given = labels >= 0
        self._frames += 1
        self._points += len(labels)
        self._labelled += int(given.sum())
        if bool(given.any()):
            self.tokens.append(scan.token)
        if scan.labels is not None:
            self._confusion += confusion_matrix(scan.labels[given], labels[given], len(self._confusion))

    def result(self, known: bool) -> dict[str, Any]:
        right, judged = int(self._confusion.diagonal().sum()), int(self._confusion.sum())
        return {
            "frames": self._frames,
            "frames_labelled": len(self.tokens),
            "points": self._points,
            "share": self._labelled / max(self._points, 1),
            "accuracy": right / max(judged, 1) if known else None,
            "confusion": self._confusion.tolist() if known else None,
        }


def _classes(checkpoint: Path, index: SweepIndex) -> ClassSet | None:
    """The classes of the labels: those of the model, which an index with classes must have, too."""
    own = ClassSet.of(index.metadata)
    if own is not None and own.classes:
        check_model_classes(checkpoint, "lidarseg", own.classes)
    return classes_of_model(checkpoint) or own


def _with_movers(config: PseudoLabelConfig, classes: ClassSet | None) -> PseudoLabelConfig:
    """The vote with the moving classes of a class set, where none were chosen."""
    if config.voting.moving_classes is not None or classes is None:
        return config
    return replace(config, voting=replace(config.voting, moving_classes=may_move(classes)))


def _check_excluded(index: SweepIndex, split: str, excluded: set[str]) -> None:
    rows = set(index.key_rows(split).tolist())
    for token in sorted(excluded):
        if index.row_of(token) not in rows:
            fail(
                f"the excluded frame {token} is not in split {split!r}", index.folder, "check the token list"
            )


def _open(
    folder: Path,
    checkpoint: Path,
    config: PseudoLabelConfig,
    tracks: RegionCache | None,
    classes: ClassSet | None,
) -> RegionCache:
    """The cache of these settings; one folder holds one set, so that training cannot mix two."""
    try:
        content = Path(checkpoint).read_bytes()
    except OSError as error:
        fail(f"checkpoint cannot be read: {error}", checkpoint, "name the segmenter.safetensors of a run")
    params = {
        "checkpoint": blake2b(content, digest_size=8).hexdigest(),
        **asdict(config),
        "tracks": tracks.folder.name if tracks else None,
        "classes": list(classes.classes) if classes else None,
    }
    cache = RegionCache(folder, "pseudo_labels", params)
    others = [other for other in Path(folder).glob("pseudo_labels-*") if other != cache.folder]
    if others:
        fail("the folder holds other pseudo-labels", others[0], "remove them, or name another --out")
    return cache
