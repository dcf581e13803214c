"""Supervoxels of a sweep after VCCS (Papon et al., CVPR 2013), on the points themselves.

Seeds stand on a grid. Labels flow from them along the graph of nearest neighbours, a layer a step, so that
a supervoxel never leaps over a gap; a point takes the supervoxel whose centre is nearest in place and
normal. Centres move to the means of their points, and labels flow again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pc3d.ops.symmetric import least_axis, scatter
from pc3d.regions.ground import (
    GroundParams,
    check_positive,
    checked_points,
    ground_mask,
    in_ego_square,
    in_range,
)
from pc3d.storage.compiled import njit

_STEP = 1e-9  # of the distance: far above its rounding, far below what tells points apart


@dataclass(frozen=True)
class SupervoxelParams(GroundParams):
    """Setting of the supervoxels, ground included.

    Resolution, neighbours and distance are those of the descriptor tool in FAC's repository [C]; the rest is
    our choice [O].

    Attributes:
        keep_ground: cut the ground into supervoxels, too; else it is background.
        resolution: side of the seed grid's cells in metres.
        neighbours: nearest points, the point itself among them, that a normal is fitted to and labels
            flow between.
        space_weight: of the distance in space (in resolutions) beside 1 - |cos| of the normals.
        rounds: times that labels flow, from centres that moved in between.
        min_points: smaller supervoxels are background.

    Raises:
        ValueError: an unknown choice, or a length or count that is not positive; under 3 neighbours.
    """

    keep_ground: bool = False
    resolution: float = 1.0
    neighbours: int = 15
    space_weight: float = 0.4
    rounds: int = 3
    min_points: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "resolution", "space_weight", "rounds", "min_points")
        if self.neighbours < 3:
            raise ValueError(f"neighbours is {self.neighbours}, a normal needs at least 3")


def supervoxels(
    points: NDArray, sensor_height: float, params: SupervoxelParams | None = None
) -> NDArray[np.int32]:
    """Supervoxel of each point of a sweep.

    Args:
        points: (P, >= 3) float, metres, LiDAR frame, z up.
        sensor_height: of the LiDAR above the road, metres (1.84 on nuScenes).

    Returns:
        (P,) int32 supervoxel 0 .. S-1, -1 for none: ground, the ego vehicle, out of range, too small.

    Raises:
        ValueError: a wrong shape, coordinates that are not finite.
        ImportError: `params.ground` is `patchwork` and pypatchworkpp is not installed.
    """
    params = params or SupervoxelParams()
    xyz = checked_points(points)
    kept = in_range(xyz, params) & ~in_ego_square(xyz, params)
    if not params.keep_ground:
        kept &= ~ground_mask(points, sensor_height, params)
    rows = np.flatnonzero(kept)
    segments = np.full(len(xyz), -1, dtype=np.int32)
    if len(rows) >= params.neighbours:
        segments[rows] = _segment(xyz[rows], params)
    return segments


def normals(xyz: NDArray[np.float64], neighbours: NDArray[np.int64]) -> NDArray[np.float64]:
    """(P, 3) unit normals that look to the origin, the sensor: least variance among the neighbours.

    Args:
        xyz: (P, 3) metres, LiDAR frame.
        neighbours: (P, k) rows of the points that each is fitted to.
    """
    return _normals(np.ascontiguousarray(xyz, dtype=np.float64), neighbours)


@njit(cache=True)
def _normals(xyz, neighbours):  # type: ignore[no-untyped-def]
    normal = np.empty((len(xyz), 3))
    for p in range(len(xyz)):
        n = least_axis(scatter(xyz, neighbours[p])[1])
        away = n[0] * xyz[p, 0] + n[1] * xyz[p, 1] + n[2] * xyz[p, 2] > 0.0
        normal[p] = -n if away else n
    return normal


def _segment(xyz: NDArray[np.float64], params: SupervoxelParams) -> NDArray[np.int32]:
    """(P,) supervoxel of each point, -1 for none; numbered without gaps."""
    neighbours = cKDTree(xyz).query(xyz, k=params.neighbours)[1].astype(np.int64)
    normal = normals(xyz, neighbours)
    seeds = _grid_seeds(xyz, params.resolution)
    scale = params.space_weight / params.resolution
    # Nothing further from the centre than the corners of a cell from each other.
    reach = np.sqrt(3.0) * params.resolution
    label = _grow(xyz, normal, neighbours, seeds, params.rounds, scale, reach)
    keep = np.bincount(label[label >= 0], minlength=len(seeds)) >= params.min_points
    # One more entry, of the points without: -1 looks it up.
    return np.append(np.where(keep, np.cumsum(keep) - 1, -1), -1)[label].astype(np.int32)


def _grid_seeds(xyz: NDArray[np.float64], resolution: float) -> NDArray[np.int64]:
    """Rows of the points nearest to the centre of their grid cell, by cell."""
    cell = np.floor(xyz / resolution)
    off_centre = np.square(xyz / resolution - cell - 0.5).sum(axis=1)
    order = np.lexsort((off_centre, *cell.T))
    first = np.ones(len(xyz), dtype=bool)
    first[1:] = (np.diff(cell[order], axis=0) != 0).any(axis=1)
    return order[first]


@njit(cache=True)
def _distance(p, centre, normal, centre_normal, scale, reach):
    """VCCS's distance of a point to a supervoxel: 1 - |n1.n2| + scale |p - centre|."""
    dx, dy, dz = p[0] - centre[0], p[1] - centre[1], p[2] - centre[2]
    d = np.sqrt(dx * dx + dy * dy + dz * dz)
    if d > reach:
        return np.inf
    dot = normal[0] * centre_normal[0] + normal[1] * centre_normal[1] + normal[2] * centre_normal[2]
    return 1.0 - abs(dot) + scale * d


@njit(cache=True)
def _flow(xyz, normal, neighbours, label, centre, centre_normal, scale, reach):
    """Spread the labels of the seeds, in place: each step looks at the labels of the step before."""
    cost = np.full(len(xyz), np.inf)
    for p in range(len(xyz)):
        if label[p] >= 0:
            cost[p] = -np.inf  # a seed stays
    fresh = label >= 0
    while fresh.any():
        before, changed = label.copy(), np.zeros(len(xyz), np.bool_)
        for p in range(len(xyz)):
            for q in neighbours[p]:
                s = before[q]
                if not fresh[q] or s == label[p]:
                    continue
                d = _distance(xyz[p], centre[s], normal[p], centre_normal[s], scale, reach)
                if d < cost[p]:
                    label[p], cost[p], changed[p] = s, d, True
        fresh = changed


@njit(cache=True)
def _means(xyz, normal, label, count):
    """Mean place and mean direction of each supervoxel; zeros where it has no point."""
    centre, direction, size = np.zeros((count, 3)), np.zeros((count, 3)), np.zeros(count)
    for p in range(len(xyz)):
        if label[p] >= 0:
            centre[label[p]] += xyz[p]
            direction[label[p]] += normal[p]
            size[label[p]] += 1
    for s in range(count):
        centre[s] /= max(size[s], 1)
        direction[s] /= max(np.sqrt((direction[s] ** 2).sum()), 1e-12)
    return centre, direction


@njit(cache=True)
def _comes_before(a, b):  # type: ignore[no-untyped-def]
    """Whether a point is the first of two in the order of x, then y, then z."""
    for axis in range(3):
        if a[axis] != b[axis]:
            return a[axis] < b[axis]
    return False


@njit(cache=True)
def _nearest_members(xyz, normal, label, centre, direction, scale):
    """(S,) row of the point of each supervoxel that is nearest to its centre, -1 without points.

    Both points of a pair are equally near; what their rounding says differs with the order of the points.
    So distances count in steps of `_STEP`, and of equal ones the point first in x, then y, then z is taken.
    """
    seed, least = np.full(len(centre), -1), np.full(len(centre), np.inf)
    for p in range(len(xyz)):
        s = label[p]
        if s >= 0:
            d = np.rint(_distance(xyz[p], centre[s], normal[p], direction[s], scale, np.inf) / _STEP)
            if d < least[s] or (d == least[s] and _comes_before(xyz[p], xyz[seed[s]])):
                seed[s], least[s] = p, d
    return seed


@njit(cache=True)
def _grow(xyz, normal, neighbours, seeds, rounds, scale, reach):
    centre, direction = xyz[seeds], normal[seeds]
    label = np.full(len(xyz), -1)
    for turn in range(rounds):
        if turn:
            centre, direction = _means(xyz, normal, label, len(seeds))
            seeds = _nearest_members(xyz, normal, label, centre, direction, scale)
            label[:] = -1
        for s in range(len(seeds)):
            if seeds[s] >= 0:
                label[seeds[s]] = s
        _flow(xyz, normal, neighbours, label, centre, direction, scale, reach)
    return label
