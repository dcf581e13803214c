"""Projection against a plain loop; where pixel centres are. Lenses are in `test_geometry_lens.py`."""

from __future__ import annotations

import numpy as np
import pytest

from pc3d.geometry.camera import in_image, project, shift_pixel_centres

K = np.array([[500.0, 0, 320], [0, 510, 240], [0, 0, 1]])


def test_projection_is_the_plain_loop() -> None:
    points = np.random.default_rng(0).uniform(-10, 10, (200, 4))
    uv, depth = project(points, K)
    for (x, y, z, _), (u, v), d in zip(points, uv, depth, strict=True):
        assert d == z
        if z > 0:
            assert (u, v) == pytest.approx((500 * x / z + 320, 510 * y / z + 240))
        else:
            assert np.isnan(u)
            assert np.isnan(v)


def test_pixel_centres_are_at_integer_plus_half() -> None:
    # A 4 x 2 image whose optical axis is its middle: the axis is on the corner of four pixels.
    K = np.array([[1.0, 0, 2], [0, 1, 1], [0, 0, 1]])
    uv, _ = project(np.array([[0.5, 0.5, 1.0], [-1.5, -0.5, 1.0], [-2.0, -1.0, 1.0]]), K)
    np.testing.assert_array_equal(uv, [[2.5, 1.5], [0.5, 0.5], [0.0, 0.0]])
    np.testing.assert_array_equal(np.floor(uv), [[2, 1], [0, 0], [0, 0]])
    np.testing.assert_array_equal(in_image(uv, (4, 2)), [True, True, True])
    assert not in_image(np.array([[4.0, 1.0]]), (4, 2))[0]


def test_opencv_calibrations_move_by_half_a_pixel() -> None:
    np.testing.assert_array_equal(shift_pixel_centres(K)[:2, 2], [320.5, 240.5])
    np.testing.assert_array_equal(shift_pixel_centres(shift_pixel_centres(K), -0.5), K)
