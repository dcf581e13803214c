"""DBSCAN against scikit-learn, footprints against shapely."""

from __future__ import annotations

import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from sklearn.cluster import DBSCAN

from pc3d.regions.clusters import dbscan
from pc3d.regions.ground import ground_mask
from pc3d.regions.shapes import footprints


def by_sklearn(points: np.ndarray, eps: float, min_samples: int) -> np.ndarray:
    return DBSCAN(eps=eps, min_samples=min_samples).fit(points.astype(np.float64)).labels_


def assume_no_pair_at(points: np.ndarray, eps: float) -> None:
    """Rounding decides about pairs at eps."""
    assume((np.abs(pdist(points.astype(np.float64)) - eps) > 1e-9).all())


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(1, 12), st.floats(0.05, 3.0))
def test_matches_sklearn_on_blobs(seed: int, count: int, min_samples: int, eps: float) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.uniform(-10, 10, (rng.integers(1, 6), 2))
    points = centres[rng.integers(len(centres), size=count)] + rng.normal(0, rng.uniform(0.1, 4), (count, 2))
    assume_no_pair_at(points, eps)
    np.testing.assert_array_equal(dbscan(points, eps, min_samples), by_sklearn(points, eps, min_samples))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(-6, 6), st.integers(-6, 6)), min_size=1, max_size=120), st.integers(1, 8)
)
def test_matches_sklearn_at_exact_distances_and_duplicates(cells: list, min_samples: int) -> None:
    # Steps of 0.25 and eps 0.75 are exact in binary: many pairs lie at eps exactly.
    points = 0.25 * np.array(cells, dtype=np.float64)
    np.testing.assert_array_equal(dbscan(points, 0.75, min_samples), by_sklearn(points, 0.75, min_samples))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_matches_sklearn_on_far_flung_float32(seed: int) -> None:
    """So wide a spread takes the sorting branch; float32 is promoted before any distance."""
    rng = np.random.default_rng(seed)
    points = np.concatenate([rng.normal(c, 0.5, (30, 2)) for c in rng.uniform(-1e5, 1e5, (5, 2))])
    points = rng.permutation(points).astype(np.float32)
    assume_no_pair_at(points, 0.3)
    np.testing.assert_array_equal(dbscan(points, 0.3, 4), by_sklearn(points, 0.3, 4))


def test_small_and_degenerate() -> None:
    assert dbscan(np.empty((0, 2)), 0.75, 5).shape == (0,)
    assert dbscan(np.zeros((1, 2)), 0.75, 5).tolist() == [-1]
    assert dbscan(np.zeros((1, 2)), 0.75, 1).tolist() == [0]
    assert dbscan(np.ones((9, 2)), 0.75, 5).tolist() == [0] * 9


def test_border_point_goes_to_the_lowest_cluster() -> None:
    left, right = np.linspace(-2.0, -1.0, 5), np.linspace(1.0, 2.0, 5)
    x = np.concatenate([right, [0.0], left])  # 0 is within 1.0 of one core point on either side
    points = np.c_[x, np.zeros_like(x)]
    labels = dbscan(points, 1.0, 4)
    assert labels.tolist() == [0] * 6 + [1] * 5
    np.testing.assert_array_equal(labels, by_sklearn(points, 1.0, 4))


def test_rejects_bad_input() -> None:
    with pytest.raises(ValueError, match=r"expected \(P, 2\)"):
        dbscan(np.zeros((4, 3)), 0.75, 5)
    with pytest.raises(ValueError, match="eps"):
        dbscan(np.zeros((4, 2)), 0.0, 5)
    with pytest.raises(ValueError, match="not finite"):
        dbscan(np.array([[0.0, 0.0], [np.nan, 0.0]]), 0.75, 5)
    with pytest.raises(ValueError, match="not finite"):
        dbscan(np.array([[0.0, 0.0], [np.inf, 0.0]]), 0.75, 5)
    with pytest.raises(ValueError, match="too far apart"):
        dbscan(np.array([[0.0, 0.0], [1e12, 0.0]]), 0.75, 5)


def test_matches_sklearn_on_real_sweeps(real_data: Path) -> None:
    """Also the stated count: 177 clusters of all points off the ground, before any is filtered."""
    file = next((real_data / "nuscenes" / "samples" / "LIDAR_TOP").iterdir())
    sweeps = [(np.fromfile(file, np.float32).reshape(-1, 5), 1.84)]
    for path in sorted((real_data / "semantic_kitti").rglob("*.bin"))[:1]:
        sweeps.append((np.fromfile(path, np.float32).reshape(-1, 4), 1.73))
    counts = []
    for points, height in sweeps:
        points = points[~ground_mask(points, height), :2]
        labels = dbscan(points, 0.75, 5)
        counts.append(labels.max() + 1)
        np.testing.assert_array_equal(labels, by_sklearn(points, 0.75, 5))
    assert counts[0] == pytest.approx(177, abs=3)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.booleans())
def test_footprints_match_shapely(seed: int, count: int, lattice: bool) -> None:
    import shapely

    rng = np.random.default_rng(seed)
    points = rng.integers(-4, 5, (count, 2)).astype(np.float64) if lattice else rng.normal(0, 3, (count, 2))
    labels = rng.integers(-1, 3, count)
    labels = np.unique(np.append(labels, -1), return_inverse=True)[1][:-1] - 1  # no number left out
    areas, ratios = footprints(points, labels)
    assert len(areas) == len(ratios) == labels.max() + 1
    for s, (area, ratio) in enumerate(zip(areas, ratios, strict=True)):
        cloud = shapely.MultiPoint(points[labels == s])
        assert area == pytest.approx(cloud.convex_hull.area, abs=1e-9)
        if cloud.convex_hull.geom_type != "Polygon":
            assert ratio == 0
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            corners = np.array(shapely.minimum_rotated_rectangle(cloud).exterior.coords)
        sides = np.linalg.norm(np.diff(corners[:3], axis=0), axis=1)
        # Of several rectangles of the same least area either may be chosen: compare where it is one.
        hull = np.array(cloud.convex_hull.exterior.coords)
        rectangles = sorted(_rectangles(hull))
        assert rectangles[0][0] == pytest.approx(sides.prod())
        ties = [r for a, r in rectangles if a < rectangles[0][0] * (1 + 1e-9)]
        assert any(ratio == pytest.approx(r) for r in ties)


def _rectangles(ring: np.ndarray) -> list[tuple[float, float]]:
    """Area and side ratio of the rectangle along each edge of a closed ring."""
    found = []
    for a, b in pairwise(ring):
        angle = np.arctan2(*(b - a)[::-1])
        c, s = np.cos(angle), np.sin(angle)
        sides = np.ptp(ring @ np.array([[c, -s], [s, c]]), axis=0)
        found.append((float(sides.prod()), float(sides.min() / sides.max())))
    return found
