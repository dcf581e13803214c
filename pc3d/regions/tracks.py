"""Segments that are the same thing in a key frame and the next (Seal, Liu et al., NeurIPS 2023).

Both sweeps, their ground removed, are put together where they stand in the world and clustered at once by
HDBSCAN (Campello et al., PAKDD 2013); a cluster with points of both is a track. What drives further
than its own length between the two falls into two clusters, one of each sweep, and is no track.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pc3d.geometry.rigid import invert_SE3, transform_points
from pc3d.regions.ground import GroundParams, check_positive, checked_points, rows_off_ground
from pc3d.regions.motion import displacement, seen_through

_MIN_POINTS = 5  # of a segment in each sweep, for a displacement


@dataclass(frozen=True)
class TrackParams(GroundParams):
    """Setting of the tracks; Seal names the ingredients, the numbers are our choice [O], those of the motion
    made on a part of the simulated drives.

    A segment of both sweeps moves if it does so faster than `min_speed`, if that explains the two clouds,
    and if the one sweep sees through the place that it has in the other.

    Attributes:
        voxel: side of the voxels in metres; their mean points are clustered, all their points get the label.
        min_cluster_size, min_samples: of HDBSCAN, in voxels.
        epsilon: clusters closer than this are one, in metres. A larger one keeps more of what is fast in
            one track, and joins more of what stands together.
        min_speed: in m/s.
        max_residual: the distance between the clouds after the motion, over that at rest, is less.
        min_free: share of the segment's points that the other sweep sees through is greater.
        lone_moves: a segment of one sweep only moves, too, if the other sees through half of it.

    Raises:
        ValueError: an unknown choice, or a length or count that is not positive.
    """

    voxel: float = 0.25
    min_cluster_size: int = 10
    min_samples: int = 5
    epsilon: float = 0.5
    min_speed: float = 0.5
    max_residual: float = 0.8
    min_free: float = 0.1
    lone_moves: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "voxel", "min_samples", "min_speed", "max_residual")
        if self.min_cluster_size < 2:
            raise ValueError(f"min_cluster_size is {self.min_cluster_size}, it must be at least 2")


def tracks(
    now: NDArray,
    following: NDArray,
    now_SE3_following: NDArray[np.float64],
    seconds: float,
    sensor_height: float,
    params: TrackParams | None = None,
) -> dict[str, NDArray]:
    """Segments of two sweeps, and which of them move.

    Args:
        now, following: (P, >= 3) and (P', >= 3) float, metres, each in its own LiDAR frame, z up.
        now_SE3_following: (4, 4) from the LiDAR frame of the second to that of the first.
        seconds: between the two, more than 0.
        sensor_height: of the LiDAR above the road, metres.

    Returns:
        `track_now` (P,) and `track_next` (P',) int32 segment, -1 for none: ground, out of range, noise;
        `moving_now` and `moving_next` int8, 1 where the point's segment moves.

    Raises:
        ValueError: a wrong shape, coordinates that are not finite, no time between the sweeps.
        ImportError: `params.ground` is `patchwork` and pypatchworkpp is not installed.
    """
    params = params or TrackParams()
    if not seconds > 0:
        raise ValueError(f"{seconds} s from one sweep to the next; `tracks_of_one` is for one alone")
    rows = [rows_off_ground(sweep, sensor_height, params) for sweep in (now, following)]
    before = checked_points(now)[rows[0]]
    after = transform_points(now_SE3_following, checked_points(following)[rows[1]])
    label = np.split(_clusters(np.concatenate([before, after]), params), [len(before)])
    through = (
        seen_through(transform_points(invert_SE3(now_SE3_following), before), following),
        seen_through(after, now),
    )
    moving = _moving((before, after), label, through, seconds, params)
    return {
        "track_now": _spread(label[0], rows[0], np.full(len(now), -1, np.int32)),
        "track_next": _spread(label[1], rows[1], np.full(len(following), -1, np.int32)),
        "moving_now": _spread(moving[label[0]], rows[0], np.zeros(len(now), np.int8)),
        "moving_next": _spread(moving[label[1]], rows[1], np.zeros(len(following), np.int8)),
    }


def tracks_of_one(
    points: NDArray, sensor_height: float, params: TrackParams | None = None
) -> dict[str, NDArray]:
    """`tracks` of the last key frame of a scene, which stands in for its own next: nothing moves."""
    params = params or TrackParams()
    rows = rows_off_ground(points, sensor_height, params)
    label = _clusters(checked_points(points)[rows], params)
    track = _spread(label, rows, np.full(len(points), -1, np.int32))
    still = np.zeros(len(points), np.int8)
    return {"track_now": track, "track_next": track, "moving_now": still, "moving_next": still}


def _spread(values: NDArray, rows: NDArray[np.int64], into: NDArray) -> NDArray:
    into[rows] = values
    return into


def _clusters(xyz: NDArray[np.float64], params: TrackParams) -> NDArray[np.int64]:
    """(R,) cluster 0 .. S-1 of each point, -1 for noise."""
    from sklearn.cluster import HDBSCAN

    cells = np.floor(xyz / params.voxel).astype(np.int64)
    _, voxel, sizes = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    if len(sizes) <= max(params.min_cluster_size, params.min_samples):
        return np.full(len(xyz), -1, dtype=np.int64)
    means = np.stack([np.bincount(voxel.ravel(), axis) / sizes for axis in xyz.T], axis=1)
    hdbscan = HDBSCAN(
        min_cluster_size=params.min_cluster_size,
        min_samples=params.min_samples,
        cluster_selection_epsilon=params.epsilon,
        copy=False,
    )
    with _ties_in_their_order():
        labels = hdbscan.fit(means).labels_
    return labels[voxel.ravel()].astype(np.int64)


@contextmanager
def _ties_in_their_order() -> Iterator[None]:
    """scikit-learn's HDBSCAN takes equally long edges of its spanning tree in the tree's order.

    Many are equally long: as long as the core distance of a point. It sorts them by NumPy's unstable sort,
    which orders ties otherwise where there is AVX-512; on two machines up to 1 % of a sweep's points were
    in other clusters then.
    """
    from sklearn.cluster._hdbscan import hdbscan as parts
    from sklearn.cluster._hdbscan._linkage import make_single_linkage

    def in_order(edges: NDArray) -> NDArray:
        return make_single_linkage(edges[np.argsort(edges["distance"], kind="stable")])

    original = parts._process_mst
    parts._process_mst = in_order
    try:
        yield
    finally:
        parts._process_mst = original


def _moving(
    xyz: Sequence[NDArray[np.float64]],
    label: Sequence[NDArray[np.int64]],
    through: Sequence[NDArray[np.bool_]],
    seconds: float,
    params: TrackParams,
) -> NDArray[np.bool_]:
    """(S + 1,) bool: which segments move, and False for noise, which -1 looks up."""
    count = int(max(side.max(initial=-1) for side in label)) + 1
    members = [_members(side, count) for side in label]
    moving = np.zeros(count + 1, dtype=np.bool_)
    for s in range(count):
        a, b = members[0][s], members[1][s]
        free = max(through[side][rows].mean() for side, rows in enumerate((a, b)) if len(rows))
        if min(len(a), len(b)) >= _MIN_POINTS and free > params.min_free:
            moved, residual, at_rest = displacement(xyz[0][a], xyz[1][b])
            fast = np.sqrt(np.square(moved).sum()) / seconds > params.min_speed
            moving[s] = fast and residual < params.max_residual * at_rest
        elif params.lone_moves and min(len(a), len(b)) == 0:
            moving[s] = free > 0.5
    return moving


def _members(label: NDArray[np.int64], count: int) -> list[NDArray[np.int64]]:
    """Rows of each of the segments 0 .. count - 1."""
    order = np.argsort(label, kind="stable")
    return np.split(order, np.searchsorted(label[order], np.arange(count + 1)))[1:-1]
