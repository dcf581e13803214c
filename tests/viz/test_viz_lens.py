"""The pyramid of a camera whose lens bends."""

from __future__ import annotations

import numpy as np

from pc3d.geometry.camera import project
from pc3d.geometry.lens import Lens
from pc3d.viz.scene3d import Frustum, _rays

PIXELS = np.array([(0, 0, 1), (640, 0, 1), (640, 480, 1), (0, 480, 1), (320, -86, 1)], np.float64)


def test_the_corners_of_a_pyramid_are_seen_at_the_corners_of_the_image() -> None:
    K = np.array([[400.0, 0, 325], [0, 400, 238], [0, 0, 1]])
    for lens in (Lens(), Lens("brown", (-0.1, 0.01)), Lens("fisheye", (0.05, 0.0, 0.0, 0.0))):
        rays = _rays(Frustum(np.eye(4), K, (640, 480), lens=lens), PIXELS)
        uv, depth = project(rays, K, lens)
        np.testing.assert_allclose(uv, PIXELS[:, :2], atol=1e-6)
        np.testing.assert_allclose(depth if lens.is_pinhole else np.linalg.norm(rays, axis=1), 1.0)


def test_a_pyramid_ends_where_the_lens_shows_nothing_ahead() -> None:
    K = np.array([[200.0, 0, 325], [0, 200, 238], [0, 0, 1]])
    lens = Lens("fisheye", (0.0, 0.0, 0.0, 0.0))  # the corners would be 115 degrees from the axis
    rays = _rays(Frustum(np.eye(4), K, (640, 480), lens=lens), PIXELS)
    np.testing.assert_allclose(np.linalg.norm(rays, axis=1), 1.0)
    off = np.degrees(np.arccos(rays[:, 2]))
    assert ((off[:4] > 77) & (off[:4] <= 80.3)).all()
    # Each lies on the way from the middle of the image to its corner.
    uv, _ = project(rays, K, lens)
    way, whole = uv - K[:2, 2], PIXELS[:, :2] - K[:2, 2]
    np.testing.assert_allclose(way[:, 0] * whole[:, 1], way[:, 1] * whole[:, 0], atol=1e-6)
    assert ((way * whole).sum(axis=1) > 0).all()
