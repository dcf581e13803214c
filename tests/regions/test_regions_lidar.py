"""The regions of a sweep on hand-made scenes, each filter by itself, and on a real sweep."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from pc3d.data.index import SweepIndex
from pc3d.data.label_maps import NUSCENES_LIDARSEG_CATEGORIES
from pc3d.regions.build import open_cache
from pc3d.regions.lidar_regions import RegionParams, lidar_regions

HEIGHT = 1.84


def block(x: float, y: float, size: tuple[float, float, float], bottom: float = 0.5) -> np.ndarray:
    """Points 0.2 m apart that fill a block standing `bottom` above the road."""
    axes = [np.arange(0, length + 1e-9, 0.2) for length in size]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return grid + np.array([x - size[0] / 2, y - size[1] / 2, bottom - HEIGHT])


def road() -> np.ndarray:
    xy = np.stack(np.meshgrid(np.arange(-53, 53, 0.8), np.arange(-53, 53, 0.8)), axis=-1).reshape(-1, 2)
    return np.c_[xy, np.full(len(xy), -HEIGHT)]


def regions_of(*blocks: np.ndarray, params: RegionParams | None = None) -> list[set[int]]:
    """The set of regions within each block; the road must have none."""
    cloud = np.concatenate([road(), *blocks])
    regions = lidar_regions(cloud, HEIGHT, params)
    assert regions.dtype == np.int16
    ends = np.cumsum([len(road())] + [len(b) for b in blocks])
    assert (regions[: ends[0]] == -1).all()
    return [set(regions[a:b].tolist()) for a, b in pairwise(ends)]


CAR = (4.0, 1.8, 1.2)


def test_each_object_is_a_region() -> None:
    assert regions_of(block(10, 10, CAR), block(-20, 5, CAR), block(10, 15, (0.6, 0.6, 1.4))) == [
        {0},
        {1},
        {2},
    ]


@pytest.mark.parametrize(
    "dropped",
    [
        pytest.param(block(0, 0, (1.0, 1.0, 1.2)), id="ego vehicle"),
        pytest.param(block(20, 20, (2.0, 2.0, 6.0)), id="tower"),
        pytest.param(block(20, 20, (6.0, 0.4, 1.2)), id="fence"),
        pytest.param(block(20, 20, (0.2, 0.2, 1.2)), id="pole"),
        pytest.param(block(20, 20, (6.0, 6.0, 1.2)), id="building"),
        pytest.param(block(20, 20, CAR)[:4], id="too few points"),
        pytest.param(block(70, 20, CAR), id="out of range"),
    ],
)
def test_what_can_be_no_object_is_dropped(dropped: np.ndarray) -> None:
    assert regions_of(block(10, 10, CAR), dropped) == [{0}, {-1}]


def test_low_clusters_are_dropped() -> None:
    kerb = block(20, 20, (2.0, 1.0, 0.0))
    kerb[:, 2] = -HEIGHT + 0.22
    assert regions_of(kerb) == [{-1}]
    kerb[:, 2] = -HEIGHT + 0.28
    assert regions_of(kerb) == [{0}]


def test_ego_filter_of_the_authors_drops_everything_ahead() -> None:
    ahead, aside = block(0, 20, (1.8, 4.0, 1.2)), block(10, 10, CAR)
    assert regions_of(ahead, aside) == [{0}, {1}]
    assert regions_of(ahead, aside, params=RegionParams(ego_filter="or")) == [{-1}, {0}]


@pytest.mark.parametrize(("ego_filter", "expected"), [("points", [{-1}, {0}]), ("and", [{0}, {0}])])
def test_a_pedestrian_beside_the_ego_vehicle(ego_filter: Literal["points", "and"], expected: list) -> None:
    """It reaches out of the square together with the bonnet; alone it is no more than itself."""
    bonnet, pedestrian = block(0, 0.9, (1.4, 1.8, 0.4)), block(0, 2.4, (0.6, 0.6, 1.4))
    params = RegionParams(ego_filter=ego_filter)
    assert regions_of(bonnet, pedestrian, params=params) == expected


def test_empty_and_groundless_sweeps() -> None:
    assert lidar_regions(np.empty((0, 5), np.float32), HEIGHT).shape == (0,)
    assert lidar_regions(road(), HEIGHT).max() == -1
    assert set(lidar_regions(block(10, 10, (0.8, 0.8, 0.2))[:49], HEIGHT)) == {0}


def test_real_sweep(real_data: Path) -> None:
    file = next((real_data / "nuscenes" / "samples" / "LIDAR_TOP").iterdir())
    points = np.fromfile(file, np.float32).reshape(-1, 5)
    regions = lidar_regions(points, HEIGHT)
    sizes = np.bincount(regions[regions >= 0])
    assert 15 <= len(sizes) <= 40
    assert sizes.min() >= 5
    near = np.hypot(points[:, 0], points[:, 1]) < 1.9
    assert (regions[near] == -1).all(), "the ego vehicle is no region"


def test_nothing_of_the_ego_vehicle_is_a_region(tiny_index: Path, tiny_regions: Path) -> None:
    index = SweepIndex.open(tiny_index)
    ego = NUSCENES_LIDARSEG_CATEGORIES.index("vehicle.ego")
    for row in index.key_rows(None):
        sweep = index[int(row)]
        assert sweep.lidarseg_path is not None
        of_ego = np.fromfile(sweep.lidarseg_path, np.uint8) == ego
        assert of_ego.sum() > 1000
        for kind, name in (("clusters", "regions"), ("tracks", "track_now")):
            assert (open_cache(tiny_regions, kind).load_all(sweep.token)[name][of_ego] == -1).all()
