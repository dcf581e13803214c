"""Features of the points of a `ProbeData`: of the points alone, of an encoder, of an image teacher."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pc3d.data.batch import Batch, Needs, Pairs
from pc3d.data.frame_types import FrameConfig
from pc3d.data.local_statistics import HAND_MADE
from pc3d.data.local_statistics import hand_made as hand_made_of
from pc3d.data.records import Float32
from pc3d.evaluation.protocol.data import ProbeData
from pc3d.evaluation.protocol.shown import batches, device_of, estimated_norms, modes_kept
from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar.base import LidarEncoder
from pc3d.ops.interpolate import sample_images

Statistics = Literal["fixed", "estimated"]
ESTIMATION_BATCH = 4
"""Sweeps of a batch whose statistics are averaged."""


class Features(NamedTuple):
    """Features of N points.

    Attributes:
        values: (N, C) float32, zeros where there is none.
        seen: (N,) bool, where there is one.
    """

    values: Float32
    seen: NDArray[np.bool_]

    def select(self, chosen: NDArray[np.bool_]) -> Features:
        """The points of a (N,) mask, as `ProbeData.select`."""
        return Features(self.values[chosen], self.seen[chosen])


Pair: TypeAlias = tuple[Features, Features]
"""Of the training and of the validation part."""


def raw(data: ProbeData) -> Features:
    """Height above the LiDAR (m), intensity (0 to 1) and distance from it in the plane (m)."""
    clouds = (points[rows] for points, rows in data.clouds())
    return _all_seen([np.column_stack([p[:, 2], p[:, 3], np.hypot(p[:, 0], p[:, 1])]) for p in clouds])


def hand_made(data: ProbeData) -> Features:
    """The local statistics of `pc3d.data.local_statistics.HAND_MADE`; nothing of them is learned."""
    return _all_seen([hand_made_of(points, rows) for points, rows in data.clouds()])


def without_intensity(features: Features) -> Features:
    """Of hand-made features those that are not made from intensity."""
    kept = [number for number, name in enumerate(HAND_MADE) if "intensity" not in name]
    return Features(features.values[:, kept], features.seen)


def beside(a: Features, b: Features) -> Features:
    """Both features of each point; seen where both are."""
    return Features(np.concatenate([a.values, b.values], axis=1), a.seen & b.seen)


def of_encoder(
    data: ProbeData,
    encoder: LidarEncoder,
    statistics: Statistics = "fixed",
    frames: FrameConfig | None = None,
    estimate_on: ProbeData | None = None,
) -> Features:
    """Point features of an encoder in evaluation mode; it is given back as it was.

    Args:
        encoder: its device is used.
        statistics: of batch norm: `fixed` as the encoder has them, `estimated` anew on `estimate_on`.
        frames: what the encoder is shown; of it augmentation is left out.
        estimate_on: the training part of the probe, by default `data` itself.

    Returns:
        Points out of the encoder's range have zeros; they take part in the probe like the others.
    """
    if statistics not in ("fixed", "estimated"):
        raise ValueError(f"statistics are {statistics!r}, expected 'fixed' or 'estimated'")
    estimated = statistics == "estimated"
    with estimated_statistics(encoder, estimate_on or data, frames) if estimated else nullcontext():
        return _encoded(data, encoder, frames)


@torch.no_grad()
def _encoded(data: ProbeData, encoder: LidarEncoder, frames: FrameConfig | None) -> Features:
    device = device_of(encoder)
    parts = []
    with modes_kept(encoder):
        encoder.eval()
        for number, batch in enumerate(batches(data, frames, Needs(), 1)):
            view = batch.now.views["a"]
            position = view.index_of_row(batch.now.num_points)[torch.from_numpy(data.rows[number])]
            output = encoder(batch.to(device).now.views["a"], want_bev=False)
            seen = (position >= 0) & output.valid.cpu()[position]
            values = output.points.float().cpu()[position]
            parts.append((torch.where(seen[:, None], values, 0.0).numpy(), seen.numpy()))
    return _joined(parts)


def estimated_statistics(
    encoder: LidarEncoder,
    data: ProbeData,
    frames: FrameConfig | None = None,
    batch_size: int = ESTIMATION_BATCH,
) -> AbstractContextManager[None]:
    """Inside, the batch norms on an encoder's way to its point features have the statistics of `data`.

    They are the mean over batches of `batch_size` sweeps, each normalised by itself as in training; those of
    the BEV map alone stay, since nothing goes through it. The encoder is given back as it was.
    """
    shown = batches(data, frames, Needs(), batch_size)
    passes = (encoder(batch.to(device_of(encoder)).now.views["a"], want_bev=False) for batch in shown)
    return estimated_norms(encoder, passes)


def both_statistics(
    train: ProbeData, val: ProbeData, encoder: LidarEncoder, frames: FrameConfig | None = None
) -> Iterator[tuple[Statistics, Pair]]:
    """Features of both parts, with the statistics of an encoder and then with those of the training part."""
    for statistics in get_args(Statistics):
        estimated = statistics == "estimated"
        with estimated_statistics(encoder, train, frames) if estimated else nullcontext():
            yield statistics, (_encoded(train, encoder, frames), _encoded(val, encoder, frames))


@torch.no_grad()
def of_teacher(data: ProbeData, encoder: ImageEncoder, frames: FrameConfig | None = None) -> Features:
    """Features of an image encoder at the pixels of the points: the bound of what distillation can teach.

    Args:
        encoder: its device is used; the map of its `forward` is read, bilinearly.
        frames: size of the images, cameras, and how points and pixels are paired.

    Returns:
        The mean over the cameras that see a point; zeros where none does.

    Raises:
        DataError: a sweep has no camera, or an image is missing.
    """
    device = device_of(encoder)
    parts = []
    with modes_kept(encoder):
        encoder.eval()
        for number, batch in enumerate(batches(data, frames, Needs(images=True), 1)):
            pairs = batch.now.pairs
            assert pairs is not None
            maps = encoder(batch.now.pictures().to(device))
            sampled, point = _at_points(maps, pairs, torch.from_numpy(data.rows[number]), batch)
            total = torch.zeros(len(data.rows[number]), maps.shape[1]).index_add_(0, point, sampled)
            cameras = point.bincount(minlength=len(total))
            parts.append(((total / cameras.clamp(min=1)[:, None]).numpy(), (cameras > 0).numpy()))
    return _joined(parts)


def _at_points(maps: Tensor, pairs: Pairs, rows: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """(M, C) samples of maps (V, C, h, w) for the pairs of some points, and (M,) places in `rows`."""
    place = torch.full((batch.now.num_points,), -1)
    place[rows] = torch.arange(len(rows))
    wanted = place[pairs.row] >= 0
    camera, uv = pairs.camera[wanted].to(maps.device), pairs.uv[wanted].to(maps.device)
    assert batch.now.images is not None
    height, width = batch.now.images.shape[-2:]
    return sample_images(maps, camera, uv, (height, width)).float().cpu(), place[pairs.row[wanted]]


def _all_seen(parts: list[NDArray]) -> Features:
    values = np.concatenate(parts).astype(np.float32)
    return Features(values, np.ones(len(values), dtype=np.bool_))


def _joined(parts: list[tuple[Float32, NDArray[np.bool_]]]) -> Features:
    values, seen = zip(*parts, strict=True)
    return Features(np.concatenate(values), np.concatenate(seen))
