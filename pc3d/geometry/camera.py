"""Pinhole cameras: camera frame x right, y down, z forward; pixel centres at integer + 0.5."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pc3d.storage.compiled import njit

Float64 = NDArray[np.float64]


def distortion_radius(distortion: tuple[float, ...]) -> float:
    """Largest radius (at depth 1) up to which an OpenCV radial distortion is one-to-one.

    Beyond it the polynomial folds back, and points far outside the view would land in the image.

    Args:
        distortion: (k1, k2, p1, p2, k3), missing ones are 0.
    """
    k1, k2, _, _, k3 = (*distortion, 0.0, 0.0, 0.0, 0.0, 0.0)[:5]
    # d/dr (r + k1 r^3 + k2 r^5 + k3 r^7) as a polynomial of r^2.
    roots = np.roots([7 * k3, 5 * k2, 3 * k1, 1.0])
    turning = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real > 0)]
    return float(np.sqrt(turning.min())) if len(turning) else float("inf")


def _bent(x, y, k1, k2, p1, p2, k3):  # type: ignore[no-untyped-def]
    """OpenCV's distortion of a point at depth 1, or of arrays of them."""
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


bent = njit(cache=True)(_bent)
"""The same for kernels."""


def distort(xy: Float64, distortion: tuple[float, ...]) -> Float64:
    """OpenCV's distortion of (P, 2) normalised image coordinates; NaN beyond `distortion_radius`."""
    x, y = xy[:, 0], xy[:, 1]
    found = np.stack(_bent(x, y, *(*distortion, 0.0, 0.0, 0.0, 0.0, 0.0)[:5]), axis=1)
    found[x * x + y * y > distortion_radius(distortion) ** 2] = np.nan
    return found


def project(points_cam: NDArray, K: Float64, distortion: tuple[float, ...] = ()) -> tuple[Float64, Float64]:
    """Project points in the camera frame to continuous pixel coordinates.

    The centre of the top left pixel is (0.5, 0.5): the point lies in pixel (floor(u), floor(v)).

    Args:
        points_cam: (P, C >= 3) x right, y down, z forward, metres.
        K: (3, 3) intrinsics of that convention.
        distortion: OpenCV coefficients (k1, k2, p1, p2, k3), empty for a pinhole.

    Returns:
        uv: (P, 2) float64 pixels, NaN for points at or behind the camera plane.
        depth: (P,) float64 metres along the optical axis.
    """
    xyz = np.asarray(points_cam, dtype=np.float64)[:, :3]
    depth = xyz[:, 2].copy()
    scale = np.where(depth > 0, depth, np.nan)
    xy = xyz[:, :2] / scale[:, None]
    if any(distortion):
        xy = distort(xy, distortion)
    x, y = xy.T
    # No BLAS, see `rigid.py`: which pixel a point lies in is the same on every machine.
    return np.stack([x * a + y * b + c for a, b, c in K[:2].tolist()], axis=1), depth


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
