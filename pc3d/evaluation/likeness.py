"""Which key frames a backbone finds alike: the table that samplers read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pc3d.contrast.queue import spherical_kmeans
from pc3d.data.batch import Needs
from pc3d.data.errors import fail
from pc3d.data.index import SweepIndex
from pc3d.data.sampler_table import SamplerTable
from pc3d.evaluation.protocol.networks import Backbone
from pc3d.evaluation.protocol.shown import batches, device_of, modes_kept

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class _Shown:
    index: SweepIndex
    tokens: tuple[str, ...]


@torch.no_grad()
def pooled_features(index: SweepIndex, rows: Ints, backbone: Backbone) -> Tensor:
    """(N, C) float32 unit mean of the point features of each key frame, on the CPU.

    In evaluation mode; a frame without a point in the encoder's range has zeros.
    """
    encoder, found = backbone.encoder, []
    device = device_of(encoder)
    shown = _Shown(index, tuple(index[row].token for row in rows.tolist()))
    with modes_kept(encoder):
        encoder.eval()
        for batch in batches(shown, backbone.frames, Needs(), 1):
            output = encoder(batch.to(device).now.views["a"], want_bev=False)
            points = output.points.float()[output.valid]
            found.append(F.normalize(points.sum(dim=0), dim=0).cpu())
    return torch.stack(found) if found else torch.zeros(0, encoder.point_channels)


def most_alike(features: Tensor, count: int, block: int = 1024) -> Ints:
    """(N, count) rows of the largest dot product with each of (N, C) rows, itself left out; -1 beyond.

    Args:
        block: rows that are compared with all at a time.
    """
    total = len(features)
    found = np.full((total, count), -1, dtype=np.int64)
    most = min(count, total - 1)
    for start in range(0, total if most > 0 else 0, block):
        likeness = features[start : start + block] @ features.T
        place = torch.arange(len(likeness))
        likeness[place, start + place] = -torch.inf
        found[start : start + block, :most] = likeness.topk(most, dim=1).indices.numpy()
    return found


def joined_labels(earlier: Ints, labels: Ints, count: int) -> Ints:
    """Labels of `count` clusters below those of earlier stages: sum_s label_s K^(S - s), MCL's intent.

    (Its public code reads one stage's labels at every place of the sum.) A frame without an earlier label has
    none.
    """
    return np.where(earlier < 0, -1, earlier * count + labels)


def likeness_table(
    indexes: Sequence[SweepIndex],
    split: str | None,
    backbone: Backbone,
    neighbours: int = 128,
    clusters: int = 10,
    after: SamplerTable | None = None,
) -> SamplerTable:
    """The table of all key frames of a split: the most alike of each, and labels of spherical k-means.

    Args:
        neighbours: of each frame, 128 (Sample4Geo). clusters: K, 10 (MCL); 0 for no labels.
        after: the table of the stage before, whose labels these divide.

    Raises:
        DataError: fewer key frames than clusters, or `after` is of other frames.
    """
    rows = [index.key_rows(split) for index in indexes]
    number = np.repeat(np.arange(len(indexes)), [len(own) for own in rows])
    names, joined = tuple(index.fingerprint for index in indexes), np.concatenate(rows).astype(np.int64)
    if len(joined) < max(clusters, 1):
        where = ", ".join(str(index.folder) for index in indexes)
        fail(f"{len(joined)} key frames cannot be {clusters} clusters", where, "ask for fewer: --clusters")
    if after is not None and not (
        after.fingerprints == names
        and np.array_equal(after.rows, joined)
        and np.array_equal(after.index, number)
    ):
        fail("the table of the stage before is of other key frames", split, "give the same indexes and split")
    pooled = [
        pooled_features(index, own, backbone) for index, own in zip(indexes, rows, strict=True) if len(own)
    ]
    features = torch.cat(pooled)
    labels = np.full(len(features), -1, dtype=np.int64)
    if clusters:
        labels = (features @ spherical_kmeans(features, clusters, 20).T).argmax(dim=1).numpy()
    if after is not None:
        labels = joined_labels(after.labels, labels, clusters)
    return SamplerTable(names, number, joined, most_alike(features, neighbours), labels)
