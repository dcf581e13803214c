"""Hand-made statistics against scipy's tree and numpy's eigenvectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pc3d.data.local_statistics import HAND_MADE, LENGTHS, NAMES, hand_made, local_statistics
from pc3d.geometry.rigid import yaw_matrix

NORMALS = [NAMES.index("normal_horizontal"), NAMES.index("normal_z")]
OTHERS = [number for number in range(len(NAMES)) if number not in NORMALS]


def plain(points: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """(P, 13) statistics, (P,) |x| of the normals, (P,) how sure the normal is, in float64 with LAPACK."""
    wide = points.astype(np.float64)
    count = len(points)
    near = cKDTree(wide[:, :3]).query(wide[:, :3], min(16, count))[1].reshape(count, -1)
    beside = cKDTree(wide[:, :2]).query(wide[:, :2], min(32, count))[1].reshape(count, -1)
    rows, normal_x, sure = [], [], []
    for p in range(count):
        cloud, z = wide[near[p]], wide[beside[p], 2]
        values, axes = np.linalg.eigh(np.cov(cloud[:, :3].T, bias=True).reshape(3, 3))
        roots = np.sqrt(np.clip(values[::-1], 0, None))
        shares = roots[[0, 2]] / roots.sum() if roots.sum() > 0 else (0.0, 0.0)
        normal = axes[:, 0] * (values[1] > 1e-12 * values[2])
        distance = np.linalg.norm(cloud[:, :3] - wide[p, :3], axis=1).max()
        height = (wide[p, 2] - z.min(), z.max() - wide[p, 2])
        spread = (cloud[:, 2].std(), cloud[:, 3].mean(), cloud[:, 3].std())
        rows.append([*roots, *shares, np.hypot(*normal[:2]), abs(normal[2]), distance, *height, *spread])
        normal_x.append(abs(normal[0]))
        sure.append((values[1] - values[0]) / max(values[2], 1e-30))
    return np.array(rows), np.array(normal_x), np.array(sure)


def cloud(seed: int, count: int) -> NDArray:
    """Points on walls and on a rough ground, and a few in the air."""
    rng = np.random.default_rng(seed)
    xyz = rng.uniform(-8, 8, (count, 3))
    xyz[: count // 2, 2] = rng.normal(-1.7, 0.02, count // 2)
    xyz[count // 2 : 3 * count // 4, 0] = 4 + rng.normal(0, 0.02, 3 * count // 4 - count // 2)
    return np.column_stack([xyz, rng.random(count)]).astype(np.float32)


def tied(points: NDArray, k: int) -> NDArray[np.bool_]:
    """Whether the neighbour after the k-th is as far as that one."""
    distance = cKDTree(points.astype(np.float64)).query(points.astype(np.float64), k + 1)[0]
    return distance[:, k] - distance[:, k - 1] < 1e-9


def check(points: NDArray, chosen: NDArray | slice = slice(None)) -> None:
    expected, normal_x, sure = (array[chosen] for array in plain(points))
    found, reference = local_statistics(points)[chosen], hand_made(points)[chosen]
    points = points[chosen]
    assert found.dtype == reference.dtype == np.float32
    np.testing.assert_allclose(found[:, OTHERS], expected[:, OTHERS], rtol=1e-5, atol=1e-5)
    clear = sure > 1e-3  # where two axes are about as short, rounding chooses between them
    np.testing.assert_allclose(found[clear][:, NORMALS], expected[clear][:, NORMALS], atol=1e-4)
    column = HAND_MADE.index("normal_x")
    np.testing.assert_allclose(reference[clear, column], normal_x[clear], atol=1e-4)
    own = np.column_stack([points[:, 2:4], np.linalg.norm(points[:, :2].astype(float), axis=1)])
    np.testing.assert_allclose(reference[:, :3], own, rtol=1e-6)
    same = [HAND_MADE.index(name) for name in NAMES if name != "normal_horizontal"]
    kept = [number for number, name in enumerate(NAMES) if name != "normal_horizontal"]
    np.testing.assert_array_equal(reference[:, same], found[:, kept])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 90))
def test_small_clouds_as_scipy_and_lapack_have_them(seed: int, count: int) -> None:
    check(cloud(seed, count))


def test_a_real_sweep_as_scipy_and_lapack_have_it(real_data: Path) -> None:
    file = next(iter(sorted((real_data / "nuscenes/samples/LIDAR_TOP").glob("*.bin"))))
    points = np.fromfile(file, np.float32).reshape(-1, 5)[::9, :4]
    points[:, 3] /= 255
    points = np.unique(points, axis=0)
    # Of points that are equally far scipy takes which it likes.
    check(points, ~(tied(points[:, :3], 16) | tied(points[:, :2], 32)))


def test_names() -> None:
    assert len(NAMES) == len(LENGTHS) == 13
    assert len(set(HAND_MADE)) == 16
    assert sum("intensity" in name for name in HAND_MADE) == 3


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    yaw=st.floats(-np.pi, np.pi),
    scale=st.sampled_from([0.5, 0.9, 1.0, 2.0]),
    signs=st.sampled_from([(1, 1), (-1, 1), (1, -1), (-1, -1)]),
)
def test_turned_mirrored_scaled_and_moved(
    seed: int, yaw: float, scale: float, signs: tuple[int, int]
) -> None:
    points = cloud(seed, 70)
    moved = points.copy()
    matrix = scale * yaw_matrix(yaw) @ np.diag([*signs, 1.0])
    moved[:, :3] = points[:, :3].astype(np.float64) @ matrix.T + [3.0, -2.0, 1.0]
    sure = plain(points)[2] > 1e-3
    expected = np.where(LENGTHS, np.float32(scale), np.float32(1)) * local_statistics(points)
    found = local_statistics(moved)
    np.testing.assert_allclose(found[:, OTHERS], expected[:, OTHERS], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[sure], expected[sure], rtol=1e-3, atol=1e-3)


def test_a_plane_a_line_one_place_one_point_and_none() -> None:
    rng = np.random.default_rng(0)
    zeros = np.zeros((50, 1))
    wall = np.column_stack([rng.random(50), zeros, rng.random(50), zeros]).astype(np.float32)
    statistics = local_statistics(wall)
    np.testing.assert_allclose(statistics[:, NAMES.index("root_3")], 0, atol=1e-7)
    np.testing.assert_allclose(statistics[:, NORMALS], [[1, 0]] * 50, atol=1e-6)
    line = np.column_stack([np.arange(50), zeros, zeros, zeros]).astype(np.float32)
    statistics = local_statistics(line)
    np.testing.assert_array_equal(statistics[:, NAMES.index("largest_share")], 1)
    np.testing.assert_array_equal(statistics[:, NORMALS], 0)
    one_place = np.tile(np.float32([1.5, -2.5, 0.5, 0.25]), (40, 1))
    for count in (40, 1):
        statistics = local_statistics(one_place[:count])
        assert (statistics[:, NAMES.index("mean_intensity")] == 0.25).all()
        assert np.count_nonzero(statistics) == count
    assert local_statistics(one_place[:0]).shape == (0, 13)
    assert hand_made(one_place[:0]).shape == (0, 16)


def test_asked_rows_have_what_all_have() -> None:
    points, asked = cloud(5, 200), np.array([7, 199, 7, 0])
    np.testing.assert_array_equal(local_statistics(points, asked), local_statistics(points)[asked])
    np.testing.assert_array_equal(hand_made(points, asked), hand_made(points)[asked])
    assert hand_made(points, asked[:0]).shape == (0, 16)


def test_what_is_no_cloud_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(P, 4 or more\)"):
        local_statistics(np.zeros((5, 3), np.float32))
    broken = cloud(0, 20)
    broken[3, 3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        hand_made(broken)
