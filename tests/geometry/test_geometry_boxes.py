"""Boxes against a plain loop."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pc3d.geometry.boxes import corners, points_in_boxes
from pc3d.geometry.rigid import yaw_matrix


def _boxes(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return rng.normal(size=(n, 3)) * 3, rng.uniform(0.5, 5, (n, 3)), rng.uniform(-4, 4, n)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(0, 6), st.integers(0, 60))
def test_points_in_boxes_is_the_plain_loop(seed: int, n: int, p: int) -> None:
    rng = np.random.default_rng(seed)
    centers, sizes, yaws = _boxes(rng, n)
    points = (rng.normal(size=(p, 4)) * 3).astype(np.float32)
    inside = points_in_boxes(points, centers, sizes, yaws)
    assert inside.shape == (n, p)
    for i in range(n):
        for j in range(p):
            local = yaw_matrix(yaws[i]).T @ (points[j, :3].astype(np.float64) - centers[i])
            beyond = np.abs(local) - sizes[i] / 2
            assume(np.abs(beyond).min() > 1e-9)  # on a face rounding decides
            assert inside[i, j] == bool(np.all(beyond <= 0))


def test_corners_are_the_box_turned_and_moved() -> None:
    centers, sizes, yaws = _boxes(np.random.default_rng(3), 5)
    result = corners(centers, sizes, yaws)
    for i in range(5):
        local = (result[i] - centers[i]) @ yaw_matrix(yaws[i])
        np.testing.assert_allclose(np.abs(local), np.tile(sizes[i] / 2, (8, 1)))
        np.testing.assert_array_equal(np.sign(local[:, 2]), [-1] * 4 + [1] * 4)
        # The bottom runs counter-clockwise from the front right corner.
        np.testing.assert_array_equal(np.sign(local[:4, 0]), [1, 1, -1, -1])
        np.testing.assert_array_equal(np.sign(local[:4, 1]), [-1, 1, 1, -1])
