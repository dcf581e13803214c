"""Ground against a plain loop of the published procedure, and on scenes whose ground is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pc3d.regions.ground import GroundParams, ground_mask
from pc3d.regions.lidar_regions import RegionParams

HEIGHT = 1.84


def ground_by_loop(points: np.ndarray, height: float) -> tuple[list[bool], float]:
    """The procedure point by point in Python floats; the plane by SVD of the seeds.

    And how far from its plane's limit the closest decision was taken, in metres.
    """
    ground, margin = [False] * len(points), np.inf
    for k in range(11):
        low, high = -54.0 + 10.0 * k, -54.0 + 10.0 * (k + 1)
        slab = [i for i, p in enumerate(points) if low <= p[0] < high and abs(p[0]) <= 54 and abs(p[1]) <= 54]
        if len(slab) < 50:
            continue
        candidates = [i for i in slab if points[i][2] >= -height - 0.5]
        lowest = sorted(points[i][2] for i in candidates)[:50]
        if not lowest:
            continue
        representative = sum(lowest) / len(lowest)
        seeds = [i for i in candidates if points[i][2] < representative + 0.5]
        for _ in range(5):
            if len(seeds) < 3:
                seeds = []
                break
            mean = np.mean([points[i] for i in seeds], axis=0)
            normal = np.linalg.svd(np.array([points[i] - mean for i in seeds]))[2][2]
            normal = normal if normal[2] >= 0 else -normal
            d = -sum(normal[c] * mean[c] for c in range(3))
            over = {i: sum(normal[c] * points[i][c] for c in range(3)) + d - 0.2 for i in slab}
            margin = min(margin, *(abs(o) for o in over.values()))
            seeds = [i for i in slab if over[i] < 0]
        for i in seeds:
            ground[i] = True
    return ground, margin


def scene(rng: np.random.Generator, slope: float = 0.0, count: int = 800) -> tuple[np.ndarray, np.ndarray]:
    """Points on a noisy road and on blocks upon it, and which are road."""
    xy = rng.uniform(-60, 60, (count, 2))
    road = rng.random(count) < 0.6
    z = -HEIGHT + slope * xy[:, 0] + rng.normal(0, 0.02, count)
    z = np.where(road, z, z + rng.uniform(0.6, 3.0, count))
    return np.c_[xy, z], road


@pytest.mark.parametrize("seed", range(4))
def test_matches_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, _ = scene(rng, slope=0.03)
    points[:20, 2] -= 4.0  # reflections below the road
    points[points[:, 0] > 40] = [41.0, 0.0, 0.0]  # a slab of one place
    expected, margin = ground_by_loop(points, HEIGHT)
    assert margin > 1e-6, "rounding decides nothing"
    np.testing.assert_array_equal(ground_mask(points, HEIGHT), expected)


@pytest.mark.parametrize("slope", [-0.04, 0.0, 0.04])
def test_finds_a_tilted_road(slope: float) -> None:
    points, road = scene(np.random.default_rng(1), slope, 4000)
    near = (np.abs(points[:, :2]) < 44).all(axis=1)
    found = ground_mask(points, HEIGHT)
    # On 0.04 the far slabs leave the candidates' band (0.5 m) on one side only beyond 12 m.
    wanted = near if slope == 0 else near & (points[:, 2] > -HEIGHT - 0.4)
    assert (found == road)[wanted].mean() > 0.98


def test_neither_order_nor_shape_nor_precision_matter() -> None:
    rng = np.random.default_rng(2)
    points, _ = scene(rng)
    points = points.astype(np.float32)
    order = rng.permutation(len(points))
    found = ground_mask(points, HEIGHT)
    np.testing.assert_array_equal(ground_mask(points[order], HEIGHT), found[order])
    np.testing.assert_array_equal(ground_mask(points.astype(np.float64), HEIGHT), found)
    np.testing.assert_array_equal(ground_mask(np.c_[points, points], HEIGHT), found)


def test_extremes() -> None:
    rng = np.random.default_rng(3)
    assert ground_mask(np.empty((0, 4), np.float32), HEIGHT).shape == (0,)
    flat = np.c_[rng.uniform(-50, 50, (5000, 2)), np.full(5000, -HEIGHT)]
    assert ground_mask(flat, HEIGHT).all()
    assert not ground_mask(flat[:40], HEIGHT).any(), "too few points for a plane"
    assert not ground_mask(flat - np.array([0, 0, 3.0]), HEIGHT).any(), "all below the candidates"
    assert not ground_mask(flat + np.array([200.0, 0, 0]), HEIGHT).any(), "out of range"


def test_rejects_bad_input() -> None:
    points = np.zeros((3, 3))
    points[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"1 of 3 points .* not finite \(first: row 1\)"):
        ground_mask(points, HEIGHT)
    with pytest.raises(ValueError, match=r"expected \(P, >= 3\)"):
        ground_mask(np.zeros((3, 2)), HEIGHT)
    with pytest.raises(ValueError, match="slab_width"):
        GroundParams(slab_width=0.0)
    with pytest.raises(ValueError, match="'and' or 'or'"):
        RegionParams(ego_filter="xor")  # type: ignore[arg-type]


def test_share_on_a_real_sweep(real_data: Path) -> None:
    file = next((real_data / "nuscenes" / "samples" / "LIDAR_TOP").iterdir())
    points = np.fromfile(file, np.float32).reshape(-1, 5)
    assert 1 - ground_mask(points, HEIGHT).mean() == pytest.approx(0.52, abs=0.01)


def test_patchwork_is_optional(real_data: Path) -> None:
    file = next((real_data / "nuscenes" / "samples" / "LIDAR_TOP").iterdir())
    points = np.fromfile(file, np.float32).reshape(-1, 5)
    params = GroundParams(ground="patchwork")
    try:
        import pypatchworkpp  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match=r"pc3d\[patchwork\]"):
            ground_mask(points, HEIGHT, params)
        return
    agreement = (ground_mask(points, HEIGHT, params) == ground_mask(points, HEIGHT)).mean()
    assert agreement > 0.8
