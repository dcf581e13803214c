"""The simulated cameras: consistent with the LiDAR to the pixel, and with brute force."""

from __future__ import annotations

import numpy as np
import pytest

from pc3d.sim import primitives as p
from pc3d.sim.cameras import shoot, trace
from pc3d.sim.categories import EGO, LIDARSEG_NAMES, NOISE, SKY
from pc3d.sim.lidar import scan
from pc3d.sim.rig import CAMERAS
from pc3d.sim.shapes import hit
from pc3d.sim.sizes import SIZES
from pc3d.sim.sun import SunMap
from pc3d.sim.types import SimScene
from pc3d.sim.world import build_scene


@pytest.fixture(scope="module")
def scene() -> SimScene:
    return build_scene("sim", 5, SIZES["tiny"])


def test_sim_cameras_image_and_truth(scene: SimScene) -> None:
    shot = shoot(scene, 0.5, "CAM_FRONT")
    assert shot.rgb.shape == (225, 400, 3)
    assert shot.rgb.dtype == np.uint8
    assert shot.rgb.std() > 20
    np.testing.assert_array_equal(np.isinf(shot.depth), shot.labels == SKY)
    assert (shot.instances[shot.labels == SKY] == -1).all()
    again = shoot(scene, 0.5, "CAM_FRONT")
    np.testing.assert_array_equal(shot.rgb, again.rgb)
    for track in scene.tracks:
        mine = shot.instances == track.instance
        assert {LIDARSEG_NAMES[k] for k in np.unique(shot.labels[mine])} <= {track.category}
    with pytest.raises(KeyError, match="CAM_BACK"):
        shoot(scene, 0.5, "CAM_TOP")


def test_sim_cameras_see_what_the_lidar_sees(scene: SimScene) -> None:
    """LiDAR points that are not hidden land on pixels of the same label, instance and depth."""
    checked = agree = deep = instance = 0
    for time in scene.key_times:
        sweep = scan(scene, time)
        keep = (sweep.labels != NOISE) & (sweep.labels != EGO)
        ego = sweep.points[:, :3] @ scene.rig.ego_SE3_lidar[:3, :3].T + scene.rig.ego_SE3_lidar[:3, 3]
        for name in CAMERAS:
            shot = shoot(scene, time, name)
            ego_SE3_cam, intrinsics = scene.rig.cameras[name]
            cam = (ego - ego_SE3_cam[:3, 3]) @ ego_SE3_cam[:3, :3]
            uvw = cam @ intrinsics.T
            with np.errstate(divide="ignore", invalid="ignore"):
                u, v = np.floor(uvw[:, 0] / uvw[:, 2]), np.floor(uvw[:, 1] / uvw[:, 2])
            width, height = scene.rig.image_size
            rows = np.flatnonzero(keep & (cam[:, 2] > 1.0) & (u >= 0) & (u < width) & (v >= 0) & (v < height))
            r, c = v[rows].astype(int), u[rows].astype(int)
            depth = cam[rows, 2]
            hidden = shot.depth[r, c] < depth - 0.05 * depth - 0.2
            rows, r, c, depth = rows[~hidden], r[~hidden], c[~hidden], depth[~hidden]
            checked += len(rows)
            agree += (shot.labels[r, c] == sweep.labels[rows]).sum()
            instance += (shot.instances[r, c] == sweep.instances[rows]).sum()
            deep += (np.abs(shot.depth[r, c] - depth) < 0.05 * depth + 0.3).sum()
    assert checked > 20000
    assert agree / checked > 0.95
    assert instance / checked > 0.97
    assert deep / checked > 0.94


def test_sim_cameras_nearest_surface_of_all_solids(scene: SimScene) -> None:
    world = scene.world
    rng = np.random.default_rng(1)
    for name in ("CAM_FRONT", "CAM_BACK"):
        ego_SE3_cam, intrinsics = scene.rig.cameras[name]
        pose = world.ego_pose(0.5) @ ego_SE3_cam
        hits, solids = trace(world, pose, intrinsics, scene.rig.image_size, 0.5)
        for n in rng.choice(len(hits.depth), 30, replace=False):
            pixel = np.array([n % 400 + 0.5, n // 400 + 0.5, 1.0])
            ray = pose[:3, :3] @ (np.linalg.inv(intrinsics) @ pixel)
            best = np.inf
            for i in range(len(solids)):
                local = solids.rot[i].T
                t = hit(
                    solids.shape[i], solids.half[i], solids.par[i], solids.seed[i],
                    *(local @ (hits.eye - solids.pos[i])), *(local @ ray), np.inf,
                )  # fmt: skip
                best = min(best, t)
            if hits.what[n] >= 0:
                assert hits.depth[n] == pytest.approx(best, abs=1e-6)
            else:
                assert best >= hits.depth[n] - 1e-6


def test_sim_cameras_shadows_darken_the_road() -> None:
    """The same road with and without a box between it and the sun."""
    b = p.Builder(np.random.default_rng(0), 0)
    b.box((-2, -2, 1), (2, 2, 3), p.PAINT, (0.5, 0.5, 0.5))
    sun = np.array([0.0, 0.6, 0.8])
    shadows = SunMap.of(b.build(), sun, np.zeros(2))

    def shaded(point: np.ndarray) -> bool:
        grid = (point - shadows.start) @ shadows.axes
        texel = shadows.height[round(grid[1] / 0.2), round(grid[0] / 0.2)]
        return bool(texel > grid[2] + 0.1)

    for x, y in np.random.default_rng(1).uniform(-6, 6, (200, 2)):
        ground = np.array([x, y, 0.0])
        steps = ground + np.linspace(0, 8, 4000)[:, None] * sun
        blocked = ((np.abs(steps[:, :2]) < 1.7).all(axis=1) & (np.abs(steps[:, 2] - 2) < 0.7)).any()
        grown = ((np.abs(steps[:, :2]) < 2.3).all(axis=1) & (np.abs(steps[:, 2] - 2) < 1.3)).any()
        if blocked == grown:  # away from the edge of the shadow
            assert shaded(ground) == blocked
