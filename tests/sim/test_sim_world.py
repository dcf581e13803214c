"""The simulated world: same seed same scene, tracks, map and ground agree, every class is there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from shapely import contains_xy, unary_union
from shapely.geometry import Polygon

from pc3d.geometry.rigid import quaternion_to_matrix
from pc3d.sim.categories import DETECTION_CLASS, LIDARSEG_NAMES
from pc3d.sim.layout import GROUND_LABELS, ground_at
from pc3d.sim.lidar import scan
from pc3d.sim.rig import CAMERAS, nuscenes_rig
from pc3d.sim.sizes import SIZES, SimSize
from pc3d.sim.types import SimScene
from pc3d.sim.world import build_scene


@pytest.fixture(scope="module")
def scenes() -> list[SimScene]:
    return [build_scene(f"sim-{seed}", seed, SIZES["tiny"]) for seed in (3, 11, 12)]


def test_sim_world_same_seed_same_scene(scenes: list[SimScene]) -> None:
    again = build_scene("sim-3", 3, SIZES["tiny"])
    assert again.description == scenes[0].description
    for a, b in zip(again.world.resting.geometry(), scenes[0].world.resting.geometry(), strict=True):
        np.testing.assert_array_equal(a, b)
    first, second = scan(again, 0.5), scan(scenes[0], 0.5)
    np.testing.assert_array_equal(first.points, second.points)
    assert build_scene("x", 4, SIZES["tiny"]).description != again.description


def test_sim_world_times() -> None:
    scene = build_scene("x", 1, SimSize(1, 0, 4, sweeps_per_key_frame=4))
    np.testing.assert_allclose(scene.key_times, [0, 0.5, 1.0, 1.5])
    np.testing.assert_allclose(scene.sweep_times, np.add.outer([0, 0.5, 1.0], [0.1, 0.2, 0.3, 0.4]).ravel())
    every = build_scene("x", 1, SimSize(1, 0, 2, sweeps_per_key_frame=9))
    np.testing.assert_allclose(every.sweep_times, np.arange(1, 10) * 0.05)


def test_sim_world_scene_stays_on_its_plot() -> None:
    for seed in range(4):
        scene = build_scene("x", seed, SIZES["tiny"], origin=(900.0, 1000.0))
        corners = np.concatenate([ring for rings in scene.layers.polygons.values() for ring in rings])
        assert np.abs(corners - [900.0, 1000.0]).max() < 280.0
        assert np.abs(scene.world.resting.pos[:, :2] - [900.0, 1000.0]).max() < 280.0
        assert len(scene.world.solids(0.0)) >= 1500


def test_sim_world_all_detection_classes_in_every_scene(scenes: list[SimScene]) -> None:
    together = set()
    for scene in scenes:
        assert {DETECTION_CLASS[t.category] for t in scene.tracks} == set(DETECTION_CLASS.values())
        seen = scan(scene, 0.5).instances
        classes = {DETECTION_CLASS[t.category] for t in scene.tracks if (seen == t.instance).any()}
        assert len(classes) >= 8
        together |= classes
    assert together == set(DETECTION_CLASS.values())


def test_sim_world_tracks_move_as_they_say() -> None:
    scene = build_scene("x", 7, SimSize(1, 0, 5))
    moved = 0
    for track in scene.tracks:
        steps = np.diff(track.centers[:, :2], axis=0) / np.diff(track.times)[:, None]
        np.testing.assert_allclose(steps, 0.5 * (track.velocities[1:] + track.velocities[:-1]), atol=0.05)
        speed = np.linalg.norm(track.velocities, axis=1)
        for value, attribute in zip(speed, track.attribute, strict=True):
            if attribute in ("vehicle.moving", "pedestrian.moving"):
                assert value > 0.2
            if attribute.split(".")[1:] in (["parked"], ["stopped"], ["standing"], ["without_rider"]):
                assert value < 0.2
            if track.category.startswith("movable_object"):
                assert attribute == ""
        moved += speed.max() > 0.5
    assert moved >= 5


def test_sim_world_solids_lie_in_their_boxes(scenes: list[SimScene]) -> None:
    """Corners of every solid of an annotated object, in the frame of its box."""
    for actor in (a for scene in scenes for a in scene.world.actors):
        s = actor.solids
        signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
        corners = s.pos[:, None] + np.einsum("nij,nkj->nki", s.rot, signs * s.half[:, None])
        outside = np.abs(corners - [0, 0, actor.size[2] / 2]) - actor.size / 2
        assert outside.max() < 0.45, actor.category  # only feet, wheels and booms stick out a little
        assert (outside.max(axis=2) > 0.05).mean() < 0.35, actor.category


def test_sim_world_ground_agrees_with_map(scenes: list[SimScene]) -> None:
    """Points of the ground function lie in the polygons of their label, and in no other."""
    rng = np.random.default_rng(0)
    for scene in scenes:
        world = scene.world
        numbers, cross, parks, lots = world.ground
        local = rng.uniform((-120, -60), (220, 60), size=(20000, 2))
        codes = np.array([ground_at(numbers, cross, parks, lots, x, y) for x, y in local])
        names = np.array(LIDARSEG_NAMES)[GROUND_LABELS[codes]]
        xy = world.plan.to_world(local)
        for layer, label in (("drivable_area", "flat.driveable_surface"), ("walkway", "flat.sidewalk")):
            area = unary_union([Polygon(ring) for ring in scene.layers.polygons[layer]])
            inside = contains_xy(area, xy[:, 0], xy[:, 1])
            assert (inside == (names == label)).all(), layer
        road = unary_union([Polygon(ring) for ring in scene.layers.polygons["drivable_area"]]).buffer(1e-6)
        for layer in ("ped_crossing", "stop_line", "lane", "road_block", "road_segment", "carpark_area"):
            for ring in scene.layers.polygons[layer]:
                polygon = Polygon(ring)
                assert polygon.is_valid
                # Segments and blocks span the median, everything else is road.
                if layer in ("ped_crossing", "stop_line", "carpark_area"):
                    assert road.contains(polygon), layer


def test_sim_world_ego_drives_on_the_road() -> None:
    for seed in range(4):
        scene = build_scene("x", seed, SIZES["bench"])
        road = unary_union([Polygon(ring) for ring in scene.layers.polygons["drivable_area"]])
        poses = np.array([scene.ego_pose(t)[:2, 3] for t in scene.key_times])
        assert contains_xy(road, poses[:, 0], poses[:, 1]).all(), seed


def test_sim_world_rig_is_that_of_nuscenes(real_data: Path) -> None:
    tables = real_data / "nuscenes" / "v1.0-mini"
    sensors = {row["token"]: row["channel"] for row in json.loads((tables / "sensor.json").read_text())}
    rig = nuscenes_rig((1600, 900))
    for row in json.loads((tables / "calibrated_sensor.json").read_text()):
        channel = sensors[row["sensor_token"]]
        pose = rig.ego_SE3_lidar if channel == "LIDAR_TOP" else rig.cameras[channel][0]
        np.testing.assert_allclose(pose[:3, 3], row["translation"], atol=1e-5)
        np.testing.assert_allclose(pose[:3, :3], quaternion_to_matrix(row["rotation"]), atol=1e-5)
        if channel != "LIDAR_TOP":
            np.testing.assert_allclose(rig.cameras[channel][1], row["camera_intrinsic"], atol=1e-3)
    half = nuscenes_rig((800, 450))
    for name in CAMERAS:
        np.testing.assert_allclose(half.cameras[name][1][:2] * 2, rig.cameras[name][1][:2])
    with pytest.raises(ValueError, match="image_size"):
        nuscenes_rig((0, 450))
