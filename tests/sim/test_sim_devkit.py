"""The official nuscenes-devkit, unchanged, on a simulated data set: tables, drawing, maps, evaluators."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")
pytest.importorskip("nuscenes")

from matplotlib import pyplot as plt
from nuscenes.map_expansion.map_api import NuScenesMap
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.data_classes import LidarPointCloud
from nuscenes.utils.geometry_utils import points_in_box
from pyquaternion import Quaternion
from scipy.ndimage import binary_dilation, binary_erosion
from skimage.draw import polygon2mask

from pc3d.sim.categories import DRIVEABLE, SIDEWALK
from pc3d.sim.lidar import scan
from pc3d.sim.sizes import SIZES
from pc3d.sim.towns import plan_scenes
from pc3d.sim.types import SimScene
from pc3d.sim.world import build_scene


@pytest.fixture(scope="module")
def nusc(tiny_nuscenes: Path) -> NuScenes:
    return NuScenes("v1.0-sim", str(tiny_nuscenes), verbose=False)


@pytest.fixture(scope="module")
def town(nusc: NuScenes, tiny_nuscenes: Path) -> NuScenesMap:
    return NuScenesMap(str(tiny_nuscenes), nusc.log[0]["location"])


@pytest.fixture(scope="module")
def scene() -> SimScene:
    """The first scene of the fixture's data set, built again."""
    size = SIZES["tiny"]
    plan = plan_scenes(size.train_scenes, size.val_scenes, 0, "v1.0-sim")[0]
    return build_scene(plan.name, plan.seed, size, origin=plan.origin)


def world_points(nusc: NuScenes, sample_data: str) -> np.ndarray:
    """(P, 3) points of a sweep in the world, by the devkit's means."""
    row = nusc.get("sample_data", sample_data)
    cloud = LidarPointCloud.from_file(nusc.get_sample_data_path(sample_data))
    for table in ("calibrated_sensor", "ego_pose"):
        frame = nusc.get(table, row[f"{table}_token"])
        cloud.rotate(Quaternion(frame["rotation"]).rotation_matrix)
        cloud.translate(np.array(frame["translation"]))
    return cloud.points[:3].T


def lidarseg(nusc: NuScenes, sample_data: str) -> np.ndarray:
    return np.fromfile(Path(nusc.dataroot) / nusc.get("lidarseg", sample_data)["filename"], dtype=np.uint8)


def first_lidar(nusc: NuScenes, scene_name: str) -> str:
    record = next(s for s in nusc.scene if s["name"] == scene_name)
    return nusc.get("sample", record["first_sample_token"])["data"]["LIDAR_TOP"]


@pytest.mark.parametrize("channel", ["LIDAR_TOP", "CAM_FRONT"])
def test_renders_sample_data(nusc: NuScenes, channel: str, tmp_path: Path) -> None:
    out = tmp_path / f"{channel}.png"
    nusc.render_sample_data(nusc.sample[0]["data"][channel], out_path=str(out), verbose=False)
    plt.close("all")
    assert plt.imread(out).std() > 0.01


def test_renders_lidarseg_in_the_image(nusc: NuScenes, tmp_path: Path) -> None:
    out = tmp_path / "lidarseg.png"
    nusc.render_pointcloud_in_image(
        nusc.sample[0]["token"], show_lidarseg=True, out_path=str(out), verbose=False
    )
    plt.close("all")
    assert out.stat().st_size > 1000


def test_boxes_hold_the_points_of_their_instances(nusc: NuScenes, scene: SimScene) -> None:
    lidar = first_lidar(nusc, scene.name)
    sweep = scan(scene, float(scene.key_times[0]))
    path, boxes, _ = nusc.get_sample_data(lidar)
    points = LidarPointCloud.from_file(path).points[:3]
    np.testing.assert_array_equal(points.T, sweep.points[:, :3])
    centres = np.array([track.centers[0] for track in scene.tracks])
    held = hit = 0
    for box in boxes:
        annotation = nusc.get("sample_annotation", box.token)
        distance = np.linalg.norm(centres - annotation["translation"], axis=1)
        track = scene.tracks[int(distance.argmin())]
        assert distance.min() < 1e-6
        assert box.name == track.category
        own = sweep.instances == track.instance
        inside = points_in_box(box, points, wlh_factor=1.05)
        held += int((inside & own).sum())
        hit += int(own.sum())
    assert hit > 200
    assert held / hit > 0.97


def test_velocities_by_differences_are_the_true_ones(nusc: NuScenes, scene: SimScene) -> None:
    centres = np.array([track.centers[0] for track in scene.tracks])
    record = next(s for s in nusc.scene if s["name"] == scene.name)
    compared = 0
    for token in nusc.get("sample", record["first_sample_token"])["anns"]:
        annotation = nusc.get("sample_annotation", token)
        if not annotation["next"]:
            continue
        track = scene.tracks[int(np.linalg.norm(centres - annotation["translation"], axis=1).argmin())]
        np.testing.assert_allclose(nusc.box_velocity(token)[:2], track.velocities[0], atol=1.5)
        compared += 1
    assert compared > 5


def test_ground_labels_lie_on_their_map_layers(nusc: NuScenes, town: NuScenesMap, scene: SimScene) -> None:
    """Within a cell of 0.2 m: the kerb's face is sidewalk, and ranges are noisy."""
    lidar = first_lidar(nusc, scene.name)
    points, labels = world_points(nusc, lidar), lidarseg(nusc, lidar)
    x, y = points[:, :2].mean(axis=0)
    size, scale = 100.0, 5
    names = ["drivable_area", "walkway"]
    masks = town.get_map_mask((x, y, size, size), 0, names, (int(size * scale),) * 2).astype(bool)
    near = (np.abs(points[:, :2] - [x, y]) < size / 2 - 1).all(axis=1)
    cols, rows = np.floor((points[:, :2] - [x, y] + size / 2) * scale).astype(int).T
    for mask, label, other in zip(masks, (DRIVEABLE, SIDEWALK), (SIDEWALK, DRIVEABLE), strict=True):
        own, foreign = near & (labels == label), near & (labels == other)
        assert own.sum() > 200
        assert binary_dilation(mask, np.ones((3, 3)))[rows[own], cols[own]].all()
        assert not binary_erosion(mask, iterations=2)[rows[foreign], cols[foreign]].any()


@pytest.mark.parametrize(
    "layer", ["drivable_area", "road_segment", "lane", "ped_crossing", "walkway", "stop_line", "carpark_area"]
)
def test_layer_masks_are_the_true_polygons(town: NuScenesMap, scene: SimScene, layer: str) -> None:
    """Equal to another rasteriser's mask, but for the pixels that a polygon's edge runs through."""
    x, y = scene.ego_pose(0.0)[:2, 3]
    size, scale = 120.0, 5
    edge = int(size * scale)
    mask = town.get_map_mask((x, y, size, size), 0, [layer], (edge, edge))[0].astype(bool)
    truth, rim = np.zeros((edge, edge), dtype=bool), np.zeros((edge, edge), dtype=bool)
    for ring in scene.layers.polygons[layer]:
        pixels = (ring - [x, y] + size / 2) * scale
        one = polygon2mask((edge, edge), pixels[:, ::-1] - 0.5)
        truth |= one
        rim |= binary_dilation(one, iterations=2) & ~binary_erosion(one, iterations=2)
    assert (mask == truth)[~rim].all()
    assert (mask & truth).sum() >= 0.9 * truth.sum()


def test_semantic_prior_holds_the_road(nusc: NuScenes, scene: SimScene) -> None:
    lidar = first_lidar(nusc, scene.name)
    points, labels = world_points(nusc, lidar), lidarseg(nusc, lidar)
    on = np.isin(labels, [DRIVEABLE, SIDEWALK])
    mask = nusc.map[0]["mask"]
    assert mask.is_on_mask(points[on, 0], points[on, 1]).mean() > 0.99
    assert not mask.is_on_mask(points[:1, 0] + 5000, points[:1, 1]).any()


def test_map_has_lanes_that_lead_on(town: NuScenesMap, scene: SimScene) -> None:
    x, y = scene.ego_pose(0.0)[:2, 3]
    lane = town.get_closest_lane(x, y, radius=8)
    path = town.discretize_lanes([lane], 1.0)[lane]
    yaw = np.arctan2(scene.ego_pose(0.0)[1, 0], scene.ego_pose(0.0)[0, 0])
    nearest = min(path, key=lambda pose: np.hypot(pose[0] - x, pose[1] - y))
    assert np.hypot(nearest[0] - x, nearest[1] - y) < 2.0
    assert np.cos(nearest[2] - yaw) > 0.9, "the ego vehicle drives along its lane"
    assert any(record["outgoing"] for record in town.connectivity.values())
    assert town.get_map_geom((x, y, 100.0, 100.0), 0, ["road_divider", "lane_divider"])


def submission(nusc: NuScenes, split: list[str]) -> dict[str, Any]:
    """The true boxes as detections, without those that the evaluator drops from the truth."""
    from nuscenes.eval.detection.utils import category_to_detection_name

    attributes = {row["token"]: row["name"] for row in nusc.attribute}
    results: dict[str, list[dict]] = {}
    for sample in nusc.sample:
        if nusc.get("scene", sample["scene_token"])["name"] not in split:
            continue
        boxes = results.setdefault(sample["token"], [])
        for token in sample["anns"]:
            row = nusc.get("sample_annotation", token)
            name = category_to_detection_name(row["category_name"])
            if name is None or row["num_lidar_pts"] == 0:
                continue
            boxes.append(
                {
                    "sample_token": sample["token"],
                    **{key: row[key] for key in ("translation", "size", "rotation")},
                    "velocity": nusc.box_velocity(token)[:2].tolist(),
                    "detection_name": name,
                    "detection_score": 1.0,
                    "attribute_name": attributes[row["attribute_tokens"][0]]
                    if row["attribute_tokens"]
                    else "",
                }
            )
    modalities = ("camera", "lidar", "radar", "map", "external")
    return {"meta": {f"use_{name}": name == "lidar" for name in modalities}, "results": results}


def test_true_boxes_score_one(nusc: NuScenes, tiny_nuscenes: Path, tmp_path: Path) -> None:
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    split = json.loads((tiny_nuscenes / "v1.0-sim" / "splits.json").read_text())["sim_val"]
    path = tmp_path / "detections.json"
    path.write_text(json.dumps(submission(nusc, split)))
    evaluation = DetectionEval(
        nusc, config_factory("detection_cvpr_2019"), str(path), "sim_val", str(tmp_path), verbose=False
    )
    metrics, _ = evaluation.evaluate()
    occurring = {box.detection_name for box in evaluation.gt_boxes.all}
    assert len(occurring) >= 3
    for name in occurring:
        assert metrics.mean_dist_aps[name] == pytest.approx(1.0, abs=1e-6), name
        assert metrics.get_label_tp(name, "trans_err") == pytest.approx(0.0, abs=1e-6)
        assert metrics.get_label_tp(name, "scale_err") == pytest.approx(0.0, abs=1e-6)
        for error in ("vel_err", "attr_err"):
            value = metrics.get_label_tp(name, error)
            assert np.isnan(value) or value == pytest.approx(0.0, abs=1e-6)


def test_true_labels_score_one(nusc: NuScenes, tiny_nuscenes: Path, tmp_path: Path) -> None:
    from nuscenes.eval.lidarseg.utils import LidarsegClassMapper

    from pc3d.evaluation.lidarseg import LidarsegWriter, evaluate_lidarseg, split_samples

    mapper = LidarsegClassMapper(nusc)
    writer = LidarsegWriter(tmp_path, "sim_val")
    for sample in split_samples(nusc, "sim_val"):
        token = nusc.get("sample", sample)["data"]["LIDAR_TOP"]
        coarse = mapper.convert_label(lidarseg(nusc, token))
        # What is ignored must be given some class, and does not count.
        writer.write(token, np.where(coarse == 0, 1, coarse) - 1)
    scores = evaluate_lidarseg(tiny_nuscenes, "v1.0-sim", "sim_val", tmp_path)
    assert scores["miou_truth"] == pytest.approx(1.0, abs=1e-9)
    assert sum(iou == 1.0 for iou in scores["iou"].values()) >= 6
