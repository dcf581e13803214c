"""Rigid transforms as 4x4 matrices; `dst_SE3_src` maps points in `src` to points in `dst`.

Sums of products stand in a fixed order, without BLAS: its kernels differ with the processor and round
differently, and what is decided of the points then would, too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64 = NDArray[np.float64]


def make_SE3(rotation: ArrayLike, translation: ArrayLike) -> Float64:
    """(4, 4) float64 transform of a (3, 3) rotation and a (3,) translation in metres."""
    transform = np.eye(4)
    transform[:3, :3] = rotation
    transform[:3, 3] = translation
    return transform


def invert_SE3(dst_SE3_src: Float64) -> Float64:
    """(4, 4) src_SE3_dst of a (4, 4) rigid transform."""
    rotation = dst_SE3_src[:3, :3]
    return make_SE3(rotation.T, -(rotation * dst_SE3_src[:3, 3:4]).sum(axis=0))


def compose_SE3(c_SE3_b: Float64, b_SE3_a: Float64) -> Float64:
    """(4, 4) c_SE3_a of two (4, 4) transforms."""
    return (c_SE3_b[:, :, None] * b_SE3_a).sum(axis=1)


def transform_points(dst_SE3_src: Float64, points: NDArray) -> NDArray:
    """Map points by a (4, 4) affine transform.

    Args:
        dst_SE3_src: (4, 4).
        points: (P, C >= 3), x y z in `src` first; further columns are kept as they are.

    Returns:
        (P, C) of the dtype of `points`, x y z in `dst` first.
    """
    moved = points.copy()
    x, y, z = points[:, :3].T.astype(np.float64)
    for i, (a, b, c, d) in enumerate(dst_SE3_src[:3].tolist()):
        moved[:, i] = x * a + y * b + z * c + d
    return moved


def quaternion_to_matrix(wxyz: ArrayLike) -> Float64:
    """(..., 3, 3) rotation of (..., 4) quaternions (w, x, y, z), which are normalised first.

    Raises:
        ValueError: a quaternion of length zero, or not finite.
    """
    q = np.asarray(wxyz, dtype=np.float64)
    norm = np.linalg.norm(q, axis=-1, keepdims=True)
    if not np.all(np.isfinite(norm)) or np.any(norm < 1e-12):
        raise ValueError(f"not a rotation quaternion (w, x, y, z): {q.tolist()}")
    w, x, y, z = np.moveaxis(q / norm, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def matrix_to_quaternion(rotation: ArrayLike) -> Float64:
    """(4,) unit quaternion (w, x, y, z), w >= 0, of a (3, 3) rotation (Shepperd's method)."""
    m = np.asarray(rotation, dtype=np.float64)
    # The four products of the largest component are well conditioned, whichever it is.
    squares = np.array([np.trace(m), m[0, 0], m[1, 1], m[2, 2]])
    largest = int(np.argmax(squares))
    if largest == 0:
        q = np.array([1 + np.trace(m), m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]])
    else:
        i, j, k = [(0, 1, 2), (1, 2, 0), (2, 0, 1)][largest - 1]
        q = np.zeros(4)
        q[0] = m[k, j] - m[j, k]
        q[1 + i] = 1 + m[i, i] - m[j, j] - m[k, k]
        q[1 + j] = m[j, i] + m[i, j]
        q[1 + k] = m[k, i] + m[i, k]
    q /= np.linalg.norm(q)
    return -q if q[0] < 0 else q


def yaw_of(rotation: ArrayLike) -> Float64:
    """Heading in radians of (..., 3, 3) rotations: the angle of their x axis about +z from +x."""
    m = np.asarray(rotation, dtype=np.float64)
    return np.arctan2(m[..., 1, 0], m[..., 0, 0])


def yaw_matrix(yaw: float) -> Float64:
    """(3, 3) rotation by `yaw` radians, counter-clockwise about +z."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
