"""Cameras: camera frame x right, y down, z forward; pixel centres at integer + 0.5."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pc3d.geometry.lens import PINHOLE, Lens

Float64 = NDArray[np.float64]


def project(points_cam: NDArray, K: Float64, lens: Lens = PINHOLE) -> tuple[Float64, Float64]:
    """Project points in the camera frame to continuous pixel coordinates.

    The centre of the top left pixel is (0.5, 0.5): the point lies in pixel (floor(u), floor(v)).

    Args:
        points_cam: (P, C >= 3) x right, y down, z forward, metres.
        K: (3, 3) intrinsics of that convention.
        lens: what bends the rays.

    Returns:
        uv: (P, 2) float64 pixels, NaN for points at or behind the camera plane, and beyond `lens.radius`.
        depth: (P,) float64 metres along the optical axis.
    """
    xyz = np.asarray(points_cam, dtype=np.float64)[:, :3]
    depth = xyz[:, 2].copy()
    scale = np.where(depth > 0, depth, np.nan)
    xy = xyz[:, :2] / scale[:, None]
    if not lens.is_pinhole:
        xy = lens.bend(xy)
    x, y = xy.T
    # No BLAS, see `rigid.py`: which pixel a point lies in is the same on every machine.
    return np.stack([x * a + y * b + c for a, b, c in K[:2].tolist()], axis=1), depth


def unproject(uv: Float64, K: Float64, lens: Lens = PINHOLE) -> Float64:
    """The inverse of `project` at depth 1.

    Args:
        uv: (P, 2) continuous pixel coordinates.
        K: (3, 3) intrinsics; a mirrored image has a negative focal length in x.
        lens: what bends the rays.

    Returns:
        (P, 3) float64 rays in the camera frame with z = 1, NaN where the lens shows no ray that is ahead.
    """
    (a, skew, c), (_, b, d), _ = K.tolist()
    u, v = np.asarray(uv, dtype=np.float64).T
    y = (v - d) / b
    xy = np.stack([(u - c - skew * y) / a, y], axis=1)
    if not lens.is_pinhole:
        xy = lens.straighten(xy)
    return np.column_stack([xy, xy[:, 0] * 0 + 1])


def in_image(uv: Float64, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(P,) whether (P, 2) pixel coordinates lie in an image of `size` (width, height)."""
    with np.errstate(invalid="ignore"):
        return (uv[:, 0] >= 0) & (uv[:, 0] < size[0]) & (uv[:, 1] >= 0) & (uv[:, 1] < size[1])


def shift_pixel_centres(K: Float64, by: float = 0.5) -> Float64:
    """(3, 3) intrinsics with the principal point moved by `by` pixels.

    OpenCV, and with it most published calibrations, puts pixel centres at integers: `+0.5` turns
    such a matrix into the convention of this package, `-0.5` turns it back.
    """
    moved = np.array(K, dtype=np.float64)
    moved[:2, 2] += by
    return moved
