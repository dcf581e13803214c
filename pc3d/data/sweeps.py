"""The points of a key frame and of the sweeps before it, in one frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pc3d.data.errors import fail
from pc3d.data.points import load_points
from pc3d.data.records import Float32, Sweep
from pc3d.geometry.rigid import invert_SE3, transform_points

FEATURE_COLUMNS = {"intensity": 3, "ring": 4}
TIME = "time"
EGO_REACH = 1.0
"""Metres in x and in y around the LiDAR where earlier sweeps show the ego vehicle (as OpenPCDet does)."""


def load_features(sweep: Sweep, features: Sequence[str], seconds: float = 0.0) -> Float32:
    """Points of a sweep with the asked features.

    Args:
        features: keys of `FEATURE_COLUMNS`, or "time".
        seconds: value of the feature "time".

    Returns:
        (P, 3 + features) float32, x y z first.

    Raises:
        DataError: the file is missing or broken, or has no such feature.
    """
    points = load_points(sweep.path, sweep.lidar_format, sweep.token)
    columns = [0, 1, 2]
    for name in features:
        if name == TIME:
            columns.append(points.shape[1])
            continue
        if FEATURE_COLUMNS.get(name, points.shape[1]) >= points.shape[1]:
            fail(
                f"the points have no feature {name!r}",
                f"{sweep.path} (sweep {sweep.token})",
                f"change `features`; known: {', '.join([*FEATURE_COLUMNS, TIME])}",
            )
        columns.append(FEATURE_COLUMNS[name])
    if TIME in features:
        points = np.concatenate([points, np.full((len(points), 1), seconds, dtype=np.float32)], axis=1)
    return points if columns == list(range(points.shape[1])) else points[:, columns]


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
    own = load_features(sweep, features)
    clouds = [own]
    lidar_SE3_world = invert_SE3(sweep.world_SE3_ego @ sweep.ego_SE3_lidar)
    for other in earlier:
        points = load_features(other, features, (sweep.timestamp - other.timestamp) / 1e6)
        if without_ego:
            points = points[(np.abs(points[:, :2]) >= EGO_REACH).any(axis=1)]
        clouds.append(transform_points(lidar_SE3_world @ other.world_SE3_ego @ other.ego_SE3_lidar, points))
    return (np.concatenate(clouds) if earlier else own), len(own)
