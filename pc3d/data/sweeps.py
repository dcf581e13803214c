"""The points of a key frame and of the sweeps before it, in one frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pc3d.data.errors import fail
from pc3d.data.local_statistics import NAMES
from pc3d.data.points.formats import COLUMNS
from pc3d.data.points.load import available, load_lidars
from pc3d.data.records import Float32, Sweep
from pc3d.geometry.rigid import invert_SE3, transform_points

TIME = "time"
"""Of a feature, the time of its sweep; of a column, that of each point."""
FEATURES = tuple(name for name in COLUMNS if name not in ("x", "y", "z", TIME))
STATISTICS = "statistics"
"""Feature that stands for all columns of `pc3d.data.local_statistics`."""
EGO_REACH = 1.0
"""Metres in x and in y around the LiDAR where earlier sweeps show the ego vehicle (as OpenPCDet does)."""


def check_features(features: Sequence[str]) -> None:
    """Refuse statistics that would not stand after the other columns, or have no intensity to be made of.

    Raises:
        ValueError: says so.
    """
    if STATISTICS in features and (features[-1] != STATISTICS or "intensity" not in features):
        raise ValueError(
            f"features are {tuple(features)}: {STATISTICS!r} comes last, with 'intensity' before it"
        )


def stored_features(features: Sequence[str]) -> tuple[str, ...]:
    """The features that are read from the points' files."""
    return tuple(name for name in features if name != STATISTICS)


def point_columns(features: Sequence[str]) -> tuple[str, ...]:
    """Names of the columns of a view's points."""
    return ("x", "y", "z", *stored_features(features), *(NAMES if STATISTICS in features else ()))


def load_features(sweep: Sweep, features: Sequence[str], seconds: float = 0.0) -> Float32:
    """Points of a sweep with the asked features.

    Args:
        features: of `FEATURES`, or "time".
        seconds: value of the feature "time".

    Returns:
        (P, 3 + features) float32, x y z first.

    Raises:
        DataError: the file is missing or broken, or has no such feature.
    """
    return _load_lidars(sweep, features, seconds)[0]


def _load_lidars(sweep: Sweep, features: Sequence[str], seconds: float = 0.0) -> tuple[Float32, list[int]]:
    """`load_features`, and the number of points of each LiDAR of the sweep."""
    there = available(sweep)
    for name in features:
        if name != TIME and (name not in FEATURES or name not in there):
            fail(
                f"the points have no feature {name!r}",
                f"{sweep.path} (sweep {sweep.token})",
                f"change `features`; these have: {', '.join(n for n in FEATURES if n in there)}, {TIME}",
            )
    extra = [name for name in features if name not in (TIME, "intensity")]
    points, counts = load_lidars(sweep, extra)
    names = ["x", "y", "z", "intensity", *extra]
    if list(features) == names[3:]:
        return points, counts
    of_sweep = np.full(len(points), seconds, dtype=np.float32)
    columns = [of_sweep if name == TIME else points[:, names.index(name)] for name in features]
    return np.column_stack([points[:, :3], *columns]), counts


def stack_sweeps(
    sweep: Sweep, earlier: Sequence[Sweep], features: Sequence[str], without_ego: bool = True
) -> tuple[Float32, int]:
    """A sweep and earlier ones of its scene, moved into its LiDAR frame by the poses.

    Things that move are seen at each place where they were; "time" tells which is when.

    Args:
        earlier: the nearest first.
        features: see `load_features`.
        without_ego: leave out points of the earlier sweeps within `EGO_REACH` of their LiDAR in x and in
            y: the ego vehicle, which would leave a trail where it drove. The sweep's own stay, because
            labels and pixels are numbered by them.

    Returns:
        (P, 3 + features) float32, the sweep's own points first, then the sweeps in the order given; and
        the number of its own points.
    """
    points, _, own = stack_rays(sweep, earlier, features, without_ego)
    return points, own


def stack_rays(
    sweep: Sweep, earlier: Sequence[Sweep], features: Sequence[str], without_ego: bool = True
) -> tuple[Float32, Float32, int]:
    """`stack_sweeps`, and between the two where each point was seen from.

    A ray of an earlier sweep starts where its LiDAR was then: from where the LiDAR is now it would pass
    through what it never saw. The motion of the LiDAR within a sweep is left out.

    Returns:
        Points, (P, 3) float32 origins in metres in the LiDAR frame of the sweep, and the number of its own
        points.
    """
    own, origins = _rays(sweep, features, 0.0)
    clouds, starts = [own], [origins]
    lidar_SE3_world = invert_SE3(sweep.world_SE3_ego @ sweep.ego_SE3_lidar)
    for other in earlier:
        points, origins = _rays(other, features, (sweep.timestamp - other.timestamp) / 1e6)
        if without_ego:
            kept = (np.abs(points[:, :2]) >= EGO_REACH).any(axis=1)
            points, origins = points[kept], origins[kept]
        lidar_SE3_other = lidar_SE3_world @ other.world_SE3_ego @ other.ego_SE3_lidar
        clouds.append(transform_points(lidar_SE3_other, points))
        starts.append(transform_points(lidar_SE3_other, origins))
    if not earlier:
        return own, origins, len(own)
    return np.concatenate(clouds), np.concatenate(starts), len(own)


def _rays(sweep: Sweep, features: Sequence[str], seconds: float) -> tuple[Float32, Float32]:
    """Points of a sweep and (P, 3) where the LiDAR of each stands, both in the LiDAR frame of the sweep."""
    points, counts = _load_lidars(sweep, features, seconds)
    places = [np.zeros(3), *(lidar.lidar_SE3_sensor[:3, 3] for lidar in sweep.lidars)]
    return points, np.repeat(np.array(places, dtype=np.float32), counts, axis=0)
