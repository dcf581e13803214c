"""Voxels, segments, BEV cells and samples against plain float64 loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from pc3d.geometry.grid import BevGrid
from pc3d.ops.bev import scatter_bev
from pc3d.ops.interpolate import sample_bev, sample_images, sample_voxels
from pc3d.ops.segment import segment_counts, segment_max, segment_mean, segment_sum
from pc3d.ops.voxelize import VoxelGrid, voxelize

RANGE = (-3.0, -2.0, -1.0, 3.0, 4.0, 2.0)
GRID = BevGrid(-3.0, 3.0, -2.0, 4.0, 0.5)
seeds = st.integers(0, 10_000)


def cloud(seed: int, count: int = 60, spread: float = 4.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    xyz = (torch.rand(count, 3, generator=generator) * 2 - 1) * spread
    return xyz, torch.randint(0, 2, (count,), generator=generator).sort().values


# ---------------------------------------------------------------- segments


@settings(max_examples=25, deadline=None)
@given(seed=seeds, rows=st.integers(0, 30), segments=st.integers(1, 6))
def test_segment_reductions_match_loops(seed: int, rows: int, segments: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, 3, generator=generator)
    index = torch.randint(-1, segments, (rows,), generator=generator)
    mean, counts = segment_mean(features, index, segments)
    total, largest = segment_sum(features, index, segments), segment_max(features, index, segments)
    assert torch.equal(counts, segment_counts(index, segments))
    for s in range(segments):
        members = features.double().numpy()[(index == s).numpy()]
        assert int(counts[s]) == len(members)
        if len(members) == 0:
            assert not mean[s].any()
            assert not total[s].any()
            assert not largest[s].any()
            continue
        np.testing.assert_allclose(total[s].numpy(), members.sum(0), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(mean[s].numpy(), members.mean(0), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(largest[s].numpy(), members.max(0))


def test_segment_gradients() -> None:
    features = torch.randn(12, 2, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([0, 1, 1, -1, 3, 3, 3, 0, -1, 1, 3, 0])
    assert torch.autograd.gradcheck(lambda f: segment_mean(f, index, 5)[0], features)
    assert torch.autograd.gradcheck(lambda f: segment_sum(f, index, 5), features)
    assert torch.autograd.gradcheck(lambda f: segment_max(f, index, 5), features)


def test_half_precision_is_accumulated_in_float32() -> None:
    features = torch.full((4096, 1), 1.0, dtype=torch.float16)
    total = segment_sum(features, torch.zeros(4096, dtype=torch.long), 1)
    assert total.dtype == torch.float32
    assert float(total) == 4096.0


def test_segment_lengths_must_fit() -> None:
    with pytest.raises(ValueError, match=r"expected \(M, C\) and \(M,\)"):
        segment_sum(torch.zeros(3, 2), torch.zeros(4, dtype=torch.long), 1)


# ---------------------------------------------------------------- voxels


def cell_of(*values: float) -> list[int]:
    """Their floors; float32 decides at a border."""
    assume(all(abs(value - round(value)) > 1e-4 for value in values))
    return [math.floor(value) for value in values]


@settings(max_examples=15, deadline=None)
@given(seed=seeds, kind=st.sampled_from(["cubic", "cylinder"]))
def test_voxels_match_a_loop(seed: int, kind: str) -> None:
    xyz, batch = cloud(seed)
    size = (0.5, 0.5, 0.5) if kind == "cubic" else (0.5, 30.0, 0.5)
    voxels = voxelize(xyz, batch, 2, VoxelGrid(size, RANGE, kind))
    seen = set()
    for i, (x, y, z) in enumerate(xyz.double().tolist()):
        inside = -3 <= x < 3 and -2 <= y < 4 and -1 <= z < 2
        assert bool(voxels.valid[i]) == inside
        if not inside:
            assert int(voxels.index[i]) == -1
            continue
        if kind == "cubic":
            want = cell_of((z + 1) / 0.5, (y + 2) / 0.5, (x + 3) / 0.5)
        else:
            phi = math.degrees(math.atan2(y, x))
            want = cell_of((z + 1) / 0.5, (phi + 180) / 30, math.hypot(x, y) / 0.5)
        assert voxels.coords[voxels.index[i]].tolist() == [int(batch[i]), *want]
        seen.add((int(batch[i]), *want))
    assert len(voxels) == len(seen)
    assert (voxels.coords[:, 1:] < torch.tensor(voxels.shape)).all()


@pytest.mark.parametrize("kind", ["cubic", "cylinder"])
def test_voxel_centre_lies_in_its_voxel(kind: str) -> None:
    xyz, batch = cloud(3)
    grid = VoxelGrid(
        (0.25, 0.25, 0.25) if kind == "cubic" else (0.25, 5.0, 0.25), (-9, -9, -9, 9, 9, 9), kind
    )
    voxels = voxelize(xyz, batch, 2, grid)
    again = voxelize(grid.centers(voxels.coords), voxels.coords[:, 0], 2, grid)
    assert torch.equal(again.coords, voxels.coords)


def test_voxels_do_not_depend_on_the_order_of_the_points() -> None:
    xyz, batch = cloud(5)
    grid = VoxelGrid((0.5, 0.5, 0.5), RANGE)
    order = torch.randperm(len(xyz), generator=torch.Generator().manual_seed(0))
    first, second = voxelize(xyz, batch, 2, grid), voxelize(xyz[order], batch[order], 2, grid)
    assert torch.equal(first.coords, second.coords)
    assert torch.equal(first.index[order], second.index)


def test_nan_points_have_no_voxel() -> None:
    xyz = torch.tensor([[0.0, float("nan"), 0.0], [0.0, 0.0, float("inf")], [0.0, 0.0, 0.0]])
    voxels = voxelize(xyz, torch.zeros(3, dtype=torch.long), 1, VoxelGrid((1, 1, 1), RANGE))
    assert voxels.valid.tolist() == [False, False, True]


def test_shape_is_not_off_by_rounding() -> None:
    assert VoxelGrid((0.1, 0.1, 0.1), (-54, -54, -5, 54, 54, 3)).shape == (80, 1080, 1080)
    assert VoxelGrid((0.075, 0.075, 0.2), (-54, -54, -5, 54, 54, 3)).shape == (40, 1440, 1440)
    assert VoxelGrid((0.1, 1.0, 0.1), (-50, -50, -5, 50, 50, 3), "cylinder").shape[1] == 360


def test_bad_voxel_grids_are_refused() -> None:
    with pytest.raises(ValueError, match="known: cubic, cylinder"):
        VoxelGrid((1, 1, 1), RANGE, "sphere")
    with pytest.raises(ValueError, match="empty voxel grid"):
        VoxelGrid((0, 1, 1), RANGE)


@pytest.mark.parametrize("kind", ["cubic", "cylinder"])
def test_without_a_range_voxels_begin_at_multiples_of_their_size(kind: str) -> None:
    """As MinkowskiEngine cuts: floors of x / size, and coarser levels by floors of those."""
    size = (0.1, 1.0, 0.1) if kind == "cylinder" else (0.1, 0.1, 0.1)
    xyz, batch = cloud(3, 500, spread=90.0)
    xyz[:, 2] /= 20
    grid = VoxelGrid(size, None, kind)
    voxels = voxelize(xyz, batch, 2, grid)
    along = xyz
    if kind == "cylinder":
        along = torch.stack(
            (xyz[:, 0].hypot(xyz[:, 1]), xyz[:, 1].atan2(xyz[:, 0]) * 180 / np.pi, xyz[:, 2]), 1
        )
    want = torch.floor(along / torch.tensor(size)).long()
    got = voxels.coords[voxels.index][:, [3, 2, 1]]
    shift = got[0] - want[0]
    assert torch.equal(got - want, shift.expand_as(want))
    assert not (shift % 16).any()
    assert bool((grid.centers(voxels.coords)[voxels.index] - xyz).norm(dim=1).max() < 1.2)
    far = torch.tensor([[409.0, 0.0, 0.0], [410.0, 0.0, 0.0], [0.0, 0.0, -52.0], [np.nan, 0.0, 0.0]])
    assert voxelize(far, torch.zeros(4).long(), 1, grid).valid.tolist() == [True, False, False, False]


# ---------------------------------------------------------------- BEV cells and samples


def test_scatter_bev_matches_a_loop() -> None:
    xyz, batch = cloud(1, 200)
    features = torch.randn(200, 3, generator=torch.Generator().manual_seed(1))
    got = scatter_bev(features, xyz[:, :2], batch, 2, GRID)
    total = np.zeros((2, 3, GRID.rows, GRID.cols))
    count = np.zeros((2, 1, GRID.rows, GRID.cols))
    for (x, y, _), b, f in zip(xyz.double().tolist(), batch.tolist(), features.double().numpy(), strict=True):
        row, col = math.floor((y + 2) / 0.5), math.floor((x + 3) / 0.5)
        if 0 <= row < GRID.rows and 0 <= col < GRID.cols:
            total[b, :, row, col] += f
            count[b, :, row, col] += 1
    np.testing.assert_allclose(got.numpy(), total / np.maximum(count, 1), rtol=1e-5, atol=1e-5)


def bilinear(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """(C,) of (C, H, W) in float64, cell centres at + 0.5, the border continued."""
    _, height, width = image.shape
    x, y = min(max(x - 0.5, 0), width - 1), min(max(y - 0.5, 0), height - 1)
    value = np.zeros(len(image))
    for i in range(height):
        for j in range(width):
            value += image[:, i, j] * max(0.0, 1 - abs(y - i)) * max(0.0, 1 - abs(x - j))
    return value


def test_sample_bev_matches_a_loop() -> None:
    xyz, batch = cloud(2)
    bev = torch.randn(2, 3, GRID.rows, GRID.cols, generator=torch.Generator().manual_seed(2))
    got, valid = sample_bev(bev, GRID, xyz[:, :2], batch)
    for i, (x, y, _) in enumerate(xyz.double().tolist()):
        inside = -3 <= x < 3 and -2 <= y < 4
        assert bool(valid[i]) == inside
        want = (
            bilinear(bev[batch[i]].double().numpy(), (x + 3) / 0.5, (y + 2) / 0.5) if inside else np.zeros(3)
        )
        np.testing.assert_allclose(got[i].numpy(), want, rtol=1e-4, atol=1e-5)


def test_a_cell_centre_gives_its_cell() -> None:
    bev = torch.arange(GRID.rows * GRID.cols, dtype=torch.float32).view(1, 1, GRID.rows, GRID.cols)
    row, col = 3, 7
    xy = torch.tensor([[GRID.x_min + (col + 0.5) * GRID.cell, GRID.y_min + (row + 0.5) * GRID.cell]])
    got, valid = sample_bev(bev, GRID, xy, torch.zeros(1, dtype=torch.long))
    assert float(got) == pytest.approx(row * GRID.cols + col)
    assert valid.all()


def test_sample_bev_refuses_another_grid() -> None:
    with pytest.raises(ValueError, match="on a grid of"):
        sample_bev(torch.zeros(1, 1, 3, 3), GRID, torch.zeros(1, 2), torch.zeros(1, dtype=torch.long))


def test_sample_images_matches_a_stretched_map() -> None:
    generator = torch.Generator().manual_seed(3)
    maps = torch.randn(2, 3, 5, 8, generator=generator)
    uv = torch.rand(40, 2, generator=generator) * torch.tensor([128.0, 80.0])
    index = torch.randint(0, 2, (40,), generator=generator)
    got = sample_images(maps, index, uv, (80, 128))
    for i, (u, v) in enumerate(uv.double().tolist()):
        want = bilinear(maps[index[i]].double().numpy(), u / 16, v / 16)
        np.testing.assert_allclose(got[i].numpy(), want, rtol=1e-4, atol=1e-5)
    # At pixel centres it is what torch's upsampling gives.
    dense = torch.nn.functional.interpolate(maps, (80, 128), mode="bilinear", align_corners=False)
    centres = torch.tensor([[10.5, 3.5], [0.5, 0.5], [127.5, 79.5]])
    got = sample_images(maps, torch.tensor([1, 1, 1]), centres, (80, 128))
    torch.testing.assert_close(got, dense[1][:, [3, 0, 79], [10, 0, 127]].T)


def test_samples_are_differentiable() -> None:
    xyz, batch = cloud(4, 10)
    bev = torch.randn(2, 2, GRID.rows, GRID.cols, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m: sample_bev(m, GRID, xyz[:, :2].double(), batch)[0], bev)
    rows = torch.randn(10, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: scatter_bev(f, xyz[:, :2].double(), batch, 2, GRID), rows)


@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_sample_voxels_matches_a_loop(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = (3, 4, 5)
    coords = (torch.rand(2, *shape, generator=generator) < 0.4).nonzero()
    coords = coords[torch.randperm(len(coords), generator=generator)]
    features = torch.randn(len(coords), 2, generator=generator)
    xyz = torch.rand(20, 3, generator=generator) * torch.tensor([5.0, 4.0, 3.0])
    batch = torch.randint(0, 2, (20,), generator=generator)
    got = sample_voxels(features, coords, shape, xyz, batch)
    for i in range(20):
        value, weight = np.zeros(2), 0.0
        for (b, z, y, x), f in zip(coords.tolist(), features.double().numpy(), strict=True):
            distance = np.abs(xyz[i].double().numpy() - 0.5 - [x, y, z])
            w = float(np.prod(np.maximum(0, 1 - distance))) * (b == int(batch[i]))
            value, weight = value + w * f, weight + w
        if weight > 1e-4:
            np.testing.assert_allclose(got[i].numpy(), value / weight, rtol=1e-3, atol=1e-4)
        elif weight == 0:
            assert not got[i].any()
