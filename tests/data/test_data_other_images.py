"""`other_frames_images`, a control: pixels of another scene under a frame's own pairs, nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pc3d.data.batch import Needs
from pc3d.data.dataset import FrameDataset, Sample
from pc3d.data.errors import DataError
from pc3d.data.frames import FrameConfig
from pc3d.data.index import SweepIndex
from pc3d.data.region_cache import RegionCache

CONFIG = FrameConfig(num_cameras=2, image_size=(36, 80))
OTHER = replace(CONFIG, other_frames_images=True)
NEEDS = Needs(images=True, superpixels=True, neighbour_images=True, frames=("t", "t-1", "dense"))


@pytest.fixture(scope="module")
def index(tiny_index: Path) -> SweepIndex:
    return SweepIndex.open(tiny_index)


@pytest.fixture(scope="module")
def caches(index: SweepIndex, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RegionCache]:
    """Superpixels of a sweep are its row everywhere."""
    cache = RegionCache(tmp_path_factory.mktemp("ids"), "superpixels", {})
    for row in index.key_rows():
        sweep = index[int(row)]
        maps = {camera.name: np.full((90, 160), int(row), np.int16) for camera in sweep.cameras}
        cache.save(sweep.token, maps)
    return {"superpixels": cache}


def dataset(
    index: SweepIndex, caches: dict[str, RegionCache], config: FrameConfig, seed: int = 0
) -> FrameDataset:
    return FrameDataset(index, NEEDS, rows=list(index.key_rows()), config=config, caches=caches, seed=seed)


def shown(sample: Sample, frame: str = "t") -> int:
    """Row of the sweep whose superpixels a frame shows."""
    return int(np.unique(sample.frames[frame].superpixels)[-1])


def test_the_images_are_those_of_another_scene_and_all_else_is_the_frames_own(
    index: SweepIndex, caches: dict[str, RegionCache]
) -> None:
    own, other = dataset(index, caches, CONFIG), dataset(index, caches, OTHER)
    for position, row in enumerate(own.rows.tolist()):
        a, b = own[3, position], other[3, position]
        row_shown = shown(b)
        assert index[row_shown].scene != index[row].scene
        assert shown(a) == row
        # The same cameras at the place of the other frame: its pixels, by the plain way of loading them.
        there = own.rows.tolist().index(row_shown)
        names = b.frames["t"].draw.cameras
        plain = replace(CONFIG, cameras=names, num_cameras=None)
        expected = dataset(index, caches, plain)[0, there].frames["t"].images.rgb
        for frame in ("t", "dense"):
            np.testing.assert_array_equal(b.frames[frame].images.rgb, expected)
            assert not np.array_equal(a.frames[frame].images.rgb, expected)
            for name in ("row", "camera", "uv"):
                left, right = (getattr(x.frames[frame].pairs, name) for x in (a, b))
                np.testing.assert_array_equal(left, right)
            np.testing.assert_array_equal(
                a.frames[frame].images.cam_SE3_lidar, b.frames[frame].images.cam_SE3_lidar
            )
            np.testing.assert_array_equal(
                a.frames[frame].views["a"].points, b.frames[frame].views["a"].points
            )


def test_the_neighbour_in_time_shows_the_other_ones_neighbour(
    index: SweepIndex, caches: dict[str, RegionCache]
) -> None:
    other = dataset(index, caches, OTHER)
    for position in range(len(other)):
        sample = other[0, position]
        now = shown(sample)
        before = index.neighbour(now, -1)
        assert shown(sample, "t-1") == (now if before is None else before)


def test_it_is_the_same_in_every_pass_and_follows_the_seed(
    index: SweepIndex, caches: dict[str, RegionCache]
) -> None:
    one, again = dataset(index, caches, OTHER), dataset(index, caches, OTHER)
    first = [shown(one[0, position]) for position in range(len(one))]
    assert first == [shown(again[7, position]) for position in range(len(one))]
    assert first == [one.shown_row(position) for position in range(len(one))]
    seeds = {
        tuple(d.shown_row(position) for position in range(len(d)))
        for d in (dataset(index, caches, OTHER, seed) for seed in range(5))
    }
    assert len(seeds) > 1


def test_one_scene_alone_is_refused_at_once(index: SweepIndex) -> None:
    rows = [row for row in index.key_rows().tolist() if row in index.scene_rows(0)]
    with pytest.raises(DataError, match="there is one scene only"):
        FrameDataset(index, Needs(images=True), rows=rows, config=OTHER)
    assert FrameDataset(index, Needs(images=True), rows=rows, config=CONFIG).shown_row(0) is None
