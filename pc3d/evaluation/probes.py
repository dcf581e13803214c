"""The kNN probe of a pretrained backbone as papers have it; `protocol` has the one with references."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from pc3d.data.batch import Needs
from pc3d.data.collate import collate
from pc3d.data.dataset import FrameDataset
from pc3d.data.frame_types import FrameConfig
from pc3d.data.index import SweepIndex
from pc3d.data.splits import label_fraction
from pc3d.evaluation.features import collect_features
from pc3d.evaluation.knn import knn_probe
from pc3d.evaluation.own.scored_classes import scored_classes
from pc3d.models.lidar.base import LidarEncoder


def knn_of_encoder(
    encoder: LidarEncoder,
    index: str | Path | SweepIndex,
    train: str,
    val: str,
    percent: float = 100.0,
    points_per_sweep: int = 500,
    seed: int = 0,
    features: Sequence[str] = FrameConfig.features,
) -> dict[str, Any]:
    """kNN probe (k = 20, weights exp(cosine / 0.07)): bank from `train`, queries from `val`.

    Args:
        encoder: evaluated as it is.
        index: with point labels, or its folder.
        train, val: splits. percent: label fraction of the bank.
        points_per_sweep: labelled points drawn of each sweep, the same ones for every encoder.
        features: columns that the encoder is given, see `FrameConfig`.

    Returns:
        `miou`, `accuracy`, `iou`, ... over the drawn points. These are no official metrics: they
        score a sample of the points.
    """
    drives = index if isinstance(index, SweepIndex) else SweepIndex.open(index)
    parts = []
    for number, tokens in enumerate(
        (label_fraction(drives, train, percent), label_fraction(drives, val, 100.0))
    ):
        config = FrameConfig(features=tuple(features))
        dataset = FrameDataset(drives, Needs(labels=True), tokens=tokens, config=config)
        loader = DataLoader(dataset, batch_size=1, collate_fn=collate)
        generator = torch.Generator().manual_seed(2 * seed + number)
        parts.append(collect_features(encoder.eval(), loader, points_per_sweep, generator).within_range())
    return knn_probe(parts[0], parts[1], len(scored_classes(drives, "lidarseg").classes))
