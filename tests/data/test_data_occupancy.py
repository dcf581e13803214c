"""Masked views of a sweep and what is asked of them, against plain loops over the points."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.data.batch import Batch, Needs, named_tensors
from pc3d.data.batch_plain import batch_from_plain, batch_to_plain
from pc3d.data.collate import collate
from pc3d.data.dataset import FrameDataset
from pc3d.data.frame_types import FrameConfig
from pc3d.data.index import SweepIndex
from pc3d.data.masking import CellMask
from pc3d.data.occupancy import OccupancySettings, QuerySample, masked_queries, scale_queries, twins
from pc3d.data.records import Float32, Lidar
from pc3d.data.sweeps import stack_rays, stack_sweeps
from pc3d.data.transforms import CALICO_AUGMENTATION, PointAugmentation, PointFilter
from pc3d.geometry.rigid import make_SE3
from pc3d.ops.cells import cells_of, cells_of_keys

SETTINGS = OccupancySettings(CellMask(cell=0.5, scales=2), kernel=3, neighbours=4, empties=2)


def cloud(seed: int, count: int = 300, side: float = 3.0) -> Float32:
    return np.random.default_rng(seed).uniform(-side, side, (count, 3)).astype(np.float32)


def test_the_masked_share_is_that_of_the_hierarchy() -> None:
    """Within three deviations of 1 - (1 - r)^S, from the spread of independent draws."""
    side = np.arange(0.05, 3.2, 0.1)
    xyz = np.stack(np.meshgrid(side, side, side[:8]), axis=-1).reshape(-1, 3)
    mask = CellMask(cell=0.1, scales=3, ratio=0.7)
    assert mask.share == pytest.approx(1 - 0.3 ** (1 / 3))
    shares = [mask.masked(xyz, np.random.default_rng(seed)).mean() for seed in range(60)]
    error = np.std(shares) / math.sqrt(len(shares))
    assert abs(np.mean(shares) - 0.7) < 3 * error
    assert error < 0.01


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), scales=st.integers(1, 3))
def test_a_cell_is_masked_with_all_its_points_and_by_where_they_are(seed: int, scales: int) -> None:
    xyz, mask = cloud(seed), CellMask(cell=0.6, scales=scales)
    masked = mask.masked(xyz, np.random.default_rng(seed))
    state: dict[tuple[int, ...], bool] = {}
    for cell, hidden in zip(cells_of(xyz, 0.6).tolist(), masked.tolist(), strict=True):
        assert state.setdefault(tuple(cell), hidden) == hidden
    order = np.random.default_rng(1).permutation(len(xyz))
    assert (mask.masked(xyz[order], np.random.default_rng(seed)) == masked[order]).all()


def test_a_masked_coarse_cell_hides_all_that_is_in_it() -> None:
    xyz = cloud(0, 4000, 2.0)
    coarsest = cells_of(xyz, 2.0)
    hidden = CellMask(cell=0.25, scales=4, ratio=0.9).masked(xyz, np.random.default_rng(3))
    fine_only = CellMask(cell=0.25, scales=1, ratio=0.438).masked(xyz, np.random.default_rng(3))
    shares = [
        [masked[(coarsest == cell).all(axis=1)].mean() for cell in np.unique(coarsest, axis=0)]
        for masked in (hidden, fine_only)
    ]
    assert 1.0 in shares[0]
    assert 1.0 not in shares[1]


def looped(
    xyz: Float32, visible: list[bool], asked: QuerySample, size: float, half: int, origins: Float32
) -> None:
    """Check every query against a loop over points, and that none is missing."""
    points: dict[tuple[int, ...], list[list[float]]] = {}
    seen: set[tuple[int, ...]] = set()
    for p, shown in zip(xyz.tolist(), visible, strict=True):
        cell = tuple(math.floor(x / size) for x in p)
        points.setdefault(cell, []).append(p)
        if shown:
            seen.add(cell)
    wanted = {
        cell
        for cell in points
        if cell not in seen
        and any(max(abs(a - b) for a, b in zip(cell, s, strict=True)) <= half for s in seen)
    }
    cells = [tuple(cell) for cell in cells_of_keys(asked.key).tolist()]
    assert {cell for cell, taken in zip(cells, asked.occupied, strict=True) if taken} == wanted
    rows = sorted(seen, key=lambda cell: cell[::-1])
    assert asked.num_cells == len(rows)
    shown = [p for p, s in zip(xyz.tolist(), visible, strict=True) if s]
    assert [rows[n] for n in asked.cell] == [tuple(math.floor(x / size) for x in p) for p in shown]
    for n, cell in enumerate(cells):
        assert cell not in seen
        assert asked.centre[n].tolist() == pytest.approx([(c + 0.5) * size for c in cell], abs=1e-5)
        inside = points.get(cell, [])
        assert asked.count[n] == len(inside)
        if inside:
            mean = [sum(axis) / len(inside) for axis in zip(*inside, strict=True)]
            off = [m / size - c - 0.5 for m, c in zip(mean, cell, strict=True)]
            assert asked.centroid[n].tolist() == pytest.approx(off, abs=1e-4)
            assert max(map(abs, off)) <= 0.5 + 1e-4
        else:
            assert not asked.centroid[n].any()
            assert any(passes(o, p, cell, size) for o, p in zip(origins, xyz, strict=True))
        for near in asked.neighbours[n]:
            assert near < 0 or max(abs(a - b) for a, b in zip(rows[near], cell, strict=True)) <= half


def passes(origin: Float32, end: Float32, cell: tuple[int, ...], size: float) -> bool:
    """Whether a ray comes within rounding of a cell, by small steps along it."""
    way = np.linspace(0, 1, 600)[:, None]
    places = origin + way * (end.astype(np.float64) - origin)
    off = np.abs(places / size - (np.array(cell) + 0.5)).max(axis=1)
    return bool(off.min() < 0.5 + 0.05)


@pytest.mark.parametrize("seed", range(3))
def test_queries_are_those_of_a_loop(seed: int) -> None:
    xyz, rng = cloud(seed, 120, 2.0), np.random.default_rng(seed)
    visible = rng.random(len(xyz)) < 0.4
    origins = np.zeros_like(xyz) + np.float32(0.3)
    asked = scale_queries(xyz, visible, origins, 0.5, replace(SETTINGS, empties=99), rng)
    looped(xyz, visible.tolist(), asked, 0.5, 1, origins)
    assert (asked.weight == 1).all()
    assert asked.num_known == len(asked.key) < asked.num_around
    assert not asked.occupied.all()


def test_what_no_ray_crossed_is_not_asked_for() -> None:
    xyz, visible = cloud(4, 200), np.arange(200) < 60
    nowhere = np.full_like(xyz, np.nan)
    asked = scale_queries(xyz, visible, nowhere, 0.5, SETTINGS, np.random.default_rng(0))
    assert asked.occupied.all()
    assert len(asked.key) == asked.num_known > 0


def test_masked_points_are_told_to_the_targets_only() -> None:
    """Where they lie within their cells, what they reflect, and that they are there: the view is the same."""
    xyz, rows = cloud(5), np.arange(300)
    kept, before = masked_queries(xyz, rows, 0 * xyz, SETTINGS, np.random.default_rng(0))
    hidden = np.setdiff1d(rows, kept)
    moved = xyz.copy()
    low = cells_of(xyz[hidden], 0.5) * 0.5
    moved[hidden] = (low + np.random.default_rng(1).uniform(0.01, 0.49, (len(hidden), 3))).astype(np.float32)
    same, after = masked_queries(moved, rows, 0 * xyz, SETTINGS, np.random.default_rng(0))
    assert (same == kept).all()
    assert all((a.cell == b.cell).all() for a, b in zip(before, after, strict=True))
    a, b = (
        {tuple(k): c for k, c in zip(q.centre.tolist(), q.centroid.tolist(), strict=True)}
        for q in (before[0], after[0])
    )
    assert any(a[cell] != b[cell] for cell in a.keys() & b.keys())


def test_the_order_of_the_points_changes_nothing() -> None:
    xyz = cloud(6)
    order = np.random.default_rng(0).permutation(300)
    settings_ = replace(SETTINGS, occupied=20)
    _, first = masked_queries(xyz, np.arange(300), 0 * xyz, settings_, np.random.default_rng(2))
    _, second = masked_queries(xyz[order], np.arange(300), 0 * xyz, settings_, np.random.default_rng(2))
    for a, b in zip(first, second, strict=True):
        for name in ("key", "occupied", "weight", "count", "neighbours"):
            assert (getattr(a, name) == getattr(b, name)).all(), name
        np.testing.assert_allclose(a.centroid, b.centroid, atol=1e-5)


def test_drawn_cells_stand_for_all_of_them() -> None:
    """The weighted sum of any number of each cell, over 2000 draws, is its sum over all, within 1 %."""
    xyz, visible = cloud(7, 400), np.random.default_rng(0).random(400) < 0.3
    everything = replace(SETTINGS, empties=10**6)
    full = scale_queries(xyz, visible, 0 * xyz, 0.5, everything, np.random.default_rng(0))
    value = dict(
        zip(full.key.tolist(), np.random.default_rng(1).exponential(size=len(full.key)), strict=True)
    )
    few = replace(SETTINGS, empties=2, occupied=30)
    sums = []
    for seed in range(2000):
        part = scale_queries(xyz, visible, 0 * xyz, 0.5, few, np.random.default_rng(seed))
        assert part.weight.sum() == pytest.approx(len(full.key), rel=1e-5)
        sums.append(sum(w * value[k] for k, w in zip(part.key.tolist(), part.weight.tolist(), strict=True)))
    assert len(part.key) < len(full.key) / 2
    assert np.mean(sums) == pytest.approx(sum(value.values()), rel=0.01)


def test_all_masked_and_nothing_loaded() -> None:
    for xyz in (cloud(0), cloud(0, 0)):
        asked = scale_queries(xyz, np.zeros(len(xyz), bool), xyz, 0.5, SETTINGS, np.random.default_rng(0))
        assert len(asked.key) == asked.num_cells == asked.num_known == 0
        assert asked.neighbours.shape == (0, 4)


def test_twins_are_the_same_occupied_cell_behind_both_masks() -> None:
    xyz = cloud(8)
    masks = [masked_queries(xyz, np.arange(300), 0 * xyz, SETTINGS, np.random.default_rng(n)) for n in (0, 1)]
    (_, a), (_, b) = masks
    for pairs, first, second in zip(twins(a, b), a, b, strict=True):
        assert (first.key[pairs[:, 0]] == second.key[pairs[:, 1]]).all()
        shared = set(first.key[first.occupied].tolist()) & set(second.key[second.occupied].tolist())
        assert set(first.key[pairs[:, 0]].tolist()) == shared
        assert shared


def test_settings_that_are_none() -> None:
    for wrong in ({"cell": 0.0}, {"scales": 0}, {"ratio": 1.0}):
        with pytest.raises(ValueError, match="a share between 0 and 1"):
            CellMask(**wrong)  # type: ignore[arg-type]
    for more in ({"kernel": 4}, {"neighbours": 0}, {"empties": 0}, {"occupied": 0}, {"masks": 3}):
        with pytest.raises(ValueError, match="expected"):
            OccupancySettings(**more)  # type: ignore[arg-type]


CONFIG = FrameConfig(
    image_size=(36, 80),
    augmentation=(CALICO_AUGMENTATION, PointAugmentation(cuboid=0.2)),
    points=PointFilter(max_points=300),
)
ASKED = Needs(occupancy=OccupancySettings(CellMask(1.0, 2), kernel=5, masks=2))


def batch_of(drive: SweepIndex, needs: Needs, config: FrameConfig = CONFIG) -> Batch:
    data = FrameDataset(drive, needs, split="train", config=config, seed=3)
    return collate([data[1, position] for position in (0, 4)])


def test_masks_change_nothing_else_and_are_a_function_of_the_sample(drive: SweepIndex) -> None:
    plain, masked = batch_of(drive, Needs(views=2, crops=1)), batch_of(drive, Needs(views=2, crops=1) | ASKED)
    assert list(masked.now.views) == ["a", "b", "c", "m", "n"]
    found = dict(named_tensors(masked))
    assert all(torch.equal(value, found[name]) for name, value in named_tensors(plain))
    again = dict(named_tensors(batch_of(drive, Needs(views=2, crops=1) | ASKED)))
    assert all(torch.equal(value, again[name]) for name, value in found.items())
    kept = dict(named_tensors(batch_from_plain(batch_to_plain(masked))))
    assert all(torch.equal(value, kept[name]) for name, value in found.items())


def test_a_masked_view_is_a_part_of_view_a(drive: SweepIndex) -> None:
    frame = batch_of(drive, ASKED).now
    whole = frame.views["a"]
    assert frame.occupancy is not None
    for name in ("m", "n"):
        view = frame.views[name]
        at = whole.index_of_row(frame.num_points)[view.row]
        assert (at >= 0).all()
        assert 0 < len(at) < len(whole.row)
        assert torch.equal(view.points, whole.points[at])
        assert torch.equal(view.batch, whole.batch[at])
        assert torch.equal(view.lidar_SE3, whole.lidar_SE3)
        for number, asked in frame.occupancy[name].items():
            assert asked.size == 2.0 ** int(number)
            corner = (view.points[:, :3].double() / asked.size).floor()
            cell = asked.cell.long()
            rows = torch.cat([view.batch[:, None].double(), corner], dim=1)
            # Each cell has one place in one sample.
            assert len(torch.cat([cell[:, None].double(), rows], dim=1).unique(dim=0)) == asked.num_cells
            near = asked.neighbours
            assert int(near.max()) < asked.num_cells
            places = torch.zeros(asked.num_cells, 3, dtype=torch.float64).index_copy(0, cell, corner + 0.5)
            apart = (
                (places[near.clamp(min=0).long()] - (asked.centre / asked.size)[:, None]).abs().amax(dim=2)
            )
            assert float(apart[near >= 0].max()) <= 2 + 1e-3
    pairs = [frame.occupancy["m"][n].twins for n in ("0", "1")]
    for number, twin in zip(("0", "1"), pairs, strict=True):
        a, b = (frame.occupancy[name][number].centre[twin[:, k]] for k, name in enumerate(("m", "n")))
        assert torch.equal(a, b)
    assert sum(map(len, pairs))


def test_two_objectives_mask_alike_or_not_at_all(drive: SweepIndex) -> None:
    assert (Needs(views=2) | ASKED).occupancy == (ASKED | ASKED).occupancy == ASKED.occupancy
    assert ASKED.of_frame("t+1").occupancy is None
    with pytest.raises(ValueError, match="mask one sweep differently"):
        ASKED | Needs(occupancy=OccupancySettings())
    with pytest.raises(ValueError, match="local statistics as `features` would tell"):
        batch_of(drive, ASKED, FrameConfig(features=("intensity", "statistics")))


def test_rays_of_earlier_sweeps_start_where_their_lidar_was(drive: SweepIndex) -> None:
    now, before = drive[6], drive[5]
    points, origins, own = stack_rays(now, [before], ("intensity",), without_ego=False)
    assert (points == stack_sweeps(now, [before], ("intensity",), without_ego=False)[0]).all()
    assert not origins[:own].any()
    world_SE3 = [sweep.world_SE3_ego @ sweep.ego_SE3_lidar for sweep in (now, before)]
    place = np.linalg.inv(world_SE3[0]) @ world_SE3[1] @ [0, 0, 0, 1]
    assert np.linalg.norm(place[:3]) > 0.9
    np.testing.assert_allclose(origins[own:], np.broadcast_to(place[:3], (len(points) - own, 3)), atol=1e-5)


def test_rays_of_further_lidars_start_where_they_stand(drive: SweepIndex) -> None:
    sweep = drive[0]
    mount = make_SE3(np.eye(3), [1.0, -0.5, 0.3])
    both = replace(sweep, lidars=(Lidar("side", Path(drive[1].path), "nuscenes", mount),))
    points, origins, own = stack_rays(both, [], ("intensity",))
    assert own == len(points) == 800
    assert not origins[:400].any()
    np.testing.assert_allclose(origins[400:], np.tile([1.0, -0.5, 0.3], (400, 1)), atol=1e-6)
