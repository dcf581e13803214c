"""Map targets against the devkit's masks and against the simulator's own polygons and lines."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("nuscenes")

from nuscenes.map_expansion.map_api import NuScenesMap

from pc3d.data.errors import DataError
from pc3d.data.map_targets import MAP_CLASSES, MapRasteriser
from pc3d.data.transforms import PointAugmentation
from pc3d.geometry.grid import BevGrid
from pc3d.geometry.rigid import make_SE3, yaw_matrix
from pc3d.sim.sizes import SIZES
from pc3d.sim.towns import ScenePlan, plan_scenes
from pc3d.sim.types import SimScene
from pc3d.sim.world import build_scene

GRID = BevGrid(-50.0, 50.0, -50.0, 50.0, 0.5)
AREAS = MAP_CLASSES[:5]


@pytest.fixture(scope="module")
def plan() -> ScenePlan:
    size = SIZES["tiny"]
    return plan_scenes(size.train_scenes, size.val_scenes, 0, "v1.0-sim")[0]


@pytest.fixture(scope="module")
def scene(plan: ScenePlan) -> SimScene:
    return build_scene(plan.name, plan.seed, SIZES["tiny"], origin=plan.origin)


@pytest.fixture(scope="module")
def location(plan: ScenePlan) -> str:
    return plan.town.name


def centres_in_world(world_T_view: np.ndarray, grid: BevGrid) -> np.ndarray:
    """(rows, cols, 2) world x, y of the middle of each cell."""
    x = grid.x_min + (np.arange(grid.cols) + 0.5) * grid.cell
    y = grid.y_min + (np.arange(grid.rows) + 0.5) * grid.cell
    cells = np.stack([*np.meshgrid(x, y), np.zeros((grid.rows, grid.cols)), np.ones((grid.rows, grid.cols))])
    return np.einsum("ij,jrc->rci", world_T_view, cells)[..., :2]


def test_areas_are_the_devkits_masks(tiny_nuscenes: Path, scene: SimScene, location: str) -> None:
    town = NuScenesMap(str(tiny_nuscenes), location)
    maps = MapRasteriser(tiny_nuscenes, location)
    both, either = np.zeros(5), np.zeros(5)
    start = scene.ego_pose(0.0)
    for degrees in (-90.0, 0.0, 17.0, 65.0, 133.0):
        pose = make_SE3(yaw_matrix(np.radians(degrees)), start[:3, 3])
        expected = town.get_map_mask(
            (pose[0, 3], pose[1, 3], 100.0, 100.0), degrees, list(AREAS), (GRID.rows, GRID.cols)
        ).astype(bool)
        drawn = maps.targets(pose, GRID)[:5]
        both += (drawn & expected).sum(axis=(1, 2))
        either += (drawn | expected).sum(axis=(1, 2))
    assert (either > 100).all(), "every class is there"
    assert (both / either > 0.97).all(), dict(zip(AREAS, both / either, strict=True))


def within(shapes: list[shapely.Geometry], points: np.ndarray, distance: float) -> np.ndarray:
    """Which points are that near to any of the shapes; there are many of both."""
    found = np.zeros(points.size, dtype=bool)
    pairs = shapely.STRtree(points.ravel()).query(np.array(shapes, dtype=object), "dwithin", distance)
    found[pairs[1]] = True
    return found.reshape(points.shape)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31))
def test_areas_and_dividers_of_augmented_views_are_the_simulators(
    tiny_nuscenes: Path, scene: SimScene, location: str, seed: int
) -> None:
    """Cells that lie further than the rounding from every edge are right, whatever the augmentation."""
    rng = np.random.default_rng(seed)
    grid = BevGrid(-20.0, 28.0, -24.0, 16.0, 0.4)
    world_T_view = scene.ego_pose(0.0) @ np.linalg.inv(PointAugmentation((-3.1, 3.1)).draw(rng))
    targets = MapRasteriser(tiny_nuscenes, location, divider_width=2.0).targets(world_T_view, grid)
    assert targets.shape == (6, grid.rows, grid.cols)
    assert targets.dtype == bool
    points = shapely.points(centres_in_world(world_T_view, grid))
    # A corner moves by up to a cell in x and in y, and a cell's centre is half a cell from its corner.
    slack = 1.5 * np.sqrt(2) * grid.cell * 1.12
    for name, mask in zip(AREAS, targets, strict=False):
        shapes = [shapely.Polygon(ring) for ring in scene.layers.polygons[name]]
        cores = [core for s in shapes if not (core := s.buffer(-slack)).is_empty]
        assert mask[within(cores, points, 0.0)].all(), name
        assert not mask[~within(shapes, points, slack)].any(), name
    layers = ("road_divider", "lane_divider")
    lines = [shapely.LineString(line) for layer in layers for line in scene.layers.lines.get(layer, [])]
    assert targets[5][within(lines, points, 1.0 - slack)].all()
    assert not targets[5][~within(lines, points, 1.0 + slack)].any()
    assert targets[5].any()


def _write_map(root: Path, source: Path, location: str, **changes: object) -> Path:
    content = json.loads((source / "maps" / "expansion" / f"{location}.json").read_text())
    content.update(changes)
    path = root / "maps" / "expansion" / f"{location}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    return path


def test_holes_stay_open_but_for_other_areas(tiny_nuscenes: Path, location: str, tmp_path: Path) -> None:
    """A block of 40 m with a hole of 20 m, in which another area of 8 m stands that is drawn before it."""
    squares = {"block": 20.0, "hole": 10.0, "inner": 4.0}
    nodes = [
        {"token": f"{name}{i}", "x": 100.0 + x * half, "y": 200.0 + y * half}
        for name, half in squares.items()
        for i, (x, y) in enumerate([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    ]
    rings = {name: [f"{name}{i}" for i in range(4)] for name in squares}
    holes = {"inner": [], "block": [{"node_tokens": rings["hole"]}, {"node_tokens": []}]}
    polygons = [
        {"token": name, "exterior_node_tokens": rings[name], "holes": holes[name]}
        for name in ("inner", "block")
    ]
    empty = dict.fromkeys(
        ("road_segment", "road_block", "lane", "ped_crossing", "walkway", "stop_line", "carpark_area",
         "road_divider", "lane_divider", "traffic_light", "lane_connector", "line"), ()
    )  # fmt: skip
    road = [{"token": "road", "polygon_tokens": ["inner", "block"]}]
    _write_map(tmp_path, tiny_nuscenes, location, **empty, node=nodes, polygon=polygons, drivable_area=road)
    targets = MapRasteriser(tmp_path, location).targets(make_SE3(np.eye(3), [100.0, 200.0, 0.0]), GRID)
    x = GRID.x_min + (np.arange(GRID.cols) + 0.5) * GRID.cell
    reach = np.maximum(*np.abs(np.meshgrid(x, x)))
    assert targets[0][reach < 3.5].all()
    assert not targets[0][(reach > 4.6) & (reach < 9.4)].any()
    assert targets[0][(reach > 10.6) & (reach < 19.5)].all()
    assert not targets[0][reach > 20.6].any()
    assert not targets[1:].any(), "layers without an area are empty"


def test_a_rasteriser_pickles_without_its_geometry(tiny_nuscenes: Path, location: str) -> None:
    maps = MapRasteriser(tiny_nuscenes, location)
    pose = make_SE3(np.eye(3), [100.0, 100.0, 0.0])
    expected = maps.targets(pose, GRID)
    stored = pickle.dumps(maps)
    assert len(stored) < 1000
    np.testing.assert_array_equal(pickle.loads(stored).targets(pose, GRID), expected)


def test_far_from_the_town_there_is_nothing(tiny_nuscenes: Path, location: str) -> None:
    pose = make_SE3(np.eye(3), [1e5, -1e5, 0.0])
    assert not MapRasteriser(tiny_nuscenes, location).targets(pose, GRID).any()


def test_bad_maps_are_refused(tiny_nuscenes: Path, location: str, tmp_path: Path) -> None:
    pose = np.eye(4)
    with pytest.raises(DataError, match="none of"):
        MapRasteriser(tiny_nuscenes, "atlantis").targets(pose, GRID)
    with pytest.raises(DataError, match="download the nuScenes map expansion"):
        MapRasteriser(tmp_path, location).targets(pose, GRID)
    _write_map(tmp_path / "old", tiny_nuscenes, location, version="1.0")
    with pytest.raises(DataError, match="outdated"):
        MapRasteriser(tmp_path / "old", location).targets(pose, GRID)
    _write_map(tmp_path / "nodes", tiny_nuscenes, location, node=[])
    with pytest.raises(DataError, match="KeyError"):
        MapRasteriser(tmp_path / "nodes", location).targets(pose, GRID)
    path = _write_map(tmp_path / "cut", tiny_nuscenes, location)
    path.write_text(path.read_text()[:100])
    with pytest.raises(DataError, match="cannot be read"):
        MapRasteriser(tmp_path / "cut", location).targets(pose, GRID)
    with pytest.raises(ValueError, match="invertible"):
        MapRasteriser(tiny_nuscenes, location).targets(np.zeros((4, 4)), GRID)
    with pytest.raises(ValueError, match="divider_width"):
        MapRasteriser(tiny_nuscenes, location, divider_width=0.0)
