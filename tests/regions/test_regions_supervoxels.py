"""Supervoxels against a plain loop of the procedure, and against the simulator's labels."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from pc3d.data.index import SweepIndex
from pc3d.data.label_maps import NUSCENES_LIDARSEG_CATEGORIES
from pc3d.data.points import load_points
from pc3d.regions.build import open_cache
from pc3d.regions.ground import ground_mask
from pc3d.regions.statistics import RegionCounts, count_regions
from pc3d.regions.supervoxels import SupervoxelParams, supervoxels

HEIGHT = 1.84
EGO = NUSCENES_LIDARSEG_CATEGORIES.index("vehicle.ego")
ALL = SupervoxelParams(keep_ground=True, min_points=3)


def cloud(rng: np.random.Generator, count: int = 120) -> np.ndarray:
    """Two walls at a right angle and a heap, some metres about the sensor."""
    third = count // 3
    along, up = rng.uniform(2, 6, (2, third)), rng.uniform(-1, 1, (2, third))
    walls = [np.c_[along[0], np.full(third, 5.0), up[0]], np.c_[np.full(third, 6.0), along[1], up[1]]]
    heap = rng.normal([3.0, 3.0, 0.0], 0.7, (third, 3))
    return np.concatenate([*walls, heap]) + rng.normal(0, 0.01, (3 * third, 3))


def supervoxels_by_loop(points: np.ndarray, params: SupervoxelParams) -> tuple[list[int], float]:
    """VCCS on points, one point and one seed at a time; and how clearly its closest choice was made.

    Both points of a pair are equally near to their mean: distances count in steps of 1e-9, and of equal ones
    the first in x, y, z is taken.
    """
    P = range(len(points))
    nearest = [sorted(P, key=lambda q: math.dist(points[p], points[q]))[: params.neighbours] for p in P]
    normals = []
    for p in P:
        moved = points[nearest[p]] - points[nearest[p]].mean(axis=0)
        normal = np.linalg.svd(moved)[2][2]
        normals.append(-normal if normal @ points[p] > 0 else normal)

    def distance(p: int, centre: np.ndarray, normal: np.ndarray) -> float:
        cos = abs(float(normals[p] @ normal))
        return 1 - cos + params.space_weight * math.dist(points[p], centre) / params.resolution

    cells: dict[tuple[int, ...], list[int]] = {}
    for p in P:
        cells.setdefault(tuple(math.floor(c / params.resolution) for c in points[p]), []).append(p)
    seeds: dict[int, int] = {}
    for s, (cell, members) in enumerate(cells.items()):
        middle = [(c + 0.5) * params.resolution for c in cell]
        seeds[s] = min(members, key=lambda p: math.dist(points[p], middle))
    centres = {s: (points[p], normals[p]) for s, p in seeds.items()}
    label: dict[int, int] = {}
    margin = math.inf
    for turn in range(params.rounds):
        if turn:
            of = {s: [p for p in P if label.get(p) == s] for s in centres}
            for s, members in of.items():
                if members:
                    total = sum(normals[p] for p in members)
                    centres[s] = (points[members].mean(axis=0), total / np.linalg.norm(total))
            rank = {p: (round(distance(p, *centres[s]) / 1e-9), *points[p]) for s in of for p in of[s]}
            seeds = {s: min(m, key=rank.__getitem__) for s, m in of.items() if m}
        label = {p: s for s, p in seeds.items()}
        cost = dict.fromkeys(label, -math.inf)
        while True:
            before = dict(label)
            for p in P:
                for q in nearest[p]:
                    if q in before:
                        place, normal = centres[before[q]]
                        d = distance(p, place, normal)
                        beyond = math.dist(points[p], place) - math.sqrt(3) * params.resolution
                        close = beyond <= 0
                        if before[q] != label.get(p):
                            margin = min(margin, abs(beyond), abs(d - cost.get(p, math.inf)))
                        if close and d < cost.get(p, math.inf):
                            label[p], cost[p] = before[q], d
            if label == before:
                break
    sizes = {s: list(label.values()).count(s) for s in centres}
    return [label[p] if p in label and sizes[label[p]] >= params.min_points else -1 for p in P], margin


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two labellings differ by names only; -1 is no name."""
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    one_to_one = len(pairs) == len({x for x, _ in pairs}) == len({y for _, y in pairs})
    return one_to_one and all((x < 0) == (y < 0) for x, y in pairs)


@pytest.mark.parametrize("seed", range(3))
def test_matches_a_loop(seed: int) -> None:
    points = cloud(np.random.default_rng(seed))
    got = supervoxels(points, HEIGHT, ALL)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(np.unique(got[got >= 0]), np.arange(got.max() + 1))
    assert got.max() > 10
    expected, margin = supervoxels_by_loop(points, ALL)
    assert margin > 1e-9, "rounding decides nothing"
    assert same_partition(got, np.array(expected))


def test_the_order_of_the_points_does_not_matter() -> None:
    rng = np.random.default_rng(5)
    points = cloud(rng, 900)
    order = rng.permutation(900)
    assert same_partition(supervoxels(points, HEIGHT, ALL)[order], supervoxels(points[order], HEIGHT, ALL))


def test_each_option_changes_what_it_says() -> None:
    points = cloud(np.random.default_rng(1), 600)
    corner = (np.abs(points[:, 0] - 6) < 0.3) & (np.abs(points[:, 1] - 5) < 0.3)
    assert corner.sum() > 5
    default = supervoxels(points, HEIGHT, ALL)
    coarse = supervoxels(points, HEIGHT, SupervoxelParams(keep_ground=True, resolution=2.0))
    assert coarse.max() < default.max() / 2
    sizes = np.bincount(default[default >= 0])
    large = supervoxels(points, HEIGHT, SupervoxelParams(keep_ground=True, min_points=20))
    assert large.max() + 1 == (sizes >= 20).sum() < len(sizes)
    for other in ({"neighbours": 6}, {"space_weight": 5.0}, {"rounds": 1}):
        settings = {"keep_ground": True, "min_points": 3, **other}
        assert not same_partition(default, supervoxels(points, HEIGHT, SupervoxelParams(**settings)))
    assert supervoxels(points, HEIGHT, SupervoxelParams(xy_range=1.0)).max() == -1
    assert supervoxels(points[:10], HEIGHT, ALL).max() == -1, "no normal without neighbours"
    with pytest.raises(ValueError, match="at least 3"):
        SupervoxelParams(neighbours=2)
    with pytest.raises(ValueError, match="resolution is 0"):
        SupervoxelParams(resolution=0)


def test_supervoxels_of_a_drive_keep_to_one_thing(tiny_index: Path, tiny_regions: Path) -> None:
    index = SweepIndex.open(tiny_index)
    cache = open_cache(tiny_regions, "supervoxels")
    counts = RegionCounts()
    for row in index.key_rows(None):
        sweep = index[int(row)]
        regions = cache.load(sweep.token)
        points = load_points(sweep.path, sweep.lidar_format)
        assert (regions[ground_mask(points, sweep.ego_SE3_lidar[2, 3])] == -1).all()
        assert sweep.lidarseg_path is not None
        categories = np.fromfile(sweep.lidarseg_path, np.uint8)
        assert (regions[categories == EGO] == -1).all()
        counts += count_regions(regions, labels=categories)
    summary = counts.summary()
    assert summary["purity against point labels"] > 0.98  # type: ignore[operator]
    assert 100 < summary["regions per sweep"] < 1000  # type: ignore[operator]


def test_real_sweep(real_data: Path) -> None:
    points = load_points(next((real_data / "nuscenes" / "samples" / "LIDAR_TOP").iterdir()), "nuscenes")
    ids = supervoxels(points, HEIGHT)
    sizes = np.bincount(ids[ids >= 0])
    assert 200 < len(sizes) < 1000
    spans = [np.ptp(points[ids == s, :3], axis=0).max() for s in range(len(sizes))]
    assert np.max(spans) <= 2 * math.sqrt(3)
    assert np.median(spans) < 1.2
