"""Axes of symmetric 3x3 matrices with the same bits on every processor.

LAPACK works on BLAS kernels, which differ with the processor and round differently; a normal that feeds a
threshold or an argmin then decides differently on the machines of a mixed cluster. Here are only sums,
products, quotients and roots in a fixed order, which IEEE 754 rounds in one way.
"""

from __future__ import annotations

import numpy as np

from pc3d.storage.compiled import njit

_SWEEPS = 12  # Jacobi converges quadratically: 4 or 5 are enough


@njit(cache=True)
def _rotate(a, v, p, q):
    """One Jacobi rotation, in place, that makes a[p, q] zero (Golub & Van Loan, 8.5.2)."""
    half = (a[q, q] - a[p, p]) / (2.0 * a[p, q])
    t = 1.0 / (abs(half) + np.sqrt(1.0 + half * half))
    if half < 0.0:
        t = -t
    cos = 1.0 / np.sqrt(1.0 + t * t)
    sin = t * cos
    for k in range(3):
        x, y = a[k, p], a[k, q]
        a[k, p], a[k, q] = cos * x - sin * y, sin * x + cos * y
    for k in range(3):
        x, y = a[p, k], a[q, k]
        a[p, k], a[q, k] = cos * x - sin * y, sin * x + cos * y
    a[p, q] = a[q, p] = 0.0
    for k in range(3):
        x, y = v[k, p], v[k, q]
        v[k, p], v[k, q] = cos * x - sin * y, sin * x + cos * y


@njit(cache=True)
def principal_axes(matrix):
    """Eigenvalues (3,) and unit eigenvectors (3, 3), in columns, of a symmetric (3, 3) float64 matrix.

    Unsorted; equal eigenvalues have some orthogonal axes, the same ones everywhere.
    """
    a, v = matrix.copy(), np.eye(3)
    for _ in range(_SWEEPS):
        scale = abs(a[0, 0]) + abs(a[1, 1]) + abs(a[2, 2])
        done = True
        for p in range(2):
            for q in range(p + 1, 3):
                if abs(a[p, q]) > 1e-18 * scale:
                    _rotate(a, v, p, q)
                    done = False
        if done:
            break
    return np.array([a[0, 0], a[1, 1], a[2, 2]]), v


@njit(cache=True)
def least_axis(matrix):
    """Unit eigenvector (3,) of the least eigenvalue of a symmetric (3, 3) float64 matrix."""
    values, axes = principal_axes(matrix)
    return axes[:, np.argmin(values)].copy()


@njit(cache=True)
def scatter(xyz, rows):
    """Mean (3,) of (P, 3) points at `rows`, and the sum (3, 3) of the outer products about it."""
    mean, total = np.zeros(3), np.zeros((3, 3))
    for p in rows:
        for i in range(3):
            mean[i] += xyz[p, i]
    mean /= max(len(rows), 1)
    for p in rows:
        x, y, z = xyz[p, 0] - mean[0], xyz[p, 1] - mean[1], xyz[p, 2] - mean[2]
        total[0, 0] += x * x
        total[0, 1] += x * y
        total[0, 2] += x * z
        total[1, 1] += y * y
        total[1, 2] += y * z
        total[2, 2] += z * z
    total[1, 0], total[2, 0], total[2, 1] = total[0, 1], total[0, 2], total[1, 2]
    return mean, total
