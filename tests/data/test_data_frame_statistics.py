"""Local statistics of loaded frames: columns of views, target, cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pc3d.data import frame_statistics as module
from pc3d.data.batch import Batch, Needs
from pc3d.data.batch_plain import batch_from_plain, batch_to_plain
from pc3d.data.collate import collate
from pc3d.data.dataset import FrameDataset
from pc3d.data.errors import DataError
from pc3d.data.frame_types import FrameConfig, FrameSources
from pc3d.data.index import SweepIndex
from pc3d.data.local_statistics import LENGTHS, local_statistics
from pc3d.data.statistics_cache import StatisticsCache
from pc3d.data.sweeps import point_columns, stack_sweeps
from pc3d.data.transforms import PointAugmentation, PointFilter
from pc3d.evaluation.test_time_augmentation import AugmentedCopies, moved_view

COLUMNS = FrameConfig(features=("intensity", "statistics"))
MOVED = replace(
    COLUMNS,
    augmentation=(PointAugmentation(scale=(0.5, 2.0), cuboid=0.3, cuboid_min_pairs=0),),
    points=PointFilter(max_points=400),
)


def dataset(index: Path, config: FrameConfig = COLUMNS, needs: Needs | None = None) -> FrameDataset:
    opened = SweepIndex.open(index)
    return FrameDataset(opened, needs or Needs(), rows=opened.key_rows(None)[-3:].tolist(), config=config)


def rounded(points: NDArray) -> NDArray:
    return local_statistics(points).astype(np.float16).astype(np.float32)


def of_sweep(data: FrameDataset, position: int, earlier: int = 0) -> NDArray:
    """Statistics of the points as they lie in the files."""
    row = int(data.rows[position])
    before = [data.index[other] for other in data.index.previous_sweeps(row, earlier)]
    return rounded(stack_sweeps(data.index[row], before, ("intensity",))[0])


def test_views_have_the_statistics_of_the_loaded_sweep_in_their_scale(tiny_index: Path) -> None:
    data = dataset(tiny_index, MOVED, Needs(views=2, frames=("t", "t-1")))
    plain = dataset(tiny_index, replace(MOVED, features=("intensity",)), Needs(views=2, frames=("t", "t-1")))
    batch, without = (collate([d[0, 1], d[0, 2]]) for d in (data, plain))
    expected = np.concatenate([of_sweep(data, 1), of_sweep(data, 2)])
    for name in ("a", "b"):
        view, other = batch.now.views[name], without.now.views[name]
        # Nothing else is drawn otherwise.
        assert torch.equal(view.points[:, :4], other.points)
        assert torch.equal(view.row, other.row)
        scale = np.linalg.norm(view.lidar_SE3[:, :3, 0].numpy(), axis=1)[view.batch.numpy()]
        factor = np.where(LENGTHS, scale[:, None], 1)
        np.testing.assert_allclose(view.points[:, 4:], expected[view.row.numpy()] * factor, rtol=1e-5)
        assert [point_columns(COLUMNS.features)[n][:4] for n in view.lengths][:3] == ["root"] * 3
        assert len(view.lengths) == LENGTHS.sum()
        assert other.lengths == ()
    assert batch.frames["t-1"].views["a"].points.shape[1] == 17
    assert batch.now.statistics is None


def test_the_target_is_that_of_all_loaded_points(tiny_index: Path) -> None:
    data = dataset(tiny_index, replace(MOVED, features=("intensity",)), Needs(statistics=True))
    batch = collate([data[0, 0], data[0, 1]])
    expected = np.concatenate([of_sweep(data, 0), of_sweep(data, 1)])
    np.testing.assert_array_equal(batch.now.statistics, expected)
    assert batch.now.views["a"].points.shape[1] == 4
    again: Batch = batch_from_plain(batch_to_plain(batch))
    assert torch.equal(again.now.statistics, batch.now.statistics)


def test_of_several_sweeps_they_are_those_of_the_stack(tiny_index: Path, tmp_path: Path) -> None:
    data = dataset(tiny_index, replace(COLUMNS, sweeps=3), Needs(frames=("t", "dense")))
    data.keep_statistics(tmp_path)
    for _ in range(2):
        batch = collate([data[0, 2]])
        np.testing.assert_array_equal(batch.now.views["a"].points[:, 4:], of_sweep(data, 2, earlier=2))
        dense = batch.frames["dense"].views["a"].points
        np.testing.assert_array_equal(dense[:, 4:], rounded(dense[:, :4].numpy()))
    one = dataset(tiny_index)
    one.keep_statistics(tmp_path)
    np.testing.assert_array_equal(collate([one[0, 2]]).now.views["a"].points[:, 4:], of_sweep(one, 2))
    assert len(list(tmp_path.glob("statistics-*/params.json"))) == 2


def test_what_is_kept_is_what_is_computed(
    tiny_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, kept = dataset(tiny_index, MOVED), dataset(tiny_index, MOVED)
    kept.keep_statistics(tmp_path)
    wanted = [collate([plain[n, 0]]).now.views["a"].points for n in range(2)]
    assert torch.equal(collate([kept[0, 0]]).now.views["a"].points, wanted[0])

    def computed(points: Any) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(module, "local_statistics", computed)
    assert torch.equal(collate([kept[1, 0]]).now.views["a"].points, wanted[1])
    (file,) = tmp_path.glob("*/*/*.npz")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="are broken") as raised:
        kept[0, 0]
    assert str(file) in str(raised.value)


def test_a_cache_is_of_one_index_and_its_points(tmp_path: Path) -> None:
    cache = StatisticsCache.create(tmp_path, "abc")
    assert cache.load("some/sweep", 3) is None
    values = np.arange(39, dtype=np.float16).reshape(3, 13)
    cache.save("some/sweep", values)
    np.testing.assert_array_equal(StatisticsCache.create(tmp_path, "abc").load("some/sweep", 3), values)
    assert StatisticsCache.create(tmp_path, "other").load("some/sweep", 3) is None
    assert StatisticsCache.create(tmp_path, "abc", sweeps=2).load("some/sweep", 3) is None
    with pytest.raises(DataError, match=r"expected float16 of \(4, 13\)"):
        cache.load("some/sweep", 4)


def test_points_that_pasted_objects_hide_are_nobodys_neighbours() -> None:
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.normal(size=(90, 3)), rng.random(90)]).astype(np.float32)
    hidden = rng.random(90) < 0.3
    sources = FrameSources(Needs(statistics=True), FrameConfig(), None)
    found = module.frame_statistics(sources, "token", points, hidden)
    np.testing.assert_array_equal(found[~hidden], rounded(points[~hidden]))
    assert not found[hidden].any()


def test_lengths_far_beyond_any_scene_stay_finite() -> None:
    points = np.array([[0, 0, 0, 0.5], [1e6, 0, 1e6, 0.5]], np.float32)
    found = module.frame_statistics(FrameSources(Needs(statistics=True), FrameConfig(), None), None, points)
    assert np.isfinite(found).all()


def test_copies_for_test_time_augmentation_scale_the_lengths(tiny_index: Path) -> None:
    view = collate([dataset(tiny_index)[0, 0]]).now.views["a"]
    for copy_T_view in AugmentedCopies(24).maps():
        copy = moved_view(view, copy_T_view)
        expected = view.points[:, 4:].numpy() * np.where(
            LENGTHS, abs(np.linalg.det(copy_T_view)) ** (1 / 3), 1
        )
        np.testing.assert_allclose(copy.points[:, 4:], expected, rtol=1e-6)
        assert torch.equal(copy.points[:, 3], view.points[:, 3])
        assert copy.lengths == view.lengths


@pytest.mark.parametrize("features", [("statistics", "intensity"), ("ring", "statistics"), ("statistics",)])
def test_statistics_come_last_and_have_intensity(features: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="comes last, with 'intensity' before it"):
        FrameConfig(features=features)


def test_a_target_needs_intensity(tiny_index: Path) -> None:
    with pytest.raises(ValueError, match="must have"):
        dataset(tiny_index, FrameConfig(features=("ring",)), Needs(statistics=True))
