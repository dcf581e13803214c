"""The simulated LiDAR against brute force, analytic surfaces, and its own promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.sim import primitives as p
from pc3d.sim.categories import EGO, LIDARSEG_NAMES, NOISE
from pc3d.sim.lidar import COLUMNS, DIRECTIONS, REACH, RINGS, scan, trace
from pc3d.sim.shapes import hit, normal_at
from pc3d.sim.sizes import SIZES
from pc3d.sim.types import SimScene
from pc3d.sim.world import build_scene


@pytest.fixture(scope="module")
def scene() -> SimScene:
    return build_scene("sim", 5, SIZES["tiny"])


def _inside(shape: int, half: np.ndarray, par: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Whether points (N, 3) lie in a solid, from its definition."""
    x, y, z = q.T
    a, b, c = half
    k = (z + c) / (2 * c)
    if shape == p.BOX:
        flat = (np.abs(z) <= c) & (np.abs(y) <= b - par[2] * k)
        return flat & (x <= a - par[0] * k) & (x >= -a + par[1] * k)
    if shape == p.FRUSTUM:
        return (np.abs(z) <= c) & (np.hypot(x / a, y / b) <= 1 - (1 - par[0]) * k)
    return (x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2 <= 1


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([p.BOX, p.FRUSTUM, p.ELLIPSOID]), st.integers(0, 10**6))
def test_sim_lidar_hit_is_the_first_point_of_the_solid(shape: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    half = rng.uniform(0.2, 2.0, 3)
    par = np.array([rng.uniform(0.0, 1.0), rng.uniform(0, 0.5), rng.uniform(0, 0.5)]) * (
        half.min() if shape == p.BOX else 1.0
    )
    origin = rng.normal(size=3)
    origin *= 6.0 / np.linalg.norm(origin)
    direction = rng.uniform(-0.8, 0.8, 3) * half - origin
    direction /= np.linalg.norm(direction)
    t = hit(shape, half, par, 1, *origin, *direction, np.inf)
    steps = np.linspace(0, 12, 24001)
    within = _inside(shape, half, par, origin + steps[:, None] * direction)
    if not within.any():
        if np.isfinite(t):  # a graze that the steps miss
            assert not _inside(shape, 0.99 * half, par, (origin + t * direction)[None])[0]
        return
    assert abs(t - steps[within.argmax()]) < 1e-3
    point = origin + t * direction
    normal = np.array(normal_at(shape, half, par, 1, *point))
    assert np.isclose(np.linalg.norm(normal), 1.0)
    assert normal @ direction < 1e-6  # an entry
    outside, inside = _inside(shape, half, par, np.stack([point + 1e-4 * normal, point - 1e-4 * normal]))
    assert not outside
    assert inside or np.sort(np.abs(np.abs(point) - half))[0] < 1e-3


def test_sim_lidar_nearest_surface_of_all_solids(scene: SimScene) -> None:
    """The bounds that the caster searches lose nothing: the same as every solid tried for a ray."""
    world = scene.world
    pose = world.ego_pose(0.5) @ scene.rig.ego_SE3_lidar
    hits, solids = trace(world, pose, 0.5)
    rows = np.random.default_rng(0).choice(len(DIRECTIONS), 60, replace=False)
    for n in rows:
        ray = pose[:3, :3] @ DIRECTIONS[n]
        best = np.inf
        for i in range(len(solids)):
            local = solids.rot[i].T
            best = min(
                best,
                hit(
                    solids.shape[i], solids.half[i], solids.par[i], solids.seed[i],
                    *(local @ (hits.eye - solids.pos[i])), *(local @ ray), np.inf,
                ),
            )  # fmt: skip
        if hits.what[n] >= 0 and best < REACH:
            assert hits.depth[n] == pytest.approx(best, abs=1e-6)
        else:
            assert best >= min(hits.depth[n], REACH) - 1e-6


def test_sim_lidar_rows_are_those_of_a_nuscenes_file(scene: SimScene) -> None:
    sweep = scan(scene, 0.0)
    assert sweep.points.dtype == np.float32
    assert sweep.points.shape == (COLUMNS * RINGS, 5) == (34688, 5)
    np.testing.assert_array_equal(sweep.points[:, 4], np.tile(np.arange(32), COLUMNS))
    assert sweep.points[:, 3].min() >= 0
    assert sweep.points[:, 3].max() <= 255
    assert np.isfinite(sweep.points).all()
    real = sweep.labels != NOISE
    distance = np.linalg.norm(sweep.points[:, :3], axis=1)
    elevation = np.degrees(np.arcsin(sweep.points[real, 2] / distance[real]))
    np.testing.assert_allclose(elevation, -30.67 + sweep.points[real, 4] * 41.34 / 31, atol=1e-3)
    assert distance[~real].max() < 0.6  # lost rays lie at the sensor
    assert (sweep.instances[~real] == -1).all()
    ego = sweep.labels == EGO
    assert 0.05 < ego.mean() < 0.2
    assert distance[ego].max() < 3.0


def test_sim_lidar_points_lie_in_the_boxes_of_their_instances(scene: SimScene) -> None:
    for time in scene.key_times:
        sweep = scan(scene, time)
        pose = scene.ego_pose(time) @ scene.rig.ego_SE3_lidar
        world = sweep.points[:, :3] @ pose[:3, :3].T + pose[:3, 3]
        for track in scene.tracks:
            mine = sweep.instances == track.instance
            if not mine.any():
                continue
            assert {LIDARSEG_NAMES[k] for k in np.unique(sweep.labels[mine])} == {track.category}
            i = int(np.argmin(np.abs(track.times - time)))
            offset = world[mine] - track.centers[i]
            cos, sin = np.cos(track.yaws[i]), np.sin(track.yaws[i])
            local = np.stack([offset @ [cos, sin, 0], offset @ [-sin, cos, 0], offset[:, 2]], axis=1)
            inside = (np.abs(local) <= track.size / 2 + 0.1).all(axis=1)
            assert inside.mean() > 0.93, track.category


def test_sim_lidar_ground_lies_on_the_ground(scene: SimScene) -> None:
    sweep = scan(scene, 1.0)
    pose = scene.ego_pose(1.0) @ scene.rig.ego_SE3_lidar
    height = (sweep.points[:, :3] @ pose[:3, :3].T + pose[:3, 3])[:, 2]
    road = height[sweep.labels == LIDARSEG_NAMES.index("flat.driveable_surface")]
    walk = height[sweep.labels == LIDARSEG_NAMES.index("flat.sidewalk")]
    assert np.abs(road).max() < 0.08
    assert len(road) > 5000
    assert abs(np.median(walk) - 0.13) < 0.02
