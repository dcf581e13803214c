"""Which points can be compared: those with a feature in both views, or with a feature and a pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from pc3d.data.batch import Pairs
from pc3d.models.lidar.base import LidarEncoder
from pc3d.objectives.encodings import Encodings
from pc3d.ops.interpolate import sample_images


def feature_index(
    encodings: Encodings, view: str = "a", frame: str = "t", key_encoder: LidarEncoder | None = None
) -> Tensor:
    """(num_points,) int64 position in a view of each row of a frame, -1 where it has no feature there.

    In the host's memory, as are rows and positions of the other functions unless they say otherwise.
    """
    batch = encodings.host.frames[frame]
    index = batch.views[view].index_of_row(batch.num_points)
    index[batch.views[view].row[~encodings.reach(view, frame, key_encoder)]] = -1
    return index


def matched_points(encodings: Encodings, count: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Random points of the key frame that have a feature in both views, without repeats.

    Args:
        count: at most so many of the batch, None for all.

    Returns:
        (M,) int64 rows, and their (M,) positions in view "a" and in view "b".
    """
    a, b = feature_index(encodings, "a"), feature_index(encodings, "b")
    rows = _draw((a >= 0) & (b >= 0), count, encodings.generator)
    return rows, a[rows], b[rows]


def matched_pixels(encodings: Encodings, count: int | None = None) -> tuple[Pairs, Tensor, Tensor]:
    """Random point-pixel pairs of the key frame whose point has a feature in view "a", without repeats.

    Args:
        count: at most so many of the batch, None for all.

    Returns:
        The pairs and (M,) int64 the position of each pair's point in view "a", on the device of the batch;
        and the share of the points of the frame that are among them.
    """
    pairs = encodings.host.now.pairs
    if pairs is None:
        raise ValueError("point-pixel pairs need cameras: the sweeps of this index have none")
    index = feature_index(encodings)[pairs.row]
    kept = _draw(index >= 0, count, encodings.generator)
    chosen = [encodings.here(part[kept]) for part in (pairs.row, pairs.camera, pairs.uv, index)]
    share = len(pairs.row[kept].unique()) / max(encodings.batch.now.num_points, 1)
    return Pairs(*chosen[:3]), chosen[3], torch.tensor(share)


def pixels_at(maps: Tensor, pairs: Pairs, encodings: Encodings) -> Tensor:
    """(M, C) bilinear samples of maps (B * V, C, h, w) of the key frame's images at the pairs."""
    size = encodings.batch.now.image_size
    assert size is not None
    return sample_images(maps, pairs.camera, pairs.uv, size)


def _draw(eligible: Tensor, count: int | None, generator: torch.Generator) -> Tensor:
    """At most `count` random eligible positions, without repeats."""
    order = torch.randperm(len(eligible), generator=generator)
    return order[eligible[order]][:count]
