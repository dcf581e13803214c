"""Objects: linkage against scipy, tree and pick against plain recursion, and what real and simulated hold."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from pc3d.data.build import build_index
from pc3d.data.index import SweepIndex
from pc3d.data.label_maps import NUSCENES_LIDARSEG_CATEGORIES
from pc3d.regions.build import open_cache
from pc3d.regions.key_frame import KeyFrame, key_frames
from pc3d.regions.linkage import linked
from pc3d.regions.objects import ObjectParams, objects, scores, thresholds
from pc3d.regions.segment_tree import best_disjoint, segment_tree
from pc3d.regions.statistics import RegionCounts, count_regions

HEIGHT = 1.84
EGO = NUSCENES_LIDARSEG_CATEGORIES.index("vehicle.ego")
EVERYTHING = ObjectParams(min_points=2, min_score=1e-9, finest=0.02, levels=6)
seeds = st.integers(0, 2**32 - 1)


def clumps(rng: np.random.Generator, count: int) -> np.ndarray:
    """Heaps around the sensor, one of them across the seam of the azimuth."""
    centres = np.concatenate([[[-12.0, 0.0]], rng.uniform(-25, 25, (6, 2))])
    xy = centres[rng.integers(len(centres), size=count)] + rng.normal(0, rng.uniform(0.2, 1.5), (count, 2))
    return np.c_[xy, rng.uniform(-1.5, 1.0, count)]


def scaled_distances(xy: np.ndarray, near: float) -> np.ndarray:
    """(P, P) |p - q| / sqrt(s(p) s(q)), pair by pair."""
    found = np.zeros((len(xy), len(xy)))
    for p, q in combinations(range(len(xy)), 2):
        scale = math.hypot(*xy[p], near) * math.hypot(*xy[q], near)
        found[p, q] = found[q, p] = math.dist(xy[p], xy[q]) / math.sqrt(scale)
    return found


def partition(labels: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels[labels >= 0])}


@settings(deadline=None, max_examples=40)
@given(seeds, st.integers(2, 60), st.floats(0.1, 20.0), st.floats(0.005, 0.3))
def test_linkage_is_that_of_scipy(seed: int, count: int, near: float, finest: float) -> None:
    xy = clumps(np.random.default_rng(seed), count)[:, :2]
    levels = finest * 1.7 ** np.arange(6)
    distances = scaled_distances(xy, near)
    assume((np.abs(distances[None] - levels[:, None, None]) > 1e-9).all())
    components = linked(xy, near, levels)
    tree = linkage(squareform(distances), "single")
    for level, labels in zip(levels, components, strict=True):
        assert partition(labels) == partition(fcluster(tree, level, "distance"))


def test_linkage_far_out_at_the_sensor_and_over_the_seam() -> None:
    apart = 0.02
    ring = np.array([[-40.0, 0.01], [-40.0, -0.01], [0.0, 0.0], [0.05, 0.0], [1e5, 1e5]])
    assert partition(linked(ring, 3.0, np.array([apart]))[0]) == partition(np.array([0, 0, 1, 1, 2]))
    assert linked(np.empty((0, 2)), 3.0, np.array([apart])).shape == (1, 0)
    with pytest.raises(ValueError, match="positive"):
        linked(ring, 0.0, np.array([apart]))
    with pytest.raises(ValueError, match="ascending"):
        linked(ring, 1.0, np.array([0.2, 0.1]))
    with pytest.raises(ValueError, match="not finite"):
        linked(np.array([[np.nan, 0.0]]), 1.0, np.array([0.1]))
    with pytest.raises(ValueError, match=r"\(P, 2\)"):
        linked(np.zeros((3, 3)), 1.0, np.array([0.1]))


def tree_by_sets(components: np.ndarray, min_points: int, alike: float) -> dict[frozenset[int], int]:
    """Lifetime of each segment, from the sets of all levels."""
    births: dict[frozenset[int], int] = {}
    for level, labels in enumerate(components):
        for members in partition(labels):
            if len(members) >= min_points:
                births.setdefault(members, level)
    lives = {}
    for members, birth in births.items():
        first = min(b for m, b in births.items() if m <= members and len(m) >= alike * len(members))
        larger = [b for m, b in births.items() if m > members and len(members) < alike * len(m)]
        lives[members] = min(larger, default=len(components)) - min(first, birth)
    return lives


@settings(deadline=None, max_examples=40)
@given(seeds, st.integers(2, 80), st.integers(1, 6))
def test_the_tree_is_that_of_the_sets(seed: int, count: int, min_points: int) -> None:
    xy = clumps(np.random.default_rng(seed), count)[:, :2]
    components = linked(xy, 3.0, 0.01 * 1.6 ** np.arange(8))
    tree = segment_tree(components, min_points)
    sets = [frozenset(tree.order[a:b].tolist()) for a, b in zip(tree.begin, tree.end, strict=True)]
    assert dict(zip(sets, tree.lifetime.tolist(), strict=True)) == tree_by_sets(components, min_points, 0.8)
    for node, parent in enumerate(tree.parent):
        above = [s for s in sets if s > sets[node]]
        assert (sets[parent] == min(above, key=len)) if parent >= 0 else not above
        assert parent < 0 or parent > node


def total_by_recursion(parent: np.ndarray, value: np.ndarray) -> float:
    children = {k: [c for c in range(len(parent)) if parent[c] == k] for k in range(-1, len(parent))}

    def best(node: int) -> float:
        return max(float(value[node]), sum(best(child) for child in children[node]))

    return sum(best(root) for root in children[-1])


@settings(deadline=None, max_examples=60)
@given(seeds, st.integers(1, 14))
def test_the_pick_is_the_best_disjoint_one(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    parent = np.array([rng.integers(k + 1, count + 1) for k in range(count)])
    parent[parent == count] = -1
    value = rng.uniform(0, 1, count).round(1)
    taken = best_disjoint(parent, value)
    for node in np.flatnonzero(taken):
        above = parent[node]
        while above >= 0:
            assert not taken[above]
            above = parent[above]
    assert value[taken].sum() == pytest.approx(total_by_recursion(parent, value))
    every = [np.array(choice) for n in range(count + 1) for choice in combinations(range(count), n)][:4000]

    def disjoint(choice: np.ndarray) -> bool:
        chosen = set(choice.tolist())
        for node in chosen:
            above = int(parent[node])
            while above >= 0:
                if above in chosen:
                    return False
                above = int(parent[above])
        return True

    most = max((value[c].sum() if len(c) else 0.0) for c in every if disjoint(c))
    assert value[taken].sum() >= most - 1e-9


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(10, 150), st.integers(1, 8))
def test_rows_in_another_order_give_the_same_objects(seed: int, count: int, cap: int) -> None:
    rng = np.random.default_rng(seed)
    points = clumps(rng, count)
    params = ObjectParams(min_points=2, min_score=1e-9, finest=0.02, levels=6, max_regions=cap)
    order = rng.permutation(count)
    ids, again = objects(points, HEIGHT, params), objects(points[order], HEIGHT, params)
    assert partition(again) == partition(ids[order])
    assert ids.max() < cap
    np.testing.assert_array_equal(np.unique(ids[ids >= 0]), np.arange(ids.max() + 1))
    firsts = [np.flatnonzero(ids == number)[0] for number in range(ids.max() + 1)]
    assert firsts == sorted(firsts)


def test_the_cap_keeps_the_best() -> None:
    points = clumps(np.random.default_rng(5), 150)
    every = objects(points, HEIGHT, EVERYTHING)
    few = objects(points, HEIGHT, ObjectParams(**{**vars(EVERYTHING), "max_regions": 3}))
    assert every.max() > 3
    kept = partition(few)
    assert len(kept) == 3
    assert kept <= partition(every)
    tree = segment_tree(linked(points[:, :2], EVERYTHING.near, thresholds(EVERYTHING)), 2)
    sets = [frozenset(tree.order[a:b].tolist()) for a, b in zip(tree.begin, tree.end, strict=True)]
    score = dict(zip(sets, scores(tree, points, HEIGHT, EVERYTHING), strict=True))
    assert min(score[s] for s in kept) >= max(score[s] for s in partition(every) - kept)


def block(x: float, y: float, size: tuple[float, float, float], step: float = 0.2) -> np.ndarray:
    """Points `step` apart that fill a block 0.5 m above the road."""
    axes = [np.arange(0, length + 1e-9, step) for length in size]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return grid + np.array([x - size[0] / 2, y - size[1] / 2, 0.5 - HEIGHT])


def test_cars_and_people_are_objects_and_buildings_are_none() -> None:
    xy = np.stack(np.meshgrid(np.arange(-53, 53, 0.8), np.arange(-53, 53, 0.8)), axis=-1).reshape(-1, 2)
    parts = [
        np.c_[xy, np.full(len(xy), -HEIGHT)],
        block(15, 10, (4.0, 1.8, 1.2)),
        block(-20, 5, (0.6, 0.6, 1.2)),
        block(30, -20, (0.2, 26.0, 3.0), step=0.1),
        block(12, -12, (4.0, 1.8, 1.2))[:4],
        block(10, 3, (1.0, 1.0, 1.0)) + np.array([0, 0, 5.0]),
    ]
    ids = np.split(objects(np.concatenate(parts), HEIGHT), np.cumsum([len(p) for p in parts])[:-1])
    assert [set(part.tolist()) for part in ids] == [{-1}, {0}, {1}, {-1}, {-1}, {-1}]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"step": 1.0}, "step"),
        ({"softness": 0.0}, "softness"),
        ({"max_regions": 40000}, "16 bits"),
        ({"near": 0.0}, "near"),
        ({"min_points": 0}, "min_points"),
    ],
)
def test_bad_parameters(settings: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ObjectParams(**settings)  # type: ignore[arg-type]


def test_empty_sweeps() -> None:
    assert objects(np.empty((0, 5), np.float32), HEIGHT).shape == (0,)
    assert objects(np.array([[20.0, 0.0, 0.0]]), HEIGHT).tolist() == [-1]


def counts_of(frame: KeyFrame, ids: np.ndarray) -> RegionCounts:
    return count_regions(ids, frame.points, frame.now.boxes, frame.categories)


def test_the_real_key_frame(real_data: Path, tmp_path: Path) -> None:
    """Found with the default parameters: 15 boxes of 28 in 118 objects; the published clusters find 2."""
    index = build_index("nuscenes", real_data / "nuscenes", tmp_path / "i", "the test", version="v1.0-mini")
    (frame,) = key_frames(index, index.key_rows(None))
    counts = counts_of(frame, objects(frame.points, float(frame.now.ego_SE3_lidar[2, 3])))
    assert counts.boxes_covered >= 13
    assert 60 <= counts.regions <= 192
    assert counts.pure_points / counts.labelled_points > 0.96


def test_objects_of_a_drive(tiny_index: Path, tiny_regions: Path) -> None:
    index, caches = SweepIndex.open(tiny_index), {}
    totals = {kind: RegionCounts() for kind in ("clusters", "objects")}
    for kind in totals:
        caches[kind] = open_cache(tiny_regions, kind)
    for frame in key_frames(index, index.key_rows(None)):
        for kind, cache in caches.items():
            ids = cache.load(frame.now.token)
            assert frame.categories is not None
            assert (ids[frame.categories == EGO] == -1).all()
            totals[kind] += counts_of(frame, ids)
    found = {kind: t.boxes_covered / t.boxes for kind, t in totals.items()}
    assert found["objects"] > found["clusters"] + 0.2, found
    assert totals["objects"].class_pure_points / totals["objects"].classed_points > 0.95
