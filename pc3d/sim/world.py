"""Scenes of the simulated world: streets, scenery, traffic and the ego drive, by seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pc3d.sim.cast import Actor, draw_actors
from pc3d.sim.layout import StreetPlan, draw_plan
from pc3d.sim.motion import Motion, ego_motion
from pc3d.sim.primitives import Primitives
from pc3d.sim.rig import nuscenes_rig
from pc3d.sim.scenery import build_scenery
from pc3d.sim.sizes import SimSize
from pc3d.sim.sun import Light, SunMap, draw_light
from pc3d.sim.town_map import map_layers
from pc3d.sim.types import Float, SimScene, Track
from pc3d.sim.vehicles import ego_car

KEY_INTERVAL = 0.5
SWEEP_INTERVAL = 0.05


@dataclass(frozen=True, eq=False)
class World:
    """The geometry of a scene, in the world frame.

    Attributes:
        plan: the streets. ego: the drive. actors: the annotated objects, motions in the world.
        resting: solids that never move. moving, moving_actor: solids of the movers in their
        object frames, and whose they are. ego_solids: the ego vehicle in the ego frame.
        light: sun and sky. sun_map: shadows of the resting solids.
    """

    plan: StreetPlan
    ego: Motion
    actors: tuple[Actor, ...]
    resting: Primitives
    moving: Primitives
    moving_actor: np.ndarray
    ego_solids: Primitives
    light: Light
    sun_map: SunMap
    seed: int

    def ego_pose(self, time: float) -> Float:
        """(4, 4) world_SE3_ego."""
        position, yaw, _ = self.ego.at(time)
        pose = np.eye(4)
        pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
        pose[:3, 3] = position
        return pose

    @property
    def ground(self) -> tuple[Float, Float, Float, Float]:
        """What the compiled ground functions take."""
        return self.plan.numbers(), self.plan.cross, self.plan.parks, self.plan.lots

    def movers(self, time: float) -> Primitives:
        """Solids of the moving actors and the ego vehicle at `time`, world frame."""
        position, yaw, _ = self.ego.at(time)
        parts = [self.ego_solids.moved(position, yaw)]
        if len(self.moving):
            states = [actor.motion.at(time) for actor in self.actors]
            positions = np.array([state[0] for state in states])[self.moving_actor]
            yaws = np.array([state[1] for state in states])[self.moving_actor]
            parts.append(self.moving.moved(positions, yaws))
        return Primitives.concatenate(parts)

    def solids(self, time: float) -> Primitives:
        """Every solid at `time`, world frame."""
        return Primitives.concatenate([self.resting, self.movers(time)])


def _tracks(actors: tuple[Actor, ...], times: Float) -> tuple[Track, ...]:
    tracks = []
    for instance, actor in enumerate(actors):
        states = [actor.motion.at(t) for t in times]
        velocities = np.array([state[2] for state in states])
        centres = np.array([state[0] for state in states]) + np.array([0.0, 0.0, actor.size[2] / 2])
        tracks.append(
            Track(
                instance=instance,
                category=actor.category,
                size=actor.size,
                times=times,
                centers=centres,
                yaws=np.array([state[1] for state in states]),
                velocities=velocities,
                attribute=tuple(actor.attribute(float(np.hypot(*v))) for v in velocities),
            )
        )
    return tuple(tracks)


def _frame_times(size: SimSize) -> tuple[Float, Float]:
    """Key times (2 Hz), and sweep times on the 20 Hz grid, evenly between them."""
    key = np.arange(size.key_frames) * KEY_INTERVAL
    slots = round(KEY_INTERVAL / SWEEP_INTERVAL)
    n = min(size.sweeps_per_key_frame, slots - 1)
    steps = np.unique(np.round(np.arange(1, n + 1) * slots / (n + 1)).astype(int)) * SWEEP_INTERVAL
    sweeps = (key[:-1, None] + steps).reshape(-1)
    return key, np.round(sweeps, 6)


def build_scene(
    name: str, seed: int, size: SimSize, origin: tuple[float, float] = (600.0, 800.0)
) -> SimScene:
    """Draw a scene; the same arguments give the same scene.

    Args:
        name: of the scene, e.g. `sim-0001`.
        seed: everything random comes from it.
        size: number of key frames, sweeps between them, and image size.
        origin: world position of the middle of the scene, which lies within 265 m of it.
    """
    rng = np.random.default_rng([seed, 0x5CE7E])
    key, sweeps = _frame_times(size)
    end = float(key[-1])
    plan = draw_plan(rng, origin)
    ego = ego_motion(plan, rng, end)
    drawn = draw_actors(plan, rng, ego, end)
    standing = [a for a in drawn if len(a.motion.yaw) == 1]
    taken = np.array([[*a.motion.xy[0], max(a.size[:2]) / 2] for a in standing]).reshape(-1, 3)
    scenery = build_scenery(plan, rng, (-110.0, 190.0), taken)
    actors = tuple(
        Actor(a.category, a.solids, a.size, a.motion.in_world(plan), a.resting, a.moving) for a in drawn
    )
    at_rest = [a for a in actors if len(a.motion.yaw) == 1]
    resting = [a.solids.moved(*a.motion.at(0.0)[:2]) for a in at_rest]
    moving = [(i, a.solids) for i, a in enumerate(actors) if len(a.motion.yaw) > 1]
    solids = Primitives.concatenate([scenery, *resting])
    light = draw_light(rng)
    world = World(
        plan=plan,
        ego=ego.in_world(plan),
        actors=actors,
        resting=solids,
        moving=Primitives.concatenate(
            [scenery.select(np.zeros(len(scenery), bool)), *(s for _, s in moving)]
        ),
        moving_actor=np.repeat([i for i, _ in moving], [len(s) for _, s in moving]).astype(np.int64),
        ego_solids=ego_car(rng),
        light=light,
        sun_map=SunMap.of(solids, light.sun, plan.to_world(np.array([20.0, 0.0]))),
        seed=seed,
    )
    counts: dict[str, int] = {}
    for actor in actors:
        counts[actor.category.split(".")[1]] = counts.get(actor.category.split(".")[1], 0) + 1
    listed = ", ".join(f"{n} {what}" for what, n in sorted(counts.items()))
    return SimScene(
        name=name,
        description=f"Simulated {plan.lanes}+{plan.lanes}-lane street, {light.name}; {listed}",
        seed=seed,
        key_times=key,
        sweep_times=sweeps,
        tracks=_tracks(actors, np.sort(np.concatenate([key, sweeps]))),
        layers=map_layers(plan),
        rig=nuscenes_rig(size.image_size),
        world=world,
    )
