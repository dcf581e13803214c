"""The simulated data set read as nuScenes: boxes as the devkit's, pairs as the simulator's truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pc3d.data.batch import Needs
from pc3d.data.build import build_index
from pc3d.data.collate import collate
from pc3d.data.dataset import FrameDataset
from pc3d.data.frames import FrameConfig
from pc3d.data.index import SweepIndex
from pc3d.data.pairing import PairingConfig, pair_points
from pc3d.data.points import load_points
from pc3d.data.records import Camera, Sweep
from pc3d.geometry.boxes import points_in_boxes
from pc3d.sim.cameras import shoot
from pc3d.sim.categories import EGO
from pc3d.sim.lidar import scan
from pc3d.sim.sizes import SimSize
from pc3d.sim.world import build_scene


@pytest.fixture(scope="session")
def index(tiny_nuscenes: Path, tmp_path_factory: pytest.TempPathFactory) -> SweepIndex:
    out = tmp_path_factory.mktemp("sim_index") / "index"
    return build_index("nuscenes", tiny_nuscenes, out, "simulate again", version="v1.0-sim")


def test_boxes_and_velocities_are_the_devkits(index: SweepIndex, tiny_nuscenes: Path) -> None:
    nuscenes = pytest.importorskip("nuscenes")
    quaternion = pytest.importorskip("pyquaternion").Quaternion
    nusc = nuscenes.NuScenes("v1.0-sim", str(tiny_nuscenes), verbose=False)
    known = 0
    for row in index.key_rows(None):
        sweep = index[int(row)]
        assert sweep.boxes is not None
        _, boxes, _ = nusc.get_sample_data(sweep.token)
        assert len(boxes) == len(sweep.boxes)
        lidar = nusc.get("sample_data", sweep.token)
        ego = nusc.get("ego_pose", lidar["ego_pose_token"])
        sensor = nusc.get("calibrated_sensor", lidar["calibrated_sensor_token"])
        world_R_lidar = (
            quaternion(ego["rotation"]).rotation_matrix @ quaternion(sensor["rotation"]).rotation_matrix
        )
        for n, box in enumerate(boxes):
            np.testing.assert_allclose(sweep.boxes.centers[n], box.center, atol=1e-6)
            np.testing.assert_allclose(sweep.boxes.sizes[n], box.wlh[[1, 0, 2]])
            velocity = world_R_lidar.T @ nusc.box_velocity(box.token)
            np.testing.assert_allclose(sweep.boxes.velocities[n], velocity[:2], atol=1e-6)
            known += np.isfinite(velocity).all()
            annotation = nusc.get("sample_annotation", box.token)
            assert sweep.boxes.tracks[n] == annotation["instance_token"]
            names = [nusc.get("attribute", token)["name"] for token in annotation["attribute_tokens"]]
            assert sweep.boxes.attributes[n] == "".join(names)
    assert known > 20


def test_points_in_boxes_are_those_annotated(index: SweepIndex) -> None:
    """Up to the tilt of the LiDAR: its boxes have a yaw alone, the annotation counts in the world."""
    difference = total = 0
    for row in index.key_rows(None):
        sweep = index[int(row)]
        boxes = sweep.boxes
        assert boxes is not None
        points = load_points(sweep.path, sweep.lidar_format)
        inside = points_in_boxes(points, boxes.centers, boxes.sizes, boxes.yaws).sum(axis=1)
        difference += int(np.abs(inside - boxes.num_lidar_pts).sum())
        total += int(boxes.num_lidar_pts.sum())
    assert total > 5000
    assert difference / total < 0.1


def test_a_batch_of_the_simulated_drive(index: SweepIndex) -> None:
    assert index.splits == ("sim_train", "sim_val")
    needs = Needs(images=True, labels=True, boxes=True, frames=("t", "t+1", "dense"))
    data = FrameDataset(index, needs, split="sim_train", config=FrameConfig(num_cameras=3))
    batch = collate([data[0], data[1]])
    assert batch.now.images is not None
    assert batch.now.images.shape == (2, 3, 3, 224, 448)
    assert batch.now.labels is not None
    assert batch.now.labels.min() == -1
    assert batch.now.labels.max() <= 15
    assert len(batch.now.labels.unique()) > 5
    assert batch.frames["dense"].num_points > batch.now.num_points


def test_pairs_show_what_the_points_hit() -> None:
    """The z-buffer leaves few of the pairs that look through a foreground edge, and most of the others."""
    size = SimSize(1, 1, 2, 0, (800, 450))
    scene = build_scene("pairs", 1, size)
    time = float(scene.key_times[0])
    sweep_scan, pose = scan(scene, time), scene.ego_pose(time)
    cameras = tuple(
        Camera(name, Path(name), size.image_size, K, ego_SE3_cam, pose, 0)
        for name, (ego_SE3_cam, K) in scene.rig.cameras.items()
    )
    ego_SE3_lidar = scene.rig.ego_SE3_lidar
    sweep = Sweep("t", "s", 0, True, Path("x"), "nuscenes", ego_SE3_lidar, pose, "train", cameras)
    shots = {camera.name: shoot(scene, time, camera.name) for camera in cameras}
    ego_masks = {name: shot.labels == EGO for name, shot in shots.items()}
    wrong, right, same_instance = {}, {}, {}
    for occlusion in (False, True):
        pairs = pair_points(sweep_scan.points, sweep, PairingConfig(occlusion=occlusion), ego_masks)
        hidden, instance = [], []
        for name, pair in pairs.items():
            u, v = pair.uv.astype(int).T
            farthest = _largest_around(shots[name].depth)[v, u]
            hidden.append(pair.depth > 1.03 * farthest + 0.3)
            on_object = sweep_scan.instances[pair.row] >= 0
            instance.append((sweep_scan.instances[pair.row] == shots[name].instances[v, u])[on_object])
        behind = np.concatenate(hidden)
        wrong[occlusion], right[occlusion] = behind.mean(), (~behind).sum()
        same_instance[occlusion] = np.concatenate(instance).mean()
    assert wrong[False] > 0.02
    assert wrong[True] < 0.01
    assert wrong[True] < wrong[False] / 4
    assert right[True] / right[False] > 0.93
    assert same_instance[True] > max(0.85, same_instance[False])


def _largest_around(depth: np.ndarray) -> np.ndarray:
    """Largest of the 3 x 3 pixels around each: a point may lie anywhere in its pixel."""
    padded = np.pad(depth, 1, mode="edge")
    height, width = depth.shape
    return np.max([padded[i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=0)
