"""Superpixel groups of a frame: which points and which pixels belong together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.data.batch import FrameBatch
from pc3d.ops.segment import segment_mean


@dataclass(frozen=True)
class SuperpixelGroups:
    """G groups of pairs and pixels; every group has at least one pair.

    Attributes:
        rows: (M,) row of each pair's point in the frame's numbering.
        pair_group: (M,) group of each pair, 0..G-1.
        pixel_group: (B * V, h, w) group of each pixel of the strided map, -1 for none.
        count: G.
    """

    rows: Tensor
    pair_group: Tensor
    pixel_group: Tensor
    count: int


def superpixel_groups(frame: FrameBatch, usable_rows: Tensor, pixel_stride: int = 1) -> SuperpixelGroups:
    """Group the point-pixel pairs of a frame by superpixel; ids are offset by image (SLidR).

    Args:
        frame: with `pairs` and `superpixels`.
        usable_rows: (num_points,) bool, False for points without a feature.
        pixel_stride: read every n-th pixel of every n-th line for the pixel side.
    """
    if frame.superpixels is None or frame.pairs is None:
        raise ValueError(
            "superpixel contrast needs superpixels; run data_prep/regions.py --kinds superpixels "
            "and set `data.regions`"
        )
    maps = frame.superpixels.flatten(0, 1)
    height, width = maps.shape[1:]
    offset = torch.arange(len(maps), device=maps.device) * (int(maps.max()) + 1 if maps.numel() else 0)
    ids = torch.where(maps >= 0, maps + offset[:, None, None], maps)

    pairs = frame.pairs
    column = pairs.uv[:, 0].long().clamp(0, width - 1)
    line = pairs.uv[:, 1].long().clamp(0, height - 1)
    pair_id = ids[pairs.camera, line, column]
    strided = ids[:, pixel_stride // 2 :: pixel_stride, pixel_stride // 2 :: pixel_stride]

    # A group needs both sides: with a stride, a tiny superpixel may have no pixel left.
    bins = int(ids.max()) + 1 if ids.numel() and int(ids.max()) >= 0 else 0
    has_pixel = torch.zeros(bins + 1, dtype=torch.bool, device=ids.device)
    has_pixel[strided.flatten()] = True  # id -1 lands in the last bin
    kept = (pair_id >= 0) & usable_rows[pairs.row] & has_pixel[pair_id]
    present, pair_group = torch.unique(pair_id[kept], return_inverse=True)
    lookup = torch.full((bins + 1,), -1, dtype=torch.long, device=ids.device)
    lookup[present] = torch.arange(len(present), device=ids.device)
    return SuperpixelGroups(pairs.row[kept], pair_group, lookup[strided], len(present))


def pool_points(features: Tensor, groups: SuperpixelGroups, index_of_row: Tensor) -> Tensor:
    """(G, C) mean of the point features (P, C) of each group; a point counts once per camera."""
    return segment_mean(features[index_of_row[groups.rows]], groups.pair_group, groups.count)[0]


def pool_pixels(maps: Tensor, groups: SuperpixelGroups, normalise: bool = True) -> Tensor:
    """(G, C) mean over each group's pixels of maps (B * V, C, h', w') resampled to the pixels.

    With `normalise`, every resampled pixel is L2-normalised before the mean, as SLidR does.
    """
    size = groups.pixel_group.shape[1:]
    dense = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    if normalise:
        dense = F.normalize(dense, dim=1)
    group = groups.pixel_group.flatten()
    kept = group >= 0
    pixels = dense.permute(0, 2, 3, 1).flatten(0, 2)[kept]
    return segment_mean(pixels, group[kept], groups.count)[0]
