"""Rigid transforms as people write them in a calibration file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pc3d.data.records import Float64, check_pose
from pc3d.geometry.rigid import invert_SE3, make_SE3, quaternion_to_matrix

AXES: dict[str, tuple[tuple[float, float, float], ...]] = {
    "x-forward": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "y-forward": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
    "x-backward": ((-1, 0, 0), (0, -1, 0), (0, 0, 1)),
    "y-backward": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
}
"""Rotation to x forward, y left, z up of a sensor with z up, by which of its axes looks where."""
_FORMS = (
    "a 4x4 or 3x4 matrix, 12 or 16 numbers, or {translation: [x, y, z]} with one of rotation (3x3), "
    "quaternion [w, x, y, z] or euler_degrees [roll, pitch, yaw]"
)
_SLACK = 1e-2
"""How far the columns of a rotation may be from unit length and right angles: some digits are often cut."""


def read_transform(values: Any) -> Float64:
    """(4, 4) float64 rigid transform.

    Args:
        values: a 4x4 or 3x4 matrix, 12 or 16 numbers by row, or a mapping of `translation` (metres) and one
            of `rotation`, `quaternion` (w first) and `euler_degrees` (Rz(yaw) Ry(pitch) Rx(roll)).

    Raises:
        ValueError: it is none of these, or no rotation.
    """
    if isinstance(values, Mapping):
        pose = _of_parts(values)
    else:
        flat = _numbers(values, "it")
        if flat.size not in (12, 16):
            raise ValueError(f"it has {flat.size} numbers, expected {_FORMS}")
        pose = np.eye(4)
        pose[:3] = flat.reshape(-1, 4)[:3]
        if flat.size == 16 and not np.allclose(flat.reshape(4, 4)[3], [0, 0, 0, 1]):
            raise ValueError(f"its last row is {flat[12:].tolist()}, expected 0 0 0 1")
    pose[:3, :3] = _orthonormal(pose[:3, :3])
    check_pose("it", pose)
    return pose


def read_named_transform(values: Mapping[str, Any], dst: str, src: str) -> Float64 | None:
    """The transform `dst_SE3_src` of a section, or the inverse of its `src_SE3_dst`; None for neither.

    Raises:
        ValueError: both are there, or one is wrong; says which.
    """
    forth, back = f"{dst}_SE3_{src}", f"{src}_SE3_{dst}"
    if forth in values and back in values:
        raise ValueError(f"there are both {forth} and {back}: give one")
    for name in (forth, back):
        if values.get(name) is not None:
            try:
                pose = read_transform(values[name])
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            return pose if name == forth else invert_SE3(pose)
    return None


def _of_parts(values: Mapping[str, Any]) -> Float64:
    rotations = [name for name in ("rotation", "quaternion", "euler_degrees") if name in values]
    unknown = set(values) - {"translation", *rotations}
    if unknown or len(rotations) > 1 or "translation" not in values:
        raise ValueError(f"it has {', '.join(map(str, values))}, expected {_FORMS}")
    translation = _numbers(values["translation"], "translation", 3)
    if not rotations:
        return make_SE3(np.eye(3), translation)
    kind, given = rotations[0], values[rotations[0]]
    if kind == "rotation":
        return make_SE3(_numbers(given, kind, 9).reshape(3, 3), translation)
    if kind == "quaternion":
        quaternion = _numbers(given, kind, 4)
        if not abs(np.linalg.norm(quaternion) - 1) < _SLACK:
            raise ValueError(f"quaternion {quaternion.tolist()} has not the length 1")
        return make_SE3(quaternion_to_matrix(quaternion), translation)
    return make_SE3(euler_matrix(np.deg2rad(_numbers(given, kind, 3))), translation)


def euler_matrix(roll_pitch_yaw: Float64) -> Float64:
    """(3, 3) Rz(yaw) Ry(pitch) Rx(roll), radians."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(roll_pitch_yaw), np.sin(roll_pitch_yaw)
    Rx = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    Ry = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    Rz = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return Rz @ Ry @ Rx


def _orthonormal(rotation: Float64) -> Float64:
    """The nearest rotation to one that lost digits; what is far from any stays as it is."""
    if np.abs(rotation.T @ rotation - np.eye(3)).max() > _SLACK:
        return rotation
    U, _, Vt = np.linalg.svd(rotation)
    return U @ Vt


def _numbers(values: Any, name: str, count: int | None = None) -> Float64:
    try:
        flat = np.array(values, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is {str(values)[:60]!r}, expected numbers") from error
    if not np.isfinite(flat).all() or (count is not None and flat.size != count):
        raise ValueError(f"{name} is {str(values)[:60]!r}, expected {count or 'finite'} numbers")
    return flat
