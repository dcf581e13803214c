"""k nearest neighbours against scipy and against all distances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pc3d.ops.nearest import LEAF, nearest


def brute(points: NDArray, k: int) -> tuple[NDArray, NDArray]:
    """Neighbours by all distances; a stable sort leaves ties in the order of the rows."""
    wide = points.astype(np.float64)
    squared = ((wide[:, None] - wide[None]) ** 2).sum(axis=2)
    order = np.argsort(squared, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(squared, order, axis=1)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 5 * LEAF),
    dims=st.sampled_from([2, 3]),
    k=st.integers(1, 40),
    step=st.sampled_from([1.0, 0.25, 1e-6]),
)
def test_neighbours_and_ties_are_those_of_all_distances(
    seed: int, count: int, dims: int, k: int, step: float
) -> None:
    # Points on a grid: most distances are shared, and many points lie in the same place.
    points = np.random.default_rng(seed).integers(-4, 5, (count, dims)).astype(np.float32) * np.float32(step)
    rows, squared = nearest(points, k)
    expected_rows, expected = brute(points, k)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(squared, expected)


@pytest.mark.parametrize(("dims", "k"), [(3, 16), (2, 32)])
def test_a_dense_middle_and_a_thin_rim_as_scipy_has_them(dims: int, k: int) -> None:
    rng = np.random.default_rng(3)
    # As a LiDAR sees: a hundred thousand times as dense near it as far from it.
    radius = np.exp(rng.uniform(np.log(0.1), np.log(100), 6000))
    directions = rng.normal(size=(6000, dims))
    points = (radius / np.linalg.norm(directions, axis=1))[:, None] * directions
    points = points.astype(np.float32)
    rows, squared = nearest(points, k)
    wide = points.astype(np.float64)
    distance, expected = cKDTree(wide).query(wide, k)
    np.testing.assert_allclose(np.sqrt(squared), distance, rtol=1e-12, atol=0)
    np.testing.assert_array_equal(rows, expected)


def test_asked_rows_have_what_all_have() -> None:
    points = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    asked = np.array([299, 4, 4, 150])
    for part, whole in zip(nearest(points, 16, asked), nearest(points, 16), strict=True):
        np.testing.assert_array_equal(part, whole[asked])


def test_many_points_in_one_place() -> None:
    rows, squared = nearest(np.ones((20_000, 3), np.float32), 16)
    assert (rows == np.arange(16)).all()
    assert not squared.any()


def test_nothing_asked_and_no_points() -> None:
    assert nearest(np.empty((0, 3), np.float32), 16)[0].shape == (0, 0)
    assert nearest(np.ones((40, 3), np.float32), 16, np.empty(0, np.int64))[0].shape == (0, 16)


@pytest.mark.parametrize(
    ("points", "k"), [(np.ones((4, 4)), 3), (np.ones((4, 3)), 0), (np.array([[0.0, np.nan]]), 1)]
)
def test_what_is_no_cloud_is_refused(points: NDArray, k: int) -> None:
    with pytest.raises(ValueError, match="points have"):
        nearest(points, k)
