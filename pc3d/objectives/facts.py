"""What objectives know of the rows that they compare, for the parts of a contrast that ask."""

from __future__ import annotations

import torch
from torch import Tensor

from pc3d.data.batch import PointView
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.groups import ID_RANGE, SuperpixelGroups
from pc3d.ops.device import inverse
from pc3d.ops.precision import full_precision
from pc3d.ops.segment import segment_mean

POINT_FACTS = ("sample", "ids", "xyz")
GROUP_FACTS = ("sample", "ids", "xyz")
REGION_FACTS = (*POINT_FACTS, "labels")
SEMANTIC_FACTS = (*GROUP_FACTS, "labels")


@full_precision
def loaded_xyz(view: PointView, index: Tensor) -> Tensor:
    """(P, 3) where points of a view lie in the frame of the loaded sweep, metres."""
    loaded_SE3 = inverse(view.lidar_SE3)[view.batch[index]]
    moved = torch.einsum("pij,pj->pi", loaded_SE3[:, :3, :3], view.points[index, :3])
    return moved + loaded_SE3[:, :3, 3]


def point_facts(encodings: Encodings, index: Tensor) -> dict[str, Tensor]:
    """`sample`, `ids` and `xyz` of points of the key frame, by their (P,) positions in view "a"."""
    view = encodings.batch.now.views["a"]
    return {"sample": view.batch[index], "ids": view.row[index], "xyz": loaded_xyz(view, index)}


def region_facts(encodings: Encodings, rows: Tensor, regions: Tensor) -> dict[str, Tensor]:
    """Facts of points of the key frame in view "a", by their (P,) rows; `labels` are their regions.

    Rows and regions are in the host's memory, the facts on the device of the batch.
    """
    frame = encodings.host.now
    index = frame.views["a"].index_of_row(frame.num_points)[rows]
    return {**point_facts(encodings, encodings.here(index)), "labels": encodings.here(regions)}


@full_precision
def seen_from(encodings: Encodings, xyz: Tensor, sample: Tensor, frame: str, name: str = "t") -> Tensor:
    """(N, 3) places of (N,) samples in the loaded sweep of `frame`, in that of frame `name`."""
    if frame == name:
        return xyz
    frames = encodings.batch.frames
    moved_SE3 = inverse(frames[name].world_SE3_lidar) @ frames[frame].world_SE3_lidar
    moved_SE3 = moved_SE3.to(xyz.dtype)[sample]
    return torch.einsum("nij,nj->ni", moved_SE3[:, :3, :3], xyz) + moved_SE3[:, :3, 3]


def group_facts(
    encodings: Encodings, groups: SuperpixelGroups, kind: str, frame: str = "t", place_in: str | None = None
) -> dict[str, Tensor]:
    """`sample`, `ids` and `xyz` (mean of their points) of groups, and `labels` where ids are `semantics`.

    Args:
        frame: that of the groups. place_in: the frame in whose sweep `xyz` is; None: their own.
    """
    batch = encodings.batch.frames[frame]
    assert batch.views["a"] is not None
    index = batch.views["a"].index_of_row(batch.num_points)[groups.rows]
    xyz = segment_mean(loaded_xyz(batch.views["a"], index), groups.pair_group, groups.count)[0]
    maps = getattr(batch, kind)
    image = groups.ids // ID_RANGE  # of semantics the sample itself
    sample = image if kind == "semantics" else image // maps.shape[1]
    place = seen_from(encodings, xyz, sample, frame, place_in or frame)
    found = {"sample": sample, "ids": groups.ids, "xyz": place}
    return {**found, "labels": groups.ids % ID_RANGE} if kind == "semantics" else found
