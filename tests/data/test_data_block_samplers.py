"""Batches of neighbours and of one label: orders, places, tables, and where a resumed run goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.data.batch import Needs
from pc3d.data.block_samplers import ClusterSampler, NeighbourSampler, neighbour_order
from pc3d.data.dataset import FrameDataset
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex, write_index
from pc3d.data.places import near_frames
from pc3d.data.records import Sweep
from pc3d.data.sampler_settings import Clusters, Neighbours, build_sampler
from pc3d.data.sampler_table import SamplerTable, positions_of
from pc3d.data.samplers import StreamSampler
from pc3d.geometry.rigid import make_SE3

RING = [np.array([(i + 1) % 8, (i - 1) % 8]) for i in range(8)]


def ring(count: int, reach: int) -> list[np.ndarray]:
    """Each one's neighbours on a circle, the nearest first."""
    steps = [s for n in range(1, reach + 1) for s in (n, -n)]
    return [np.array([(i + s) % count for s in steps]) for i in range(count)]


def blocks(order: Sequence[int] | np.ndarray, size: int) -> list[list[int]]:
    return np.asarray(order).reshape(-1, size).tolist()


def test_the_batches_of_a_known_permutation() -> None:
    order = neighbour_order(np.array([5, 2, 7, 0, 1, 3, 4, 6]), RING, 4, 2, np.random.default_rng(0))
    assert blocks(order, 4) == [[5, 6, 4, 2], [7, 0, 1, 3]]


@settings(max_examples=20, deadline=None)
@given(
    count=st.integers(6, 40),
    size=st.integers(1, 3),
    world=st.integers(1, 2),
    start=st.integers(0, 30),
    seed=st.integers(0, 5),
    kind=st.sampled_from(["neighbours", "clusters"]),
)
def test_passes_are_whole_batches_split_over_ranks_and_start_anywhere(
    count: int, size: int, world: int, start: int, seed: int, kind: str
) -> None:
    def make(rank: int = 0, world: int = world, size: int = size) -> StreamSampler:
        if kind == "neighbours":
            return NeighbourSampler(ring(count, 3), size, None, seed, rank, world)
        return ClusterSampler(np.arange(count) * 2 // count, size, seed, rank, world)

    block = size * world
    if kind == "clusters" and count // 2 < block:
        return
    together = make(0, 1, block)  # what one process would read
    assert together.length % block == 0
    whole = list(islice(together, 3 * together.length))
    for number in range(3):
        of_pass = [i for n, i in whole if n == number]
        assert len(of_pass) == len(set(of_pass)) == together.length <= count
        assert of_pass == together.permutation(number).tolist()
        if kind == "neighbours":
            assert together.length == count // block * block
    for rank in range(world):
        sampler = make(rank)
        alone = list(islice(sampler, start + 7))
        assert alone[: len(whole[rank::world])] == whole[rank::world][: len(alone)]
        sampler.start = start
        assert list(islice(sampler, 7)) == alone[start:]


def test_neighbours_share_batches_and_passes_differ() -> None:
    sampler = NeighbourSampler(ring(60, 4), 4, seed=1)

    def share(order: np.ndarray) -> float:
        near = [
            min((a - b) % 60, (b - a) % 60) <= 4
            for batch in blocks(order, 4)
            for a in batch
            for b in batch
            if a != b
        ]
        return float(np.mean(near))

    random = StreamSampler(60, 1)
    assert share(sampler.permutation(0)) > 0.6 > 0.3 > share(random.permutation(0))
    assert sampler.permutation(0).tolist() == NeighbourSampler(ring(60, 4), 4, seed=1).permutation(0).tolist()
    assert sampler.permutation(0).tolist() != sampler.permutation(1).tolist()
    assert sampler.permutation(0).tolist() != NeighbourSampler(ring(60, 4), 4, seed=2).permutation(0).tolist()
    nothing = NeighbourSampler([np.zeros(0, dtype=np.int64)] * 60, 4, seed=1)
    assert nothing.permutation(3).tolist() == StreamSampler(60, 1).permutation(3).tolist()


def test_a_batch_has_one_label_and_labels_take_turns() -> None:
    labels = np.array([0] * 9 + [1] * 5 + [2] * 3 + [-1] * 4 + [0])
    sampler = ClusterSampler(labels, 2, seed=0, world=2)
    assert sampler.length == 4 * (10 // 4 + 5 // 4)
    for number in range(4):
        found = [set(labels[batch].tolist()) for batch in blocks(sampler.permutation(number), 4)]
        assert all(len(one) == 1 for one in found)
        assert sorted(next(iter(one)) for one in found) == [0, 0, 1]
        assert found[0] != found[1]


def test_fewer_frames_than_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="3 frames are fewer than a batch of 2 on 2 processes"):
        NeighbourSampler(ring(3, 1), 2, world=2)
    with pytest.raises(ValueError, match="the largest of 2 labels has 2 frames"):
        ClusterSampler(np.array([0, 0, 1, -1]), 4)


@pytest.fixture
def make_town(sweeps: list[Sweep], tmp_path: Path) -> Callable[..., SweepIndex]:
    """Index of drives along x, without files: scene, first x and y, of six key frames 8 m apart."""

    def make(drives: dict[str, tuple[float, float]], **facts: object) -> SweepIndex:
        rows = [
            replace(
                sweeps[0],
                token=f"{name}-{n}",
                scene=name,
                timestamp=n,
                world_SE3_ego=make_SE3(np.eye(3), [x + 8.0 * n, y, 0.0]),
            )
            for name, (x, y) in drives.items()
            for n in range(6)
        ]
        root = sweeps[0].path.parents[1]
        metadata = {"dataset": "hand", "root": str(root), "rebuild": "make town", **facts}
        return SweepIndex.open(write_index(tmp_path / f"town{len(drives)}{len(facts)}", rows, metadata))

    return make


def loop_near(index: SweepIndex, near: tuple[float, float]) -> list[set[int]]:
    found = []
    for i in range(len(index)):
        own = set()
        for j in range(len(index)):
            apart = float(np.linalg.norm((index[i].world_SE3_ego - index[j].world_SE3_ego)[:3, 3]))
            low = near[0] if index[i].scene == index[j].scene else 0.0
            if i != j and low <= apart <= near[1]:
                own.add(j)
        found.append(own)
    return found


def test_near_are_a_band_of_the_own_scene_and_all_of_another(make_town: Callable[..., SweepIndex]) -> None:
    index = make_town({"one": (5.0, 0.0), "two": (9.0, 3.0), "far": (1000.0, 0.0)})
    part = FrameDataset(index, Needs(), split="train")
    again = FrameDataset(index, Needs(), rows=[3, 3, 17], seed=1)
    frames, lists = near_frames([part, again], (10.0, 20.0), 99)
    assert frames.tolist() == [*range(18), 3, 3, 17]
    assert [set(near.tolist()) for near in lists] == loop_near(index, (10.0, 20.0))
    apart = [abs(index[3].world_SE3_ego[0, 3] - index[int(j)].world_SE3_ego[0, 3]) for j in lists[3]]
    assert apart == sorted(apart)
    _, few = near_frames([part], (10.0, 20.0), 2)
    assert few[3].tolist() == lists[3][:2].tolist()
    # A frame that comes three times is near others three times, and never near itself.
    near = positions_of(frames, lists, 99)
    assert near[3].tolist() == near[18].tolist() == near[19].tolist()
    assert not {3, 18, 19} & set(near[3].tolist())
    assert {3, 18, 19} <= set(near[1].tolist())


def test_scenes_of_other_worlds_are_not_near(make_town: Callable[..., SweepIndex]) -> None:
    def near(index: SweepIndex) -> list[set[int]]:
        part = FrameDataset(index, Needs(), split="train")
        return [set(own.tolist()) for own in near_frames([part], (10.0, 20.0), 99)[1]]

    towns = make_town({"one": (5.0, 0.0), "two": (5.0, 3.0)}, scene_locations={"one": "A", "two": "B"})
    origins = make_town({"one": (0.0, 0.0), "two": (0.0, 0.0)})
    for found in (near(towns), near(origins)):
        assert found[0] == {2}
        assert found[6] == {8}
    same = make_town({"one": (5.0, 0.0), "two": (5.0, 3.0)}, scene_locations={"one": "A", "two": "A"}, more=1)
    assert near(same)[0] == {2, 6, 7, 8}


def test_without_poses_no_place_is_known(make_index: Callable[[int, int], SweepIndex]) -> None:
    part = FrameDataset(make_index(2, 3), Needs(), split="train")
    with pytest.raises(DataError, match="no place is known"):
        near_frames([part], (10.0, 100.0), 9)


def table_of(index: SweepIndex) -> SamplerTable:
    rows = index.key_rows("train")[::-1].astype(np.int64)
    near = np.arange(len(rows))[:, None] // 2 * 2 + np.array([[0, 1, -1]])
    near[:, 2] = -1
    return SamplerTable(
        ("other", index.fingerprint), np.ones(len(rows), np.int64), rows, near, np.arange(len(rows)) // 2
    )


def test_a_table_is_written_read_and_followed(drive: SweepIndex, tmp_path: Path) -> None:
    path, part = tmp_path / "table.npz", FrameDataset(drive, Needs(), split="train")
    table_of(drive).save(path)
    table = SamplerTable.open(path)
    frames = table.frames_of([part])
    assert table.rows[frames].tolist() == part.rows.tolist()
    twice = build_sampler({"type": "Neighbours", "table": str(path), "select": 2}, [part, part], 2, 3)
    for number in range(3):
        for a, b in blocks(twice.permutation(number), 2):
            assert a % 6 // 2 == b % 6 // 2  # pairs of the table
            assert a % 6 != b % 6
    clusters = build_sampler({"type": "Clusters", "table": path}, [part], 2)
    assert all(a // 2 == b // 2 for a, b in blocks(clusters.permutation(0), 2))
    assert type(build_sampler(None, [part], 2)) is StreamSampler
    with pytest.raises(DataError, match=r"lacks 3 of 3 frames[\s\S]*pc3d neighbours"):
        table.frames_of([FrameDataset(drive, Needs(), split="val")])
    with pytest.raises(DataError, match="there is no table"):
        SamplerTable.open(tmp_path / "no.npz")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match="is broken"):
        SamplerTable.open(path)


def test_settings_that_are_none(drive: SweepIndex) -> None:
    part = FrameDataset(drive, Needs(), split="train")
    for config, said in (
        ({"type": "Near"}, "type is 'Near', expected one of Clusters, Neighbours"),
        ({}, "type is None"),
        ({"type": "Clusters"}, "table"),
        ({"type": "Neighbours", "nearr": 3}, "nearr"),
        ({"type": "Neighbours", "near": (5.0, 1.0)}, r"near is \(5.0, 1.0\)"),
        ({"type": "Neighbours", "select": 0}, "expected at least 1"),
    ):
        with pytest.raises(ValueError, match=said):
            build_sampler(config, [part], 2)
    with pytest.raises(ValueError, match="6 frames are fewer than a batch of 7"):
        build_sampler({"type": "Neighbours"}, [part], 7)
    assert Neighbours().near == (10.0, 100.0)
    assert Clusters(Path("a")).table == Path("a")
