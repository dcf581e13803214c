"""Points of a sweep moved to where they were at one time, as the vehicle moved while they were measured."""

from __future__ import annotations

import math

import numpy as np

from pc3d.data.records import Float64
from pc3d.geometry.rigid import invert_SE3
from pc3d.storage.compiled import njit


def moved_by(motion: Float64, seconds: Float64, points: Float64) -> Float64:
    """Points in the ego frame at their own times, in the ego frame at time 0.

    The vehicle moves with a constant twist: `p' = exp(t [w]) p + V(t) v` with the closed forms of the
    exponential map of SE(3) (Rodrigues; e.g. Barfoot, State Estimation for Robotics, 2017, section 7.1).

    Args:
        motion: (6,) velocity v (m/s) and angular velocity w (rad/s) in the ego frame at time 0.
        seconds: (P,) time of each point.
        points: (P, 3) metres.

    Returns:
        (P, 3) float64.
    """
    return _moved(np.ascontiguousarray(motion), np.ascontiguousarray(seconds), np.ascontiguousarray(points))


@njit(cache=True)
def _moved(motion, seconds, points):  # type: ignore[no-untyped-def]
    vx, vy, vz, wx, wy, wz = motion
    rate = math.sqrt(wx * wx + wy * wy + wz * wz)
    turns = rate > 1e-9
    ax, ay, az = (wx / rate, wy / rate, wz / rate) if turns else (0.0, 0.0, 0.0)
    along = ax * vx + ay * vy + az * vz
    moved = np.empty_like(points)
    for n in range(len(points)):
        x, y, z = points[n]
        t = seconds[n]
        if not turns:
            moved[n, 0], moved[n, 1], moved[n, 2] = x + t * vx, y + t * vy, z + t * vz
            continue
        sine, cosine = math.sin(rate * t), math.cos(rate * t)
        rest, height = 1 - cosine, ax * x + ay * y + az * z
        s, c, a = sine / rate, rest / rate, (t - sine / rate) * along
        moved[n, 0] = x * cosine + (ay * z - az * y) * sine + ax * height * rest
        moved[n, 1] = y * cosine + (az * x - ax * z) * sine + ay * height * rest
        moved[n, 2] = z * cosine + (ax * y - ay * x) * sine + az * height * rest
        moved[n, 0] += s * vx + a * ax + c * (ay * vz - az * vy)
        moved[n, 1] += s * vy + a * ay + c * (az * vx - ax * vz)
        moved[n, 2] += s * vz + a * az + c * (ax * vy - ay * vx)
    return moved


def compensated(points: Float64, seconds: Float64, motion: Float64, ego_SE3_lidar: Float64) -> Float64:
    """(P, 3) points of the LiDAR frame, each at its own time, in the LiDAR frame at time 0."""
    in_ego = points @ ego_SE3_lidar[:3, :3].T + ego_SE3_lidar[:3, 3]
    lidar_SE3_ego = invert_SE3(ego_SE3_lidar)
    return moved_by(motion, seconds, in_ego) @ lidar_SE3_ego[:3, :3].T + lidar_SE3_ego[:3, 3]


def twist_between(a_SE3_b: Float64, seconds: float) -> Float64:
    """(6,) constant twist of a body that is at the identity now and at `a_SE3_b` after `seconds`."""
    R, t = a_SE3_b[:3, :3], a_SE3_b[:3, 3]
    cosine = np.clip((np.trace(R) - 1) / 2, -1.0, 1.0)
    angle = float(np.arccos(cosine))
    skew = np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]])
    sine = float(np.linalg.norm(skew)) / 2
    if sine < 1e-9:
        return np.concatenate([t, np.zeros(3)]) / seconds
    angle = float(np.arctan2(sine, cosine))
    axis = skew / (2 * sine)
    half = angle / 2
    cot = half / np.tan(half)
    v = cot * t + (1 - cot) * (axis @ t) * axis - half * np.cross(axis, t)
    return np.concatenate([v, axis * angle]) / seconds
