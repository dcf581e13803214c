"""Regions of a sweep: the clusters off the ground that may be objects ("semantic pooling", CALICO)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pc3d.regions.clusters import dbscan
from pc3d.regions.ground import (
    GroundParams,
    check_positive,
    checked_points,
    ground_mask,
    in_ego_square,
    in_range,
)
from pc3d.regions.shapes import footprints


@dataclass(frozen=True)
class RegionParams(GroundParams):
    """Every number of the region pipeline; the defaults are CALICO's [C: its authors' code].

    Lengths in metres. [O] marks our choice where the code is not followed.

    Attributes:
        cluster_eps, cluster_min_samples: DBSCAN over x, y of the points off the ground.
        ego_filter: `points` leaves out the points inside the ego square [O], so that nothing of the ego
            vehicle is a region, whatever stands beside it. `and` drops the clusters that lie inside; `or`,
            as the authors' code has it, drops the clusters straight ahead and beside as well.
        min_top: clusters whose highest point is less than this above the nominal ground are dropped.
        max_top: clusters with a point higher than this (z in the LiDAR frame) are dropped.
        min_side_ratio: least ratio of the sides of the minimum-area rectangle.
        min_hull_area, max_hull_area: bounds of the convex hull's area in x, y, m^2.

    Raises:
        ValueError: an unknown choice, or a length or count that is not positive.
    """

    cluster_eps: float = 0.75
    cluster_min_samples: int = 5
    ego_filter: Literal["points", "and", "or"] = "points"
    min_top: float = 0.25
    max_top: float = 3.0
    min_side_ratio: float = 0.1
    min_hull_area: float = 0.25
    max_hull_area: float = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ego_filter not in ("points", "and", "or"):
            raise ValueError(f"ego_filter is {self.ego_filter!r}, expected 'points', 'and' or 'or'")
        check_positive(self, "cluster_eps", "cluster_min_samples")


def lidar_regions(
    points: NDArray, sensor_height: float, params: RegionParams | None = None
) -> NDArray[np.int16]:
    """Region of each point of a sweep (CALICO, arXiv 2306.00349, its regions as in the authors' code).

    Ground and points out of range are taken away, the rest is clustered in x, y, and clusters that can be
    no object by their place, height or footprint are dropped.

    Args:
        points: (P, >= 3) float, metres, LiDAR frame, z up.
        sensor_height: of the LiDAR above the road, metres (1.84 on nuScenes).

    Returns:
        (P,) int16 region 0 .. S-1, -1 for semantic-less points: ground, noise, dropped clusters.

    Raises:
        ValueError: a wrong shape, coordinates that are not finite, more regions than int16 holds.
        ImportError: `params.ground` is `patchwork` and pypatchworkpp is not installed.
    """
    params = params or RegionParams()
    xyz = checked_points(points)
    kept = in_range(xyz, params) & ~ground_mask(points, sensor_height, params)
    if params.ego_filter == "points":
        kept &= ~in_ego_square(xyz, params)
    rows = np.flatnonzero(kept)
    labels = dbscan(xyz[rows, :2], params.cluster_eps, params.cluster_min_samples)
    keep = _may_be_object(xyz[rows], labels, sensor_height, params)
    if keep.sum() > np.iinfo(np.int16).max:
        raise ValueError(f"{keep.sum()} regions in one sweep; a larger cluster_eps makes fewer")
    # One more entry, of the noise: -1 looks it up.
    region = np.append(np.where(keep, np.cumsum(keep) - 1, -1), -1)
    regions = np.full(len(xyz), -1, dtype=np.int16)
    regions[rows] = region[labels]
    return regions


def _may_be_object(
    xyz: NDArray, labels: NDArray, sensor_height: float, params: RegionParams
) -> NDArray[np.bool_]:
    """(S,) bool: which clusters stay."""
    clustered = labels >= 0
    count = int(labels.max(initial=-1)) + 1
    reach_x, reach_y, top = np.full((3, count), -np.inf)
    for greatest, value in ((reach_x, abs(xyz[:, 0])), (reach_y, abs(xyz[:, 1])), (top, xyz[:, 2])):
        np.maximum.at(greatest, labels[clustered], value[clustered])
    near_x, near_y = reach_x < params.ego_half_width, reach_y < params.ego_half_width
    ego = near_x | near_y if params.ego_filter == "or" else near_x & near_y
    area, side_ratio = footprints(xyz[:, :2], labels)
    return (
        ~ego
        & (top >= -sensor_height + params.min_top)
        & (top <= params.max_top)
        & (side_ratio >= params.min_side_ratio)
        & (area >= params.min_hull_area)
        & (area <= params.max_hull_area)
    )
