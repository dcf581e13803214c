"""Superpixel groups of a frame: which points and which pixels belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.data.batch import FrameBatch
from pc3d.ops.segment import segment_mean

IDS = ("superpixels", "semantics")
ID_RANGE = 2**15
"""Ids of one image or sample are below this (cached maps are int16): offsets agree at all times."""


@dataclass(frozen=True)
class SuperpixelGroups:
    """G groups of pairs and pixels; every group has at least one pair and one pixel.

    Attributes:
        rows: (M,) row of each pair's point in the frame's numbering.
        pair_group: (M,) group of each pair, 0..G-1.
        pixel_group: (B * V, h, w) group of each pixel of the strided map, -1 for none.
        ids: (G,) ascending: the group's id, offset by image or by sample.
    """

    rows: Tensor
    pair_group: Tensor
    pixel_group: Tensor
    ids: Tensor

    @property
    def count(self) -> int:
        return len(self.ids)


def offset_ids(frame: FrameBatch, kind: str) -> Tensor:
    """(B * V, H, W) ids of a frame's images that are unique over the batch, -1 for none.

    Superpixels are numbered within their image, so they are offset by image (SLidR); semantics mean the
    same in every camera and at every time, so they are offset by sample (SuperFlow).
    """
    maps: Tensor | None = getattr(frame, kind)
    if maps is None or frame.pairs is None:
        raise ValueError(
            f"image-to-LiDAR contrast needs {kind}; run `pc3d regions --kinds {kind}` and set `data.regions`"
        )
    samples, cameras = maps.shape[:2]
    place = torch.arange(samples * cameras, device=maps.device)
    if kind == "semantics":
        place = place // cameras
    flat = maps.flatten(0, 1)
    return torch.where(flat >= 0, flat + ID_RANGE * place[:, None, None], flat)


def check_pixel_stride(image_size: Sequence[int], pixel_stride: int) -> None:
    """
    Raises:
        ValueError: a side of the images (height, width) is shorter than a stride.
    """
    if min(image_size) < pixel_stride:
        raise ValueError(
            f"pixel_stride is {pixel_stride}, more than a side of the images: `data.image_size` is "
            f"{tuple(image_size)}"
        )


def superpixel_groups(
    frame: FrameBatch, usable_rows: Tensor, pixel_stride: int = 1, ids: str = "superpixels"
) -> SuperpixelGroups:
    """Group the point-pixel pairs of a frame by the id of the pixel.

    Args:
        frame: with `pairs` and the ids.
        usable_rows: (num_points,) bool, False for points without a feature.
        pixel_stride: read every n-th pixel of every n-th line for the pixel side.
        ids: of `IDS`.
    """
    maps = offset_ids(frame, ids)
    check_pixel_stride(maps.shape[1:], pixel_stride)
    pairs = frame.pairs
    assert pairs is not None
    height, width = maps.shape[1:]
    column = pairs.uv[:, 0].long().clamp(0, width - 1)
    line = pairs.uv[:, 1].long().clamp(0, height - 1)
    pair_id = maps[pairs.camera, line, column]
    strided = maps[:, pixel_stride // 2 :: pixel_stride, pixel_stride // 2 :: pixel_stride]

    # A group needs both sides: with a stride, a tiny superpixel may have no pixel left.
    bins = len(maps) * ID_RANGE
    has_pixel = torch.zeros(bins + 1, dtype=torch.bool, device=maps.device)
    has_pixel[strided.flatten()] = True  # id -1 lands in the last bin
    kept = (pair_id >= 0) & usable_rows[pairs.row] & has_pixel[pair_id]
    present, pair_group = torch.unique(pair_id[kept], return_inverse=True)
    lookup = torch.full((bins + 1,), -1, dtype=torch.long, device=maps.device)
    lookup[present] = torch.arange(len(present), device=maps.device)
    return SuperpixelGroups(pairs.row[kept], pair_group, lookup[strided], present)


def shared_groups(a: SuperpixelGroups, b: SuperpixelGroups) -> tuple[Tensor, Tensor]:
    """(S,) positions in `a` and in `b` of the groups that both have, matched by id."""
    return torch.isin(a.ids, b.ids).nonzero()[:, 0], torch.isin(b.ids, a.ids).nonzero()[:, 0]


def pool_points(features: Tensor, groups: SuperpixelGroups, index_of_row: Tensor) -> Tensor:
    """(G, C) mean of the point features (P, C) of each group; a point counts once per camera."""
    return segment_mean(features[index_of_row[groups.rows]], groups.pair_group, groups.count)[0]


def pool_pixels(maps: Tensor, groups: SuperpixelGroups, normalise: bool = True) -> Tensor:
    """(G, C) mean over each group's pixels of maps (B * V, C, h', w') resampled to the pixels.

    With `normalise`, every resampled pixel is L2-normalised before the mean, as SLidR does.
    """
    size = groups.pixel_group.shape[1:]
    # Channels last, all that follows works on whole rows: 9 times faster on a CPU.
    maps = maps.contiguous(memory_format=torch.channels_last)
    dense = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    pixels = dense.permute(0, 2, 3, 1).flatten(0, 2)
    if normalise:
        pixels = F.normalize(pixels, dim=1)
    # A group more, for the pixels of none: leaving them out would copy all the others.
    group = groups.pixel_group.flatten()
    return segment_mean(pixels, torch.where(group < 0, groups.count, group), groups.count + 1)[0][:-1]
