"""Regions that may be whole objects: the best segments of a hierarchy, picked without a label.

The points off the ground are linked in the plane at thresholds that grow with the range (`linkage`). Of the
tree of segments that come of it, the disjoint ones with the largest total score are taken: a segment scores
by its points, by whether something of its height may have its sides, and by the number of levels over
which it stays alone, as in HDBSCAN (Campello et al., PAKDD 2013), whose excess of mass knows no size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pc3d.regions.ground import GroundParams, check_positive, rows_off_ground
from pc3d.regions.linkage import linked
from pc3d.regions.segment_tree import SegmentTree, best_disjoint, segment_tree
from pc3d.regions.shapes import sides_and_tops

_TOPS = np.array([0.5, 1.2, 1.8, 2.4, 3.5])
"""Height above the road of a segment's highest point, metres: a kerb, a barrier, a person or a car, a van, a
bus. Beside it, what the visible sides of such things may measure:"""
_LONG_AT_LEAST = np.array([0.1, 0.2, 0.33, 0.55, 2.2])
_LONG_AT_MOST = np.array([3.4, 4.2, 4.3, 8.0, 13.0])
_SHORT_AT_MOST = np.array([1.7, 2.4, 2.6, 2.9, 2.9])


@dataclass(frozen=True)
class ObjectParams(GroundParams):
    """Setting of the objects, ground included; tuned on simulated drives [O].

    Attributes:
        max_top: points higher than this above the road belong to no object, metres.
        near: below this range thresholds hardly shrink, metres.
        finest, step, levels: thresholds in shares of the range: `finest`, and `step` times the one before.
        min_points: of a segment.
        softness: sides beyond their bounds by this share score nothing, within they lose score evenly.
        half_lifetime: levels of standing alone that score a half.
        half_points: number of points that scores a half.
        min_score: segments that score less are no objects.
        max_regions: the best are kept.

    Raises:
        ValueError: an unknown choice, or a length or count that is not positive.
    """

    max_top: float = 4.0
    near: float = 3.0
    finest: float = 0.006
    step: float = 1.3
    levels: int = 10
    min_points: int = 5
    softness: float = 0.65
    half_lifetime: float = 1.4
    half_points: float = 8.0
    min_score: float = 0.04
    max_regions: int = 192

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "near", "finest", "levels", "min_points", "half_lifetime", "half_points")
        check_positive(self, "max_regions", "min_score")
        if not self.step > 1.0:
            raise ValueError(f"step is {self.step}, thresholds must grow: more than 1")
        if not 0.0 < self.softness <= 1.0:
            raise ValueError(f"softness is {self.softness}, it must lie in 0..1, 0 excluded")
        if self.max_regions > np.iinfo(np.int16).max:
            raise ValueError(f"max_regions is {self.max_regions}, ids have 16 bits: at most 32767")


def objects(points: NDArray, sensor_height: float, params: ObjectParams | None = None) -> NDArray[np.int16]:
    """Object of each point of a sweep.

    Args:
        points: (P, >= 3) float, metres, LiDAR frame, z up.
        sensor_height: of the LiDAR above the road, metres (1.84 on nuScenes).

    Returns:
        (P,) int16 object 0 .. S-1, numbered by their first points, -1 for none: ground, the ego vehicle, out
        of range, too high, and what no taken segment holds.

    Raises:
        ValueError: a wrong shape, coordinates that are not finite.
        ImportError: `params.ground` is `patchwork` and pypatchworkpp is not installed.
    """
    params = params or ObjectParams()
    rows = rows_off_ground(points, sensor_height, params)
    xyz = points[rows, :3].astype(np.float64)
    low = xyz[:, 2] < params.max_top - sensor_height
    rows, xyz = rows[low], xyz[low]
    tree = segment_tree(linked(xyz[:, :2], params.near, thresholds(params)), params.min_points)
    score = scores(tree, xyz, sensor_height, params)
    chosen = np.flatnonzero(best_disjoint(tree.parent, score * tree.counts) & (score >= params.min_score))
    place = np.empty(len(rows), dtype=np.int64)
    place[np.lexsort(xyz.T[::-1])] = np.arange(len(rows))
    members = {k: tree.order[tree.begin[k] : tree.end[k]] for k in chosen.tolist()}
    # Ties go by place, so that the order of the rows decides nothing.
    best = sorted(members, key=lambda k: (-score[k], place[members[k]].min()))[: params.max_regions]
    regions = np.full(len(points), -1, dtype=np.int16)
    for number, k in enumerate(sorted(best, key=lambda k: rows[members[k]].min())):
        regions[rows[members[k]]] = number
    return regions


def thresholds(params: ObjectParams) -> NDArray[np.float64]:
    """(L,) thresholds of the levels; products in a row, as powers differ with the processor."""
    levels = [params.finest]
    while len(levels) < params.levels:
        levels.append(levels[-1] * params.step)
    return np.array(levels)


def scores(
    tree: SegmentTree, xyz: NDArray[np.float64], sensor_height: float, params: ObjectParams
) -> NDArray[np.float64]:
    """(N,) score of each segment, 0..1: sides x lifetime x number of points.

    Args:
        xyz: (P, 3) metres, LiDAR frame, of the points of the tree.
    """
    limit = float(_LONG_AT_MOST.max()) * (1.0 + params.softness)
    long, short, top = sides_and_tops(xyz[tree.order], tree.begin, tree.end, limit)
    top = top + sensor_height
    at_least, at_most, across = (
        np.interp(top, _TOPS, bound) for bound in (_LONG_AT_LEAST, _LONG_AT_MOST, _SHORT_AT_MOST)
    )
    soft = params.softness
    plausible = (
        np.clip((at_most * (1.0 + soft) - long) / (at_most * soft), 0.0, 1.0)
        * np.clip((long - at_least * (1.0 - soft)) / (at_least * soft), 0.0, 1.0)
        * np.clip((across * (1.0 + soft) - short) / (across * soft), 0.0, 1.0)
    )
    alone = tree.lifetime / (tree.lifetime + params.half_lifetime)
    return plausible * alone * tree.counts / (tree.counts + params.half_points)
