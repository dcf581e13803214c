"""Keys of cells, their neighbourhoods, and cells along rays, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pc3d.ops.cells import (
    cell_keys,
    cells_around,
    cells_of,
    cells_of_keys,
    crossed_cells,
    nearest_cells,
    offsets,
)

Cell = tuple[int, ...]


def random_cells(seed: int, count: int, side: int) -> NDArray[np.int64]:
    return np.unique(np.random.default_rng(seed).integers(-side, side, (count, 3)), axis=0)


def as_set(keys: NDArray[np.int64]) -> set[Cell]:
    return {tuple(cell) for cell in cells_of_keys(keys).tolist()}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), count=st.integers(1, 30))
def test_keys_are_the_cells_in_the_order_of_z_y_x(seed: int, count: int) -> None:
    cells = random_cells(seed, count, 900_000)
    keys = cell_keys(cells)
    assert cells_of_keys(keys).tolist() == cells.tolist()
    by_key = cells[np.argsort(keys)]
    assert by_key.tolist() == sorted(cells.tolist(), key=lambda cell: cell[::-1])
    assert cells_of(np.array([[-0.1, 0.0, 0.39]]), 0.2).tolist() == [[-1, 0, 1]]


def test_what_no_key_can_say() -> None:
    with pytest.raises(ValueError, match="take larger cells"):
        cell_keys(np.array([[0, 0, 1 << 20]]))
    for kernel in (1, 4, 65):
        with pytest.raises(ValueError, match="expected an odd number"):
            offsets(kernel)


def test_one_visible_cell_has_728_others_around_it() -> None:
    around = cells_around(cell_keys(np.array([[3, -2, 5]])), 9)
    assert len(around) == 728
    assert (3, -2, 5) not in as_set(around)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), count=st.integers(1, 60), kernel=st.sampled_from([3, 5]))
def test_the_cells_around_are_those_of_a_loop(seed: int, count: int, kernel: int) -> None:
    cells = random_cells(seed, count, 8)
    half, own = kernel // 2, {tuple(cell) for cell in cells.tolist()}
    wanted = {
        (x + i, y + j, z + k)
        for x, y, z in own
        for i in range(-half, half + 1)
        for j in range(-half, half + 1)
        for k in range(-half, half + 1)
    } - own
    found = cells_around(cell_keys(cells), kernel)
    assert as_set(found) == wanted
    assert len(found) == len(wanted)
    assert (np.diff(found) > 0).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), count=st.integers(1, 80), most=st.integers(1, 9))
def test_the_nearest_cells_are_those_of_a_loop(seed: int, count: int, most: int) -> None:
    cells, asked = random_cells(seed, count, 4), random_cells(seed + 1, 20, 5)
    found = nearest_cells(cell_keys(asked), cell_keys(cells), 5, most)
    for q, rows in zip(asked, found, strict=True):
        apart = cells - q
        near = [n for n in range(len(cells)) if 0 < np.abs(apart[n]).max() <= 2]
        near.sort(key=lambda n: ((apart[n] ** 2).sum(), *apart[n][::-1]))
        near = near[:most]
        assert rows.tolist() == near + [-1] * (most - len(near))


def overlap(start: NDArray, end: NDArray, low: NDArray, high: NDArray) -> float:
    """Length of the part of a segment inside a box, negative where it passes by."""
    enter, leave = 0.0, 1.0
    for axis in range(3):
        along = end[axis] - start[axis]
        if along == 0:
            if not low[axis] <= start[axis] < high[axis]:
                return -1.0
            continue
        a, b = (low[axis] - start[axis]) / along, (high[axis] - start[axis]) / along
        enter, leave = max(enter, min(a, b)), min(leave, max(a, b))
    return float((leave - enter) * np.linalg.norm(end - start))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 9999), size=st.sampled_from([0.2, 0.5, 1.3]), flat=st.booleans())
def test_crossed_cells_are_those_that_a_segment_lies_in(seed: int, size: float, flat: bool) -> None:
    rng = np.random.default_rng(seed)
    origins, ends = rng.uniform(-2, 2, (2, 3, 3))
    if flat:
        ends[:, rng.integers(3)] = origins[:, rng.integers(3)]
    side = np.arange(-4, 4)
    cells = np.stack(np.meshgrid(side, side, side), axis=-1).reshape(-1, 3)
    crossed = crossed_cells(origins, ends, cell_keys(cells), size)
    stops = {tuple(cell) for cell in cells_of(ends, size).tolist()}
    for cell, found in zip(cells, crossed, strict=True):
        low, high = cell * size, (cell + 1) * size
        inside = max(overlap(a, b, low, high) for a, b in zip(origins, ends, strict=True))
        if inside < -1e-9:
            assert not found
        elif inside > 1e-9 and tuple(cell) not in stops:
            assert found


def test_a_ray_ends_in_front_of_what_it_met() -> None:
    keys = cell_keys(np.array([[n, 0, 0] for n in range(-2, 9)]))
    crossed = crossed_cells(np.array([[0.1, 0.1, 0.1]]), np.array([[1.1, 0.1, 0.1]]), keys, 0.2)
    assert crossed.tolist() == [False, False, *[True] * 5, *[False] * 4]


def test_rays_of_nowhere_pass_nothing() -> None:
    keys = cell_keys(np.array([[0, 0, 0], [1, 0, 0]]))
    places = np.array([[0.5, 0.5, 0.5]])
    for bad in (np.nan, np.inf, 1e12):
        assert not crossed_cells(places, np.full((1, 3), bad), keys, 1.0).any()
        assert not crossed_cells(np.full((1, 3), bad), places, keys, 1.0).any()
    assert not crossed_cells(places[:0], places[:0], keys, 1.0).any()
