"""Projection against a plain loop and OpenCV; where pixel centres are."""

from __future__ import annotations

import numpy as np
import pytest

from pc3d.geometry.camera import distortion_radius, in_image, project, shift_pixel_centres

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


def test_distortion_is_opencvs() -> None:
    cv2 = pytest.importorskip("cv2")
    bend = (-0.37, 0.2, 0.002, 0.0014, -0.07)
    points = np.random.default_rng(1).uniform((-0.5, -0.5, 1.5), (0.5, 0.5, 2.5), (100, 3))
    uv, _ = project(points, K, bend)
    expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, np.array(bend))
    np.testing.assert_allclose(uv, expected[:, 0], atol=1e-9)


def test_distortion_does_not_fold_far_points_back() -> None:
    bend = (-0.37, 0.2, 0.0, 0.0, -0.07)
    radius = distortion_radius(bend)
    assert np.isfinite(radius)
    uv, _ = project(np.array([[radius * 1.01, 0, 1], [radius * 0.99, 0, 1]]), K, bend)
    np.testing.assert_array_equal(np.isnan(uv[:, 0]), [True, False])
    assert distortion_radius(()) == np.inf
