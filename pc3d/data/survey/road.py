"""The road in sweeps against the ego frame, whose origin is on it: a mount that is wrong shows there."""

from __future__ import annotations

import numpy as np

from pc3d.data.records import Float32, Float64, Sweep
from pc3d.data.survey.tally import Tally
from pc3d.findings import Finding

_HIGH = 1.0
"""Metres that the road may be from z = 0: at most 0.2 in real drives; origins on an axle make it 0.4."""
_TILT = 20.0
"""Degrees that the road may be tilted."""
_NEAREST, _FARTHEST = 3.0, 25.0
_POINTS, _FEW = 2000, 200
_PLANES = 200
_THICK = 0.15
_SHARE = 0.2
"""Of the points around, on the road."""
_WALL = 0.6
"""Least points on a level plane, as a part of those on the plane with the most, that it counts as the road:
walls may hold more."""


class Road:
    """Looks at the points of a few sweeps."""

    def __init__(self) -> None:
        self._high, self._tilted = Tally(), Tally()

    def look(self, points: Float32, sweep: Sweep) -> None:
        """Look at the points (P, >= 3) of a sweep in its LiDAR frame."""
        found = road_plane(points[:, :3].astype(np.float64), sweep.ego_SE3_lidar)
        if found is None:
            return
        tilt, height = found
        self._tilted.look(tilt > _TILT, f"{tilt:.0f} degrees in sweep {sweep.token}")
        self._high.look(tilt <= _TILT and abs(height) > _HIGH, f"at {height:.2f} m in sweep {sweep.token}")

    def findings(self) -> list[Finding]:
        """One of most sweeps; a single ramp or wall is none."""
        remedy = (
            "ego_SE3_lidar maps to an ego frame with z up and its origin on the road: look "
            "for an inverse, a quaternion that is not w x y z, radians as degrees, a height of 0"
        )
        found = []
        if 2 * self._tilted.count > self._tilted.of:
            text = f"sweeps (a sample) have a road more than {_TILT:g} degrees off level in the ego frame"
            found = self._tilted.finding("road", "warning", text, remedy)
        elif 2 * self._high.count > self._high.of:
            text = f"sweeps (a sample) have their road more than {_HIGH:g} m from z = 0 of the ego frame"
            found = self._high.finding("road", "warning", text, remedy)
        return found


def road_plane(points: Float64, ego_SE3_lidar: Float64) -> tuple[float, float] | None:
    """Tilt against the ego's z axis, degrees, and z under the LiDAR in the ego frame, metres, of the plane
    that holds the most of the points (P, 3) around; None where none holds enough."""
    distance = np.linalg.norm(points, axis=1)
    near = points[(distance > _NEAREST) & (distance < _FARTHEST)]
    near = near[:: max(1, len(near) // _POINTS)]
    if len(near) < _FEW:
        return None
    rng = np.random.default_rng(len(near))
    a, b, c = near[rng.integers(0, len(near), (3, _PLANES))]
    normals = np.cross(b - a, c - a)
    lengths = np.linalg.norm(normals, axis=1)
    sound = lengths > 1e-6
    normals, a = normals[sound] / lengths[sound, None], a[sound]
    held = (np.abs(near @ normals.T - np.sum(normals * a, axis=1)) < _THICK).mean(axis=0)
    up = normals @ ego_SE3_lidar[2, :3]
    level = np.abs(up) > np.cos(np.deg2rad(_TILT))
    best = int(held.argmax())
    if level.any() and held[level].max() > _WALL * held[best]:
        best = int(np.where(level, held, 0).argmax())
    if held[best] < _SHARE:
        return None
    tilt = np.rad2deg(np.arccos(min(1.0, abs(float(up[best])))))
    # Where the plane meets the ego's z axis through the LiDAR.
    along = float(normals[best] @ a[best]) / float(up[best]) if abs(up[best]) > 0.1 else 0.0
    return float(tilt), along + float(ego_SE3_lidar[2, 3])
