"""The spinning LiDAR: 32 rings, 1,084 columns, nearest surface, noise, intensity and lost returns."""

from __future__ import annotations

import numpy as np

from pc3d.sim import primitives as p
from pc3d.sim.layout import GROUND_LABELS, LAWN, PLAZA, ROAD, WALK
from pc3d.sim.primitives import Primitives
from pc3d.sim.raycast import GROUND, NOTHING, Hits, cast_lidar
from pc3d.sim.shapes import hash3
from pc3d.sim.types import Float, LidarScan, SimScene
from pc3d.sim.world import World
from pc3d.storage.compiled import njit

RINGS = 32
COLUMNS = 1084
LOWEST = np.radians(-30.67)
STEP = np.radians(41.34 / 31)
FIRST = np.radians(187.0)
"""Azimuth of the first column (about -x of the sensor); columns turn clockwise."""
REACH = 105.0
PERIOD = 0.05
"""Time of one turn (s)."""


def _directions() -> Float:
    """(COLUMNS * RINGS, 3) unit rays in the sensor frame, ring by ring within a column."""
    elevation = LOWEST + STEP * np.arange(RINGS)
    azimuth = FIRST - 2.0 * np.pi / COLUMNS * np.arange(COLUMNS)
    a, e = np.meshgrid(azimuth, elevation, indexing="ij")
    return np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], axis=-1).reshape(-1, 3)


DIRECTIONS = _directions()

# Brightness (0..255) of a surface that faces the sensor, by material.
REFLECTIVITY = np.full(32, 30.0)
for _material, _value in {
    p.PAINT: 34,
    p.CABIN: 14,
    p.GLASS: 6,
    p.TYRE: 6,
    p.HEADLIGHT: 90,
    p.TAILLIGHT: 120,
    p.WINDOWS: 30,
    p.BRICK: 32,
    p.PLASTER: 38,
    p.BARK: 22,
    p.LEAVES: 26,
    p.CLOTH: 24,
    p.SKIN: 30,
    p.METAL: 30,
    p.SIGN: 170,
    p.CONE: 70,
    p.BARRIER: 34,
    p.CARGO: 36,
    p.HAZARD: 60,
    p.DARK: 8,
    p.BUS_SIDE: 16,
    p.SHOPFRONT: 20,
}.items():
    REFLECTIVITY[_material] = _value
# Share of the rays that a material swallows or mirrors away.
LOSS = np.full(32, 0.01)
LOSS[[p.GLASS, p.CABIN, p.BUS_SIDE, p.SHOPFRONT, p.WINDOWS, p.DARK]] = (0.6, 0.35, 0.3, 0.3, 0.12, 0.1)
GROUND_REFLECTIVITY = np.full(8, 14.0)
GROUND_REFLECTIVITY[[ROAD, WALK, LAWN, PLAZA]] = (14.0, 24.0, 30.0, 24.0)


@njit(cache=True, error_model="numpy")
def _uniform(n: int, stream: int, seed: int) -> float:
    return (hash3(n, stream, 17, seed) + 0.5) / 4294967296.0


@njit(cache=True, error_model="numpy")
def _measure(
    depth, what, code, directions, material, labels, instances, turn,
    reflect, loss, ground_reflect, ground_labels, travel, seed,
):  # fmt: skip
    """Turn ranges into returns. A lost ray is stored at the sensor, moved as real files store it."""
    n_rays = len(depth)
    points = np.empty((n_rays, 5), np.float32)
    label = np.zeros(n_rays, np.uint8)
    instance = np.full(n_rays, -1, np.int32)
    for n in range(n_rays):
        t, hit = depth[n], what[n]
        u = _uniform(n, 1, seed)
        v = _uniform(n, 2, seed)
        noise = np.sqrt(-2.0 * np.log(u)) * np.cos(2.0 * np.pi * v)
        x, y, z = directions[n]
        base, lost, rough = 0.0, 1.0, 0.012
        if hit == GROUND:
            wz = turn[2, 0] * x + turn[2, 1] * y + turn[2, 2] * z
            base = ground_reflect[code[n]] * (0.35 + 1.5 * abs(wz))
            # Asphalt mirrors grazing rays away: fewer returns far out.
            lost = 0.01 + max(0.0, 0.10 - abs(wz)) * (9.0 if code[n] == ROAD else 5.0)
            rough = 0.03 if code[n] == LAWN else 0.012
        elif hit >= 0:
            m = material[hit]
            base = reflect[m] * (0.45 + 0.55 * _uniform(hit, 5, seed))
            lost = loss[m]
        lost += max(0.0, t - 60.0) * 0.012
        ring = n % 32
        if hit == NOTHING or t > 105.0 or _uniform(n, 3, seed) < lost:
            left = 1.0 - n / n_rays
            points[n, 0] = -0.0005 * left
            points[n, 1] = -travel * left
            points[n, 2] = -0.0144 * left
            spill = _uniform(n, 4, seed)
            points[n, 3] = np.floor(4.0 + 40.0 * spill * spill * spill)
            points[n, 4] = ring
            continue
        t += rough * noise
        points[n, 0], points[n, 1], points[n, 2] = t * x, t * y, t * z
        speckle = 0.85 * np.exp(0.6 * np.sqrt(-2.0 * np.log(_uniform(n, 4, seed))) * np.sin(2.0 * np.pi * v))
        points[n, 3] = min(255.0, max(1.0, np.floor(base * speckle * (1.0 - 0.003 * t))))
        points[n, 4] = ring
        if hit == GROUND:
            label[n] = ground_labels[code[n]]
        else:
            label[n] = labels[hit]
            instance[n] = instances[hit]
    return points, label, instance


def trace(world: World, pose: Float, time: float) -> tuple[Hits, Primitives]:
    """What each ray of a sensor at `pose` ((4, 4) world_SE3_lidar) meets, and the solids at `time`."""
    hits = Hits.of_ground(world.ground, DIRECTIONS, pose)
    solids = world.solids(time)
    cast_lidar(
        *solids.geometry(), hits.turn, hits.eye, DIRECTIONS, LOWEST, STEP, FIRST, REACH,
        hits.depth.reshape(COLUMNS, RINGS), hits.what.reshape(COLUMNS, RINGS),
    )  # fmt: skip
    return hits, solids


def scan(scene: SimScene, time: float) -> LidarScan:
    """One sweep of the scene's LiDAR, taken at once at `time` (s).

    Every ray makes a row, as in real nuScenes files: columns in the order of the turn (clockwise
    from the left), rings within a column. Rays that bring nothing back lie within 0.5 m of the
    sensor (moved by the ego motion of the turn) and are labelled noise.
    """
    world: World = scene.world  # type: ignore[assignment]
    hits, solids = trace(world, world.ego_pose(time) @ scene.rig.ego_SE3_lidar, time)
    travel = float(np.hypot(*world.ego.at(time)[2])) * PERIOD
    seed = int(world.seed * 100003 + round(time * 1000))
    points, labels, instances = _measure(
        hits.depth, hits.what, hits.code, DIRECTIONS, solids.material, solids.label, solids.instance,
        hits.turn, REFLECTIVITY, LOSS, GROUND_REFLECTIVITY, GROUND_LABELS, travel, seed,
    )  # fmt: skip
    return LidarScan(points, labels, instances)
