"""Point-pixel pairs against plain loops, hand-made scenes and the real samples' published shares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pc3d.data.batch import Needs
from pc3d.data.dataset import FrameDataset
from pc3d.data.errors import DataError
from pc3d.data.frames import FrameConfig
from pc3d.data.images import load_ego_masks
from pc3d.data.index import SweepIndex
from pc3d.data.pairing import PairingConfig, cam_SE3_lidar, pair_camera, pair_points, visible
from pc3d.data.points import load_points
from pc3d.data.readers import open_reader
from pc3d.data.records import Sweep
from pc3d.geometry.camera import in_image, project
from pc3d.geometry.rigid import make_SE3, transform_points

EVERYTHING = PairingConfig(occlusion=False, min_depth=1e-3, ego_x=0, ego_y=0)


def test_pairs_are_the_plain_projection(sweeps: list[Sweep]) -> None:
    sweep = sweeps[3]
    moved = make_SE3(np.eye(3), [0.7, 0.1, 0.0]) @ sweep.world_SE3_ego
    camera = replace(sweep.cameras[0], world_SE3_ego=moved, distortion=(-0.1, 0.02, 0.001, 0.0, 0.0))
    points = load_points(sweep.path, sweep.lidar_format)
    pairs = pair_camera(points, sweep, camera, EVERYTHING)
    expected = []
    for row, point in enumerate(points[:, :3].astype(np.float64)):
        world = sweep.world_SE3_ego @ sweep.ego_SE3_lidar @ [*point, 1.0]
        cam = np.linalg.inv(camera.ego_SE3_cam) @ np.linalg.inv(moved) @ world
        uv, depth = project(cam[None, :3], camera.intrinsics, camera.lens)
        if depth[0] > 1e-3 and in_image(uv, camera.size)[0]:
            expected.append((row, *uv[0], depth[0]))
    assert len(expected) > 30
    np.testing.assert_array_equal(pairs.row, [row for row, *_ in expected])
    np.testing.assert_allclose(
        np.column_stack([pairs.uv, pairs.depth]), [rest for _, *rest in expected], atol=1e-6
    )


def test_the_ego_motion_between_the_exposures_counts(sweeps: list[Sweep]) -> None:
    sweep = sweeps[0]
    camera = sweep.cameras[0]
    later = replace(camera, world_SE3_ego=sweep.world_SE3_ego @ make_SE3(np.eye(3), [1.0, 0, 0]))
    point = np.array([[0.0, 20.0, 0.0]], np.float32)  # 20 m ahead: the LiDAR's y is forward
    near, far = (transform_points(cam_SE3_lidar(sweep, c), point)[0, 2] for c in (later, camera))
    assert far - near == pytest.approx(1.0)


def _visible(uv: list, depth: list, reach: tuple[int, int] = (3, 3)) -> list[bool]:
    window = np.tile(reach, (len(uv), 1))
    return visible(np.array(uv), np.array(depth), window, 1.0, 100, 100, 0.15).tolist()


def test_a_wall_behind_an_edge_is_hidden_from_the_camera() -> None:
    # A pole at 5 m, a wall at 20 m: right beside the pole's pixels the wall is not trusted.
    scene = [[50, 50], [52, 50], [50, 53], [50, 54], [70, 50]], [5, 20, 20, 20, 20]
    assert _visible(*scene) == [True, False, False, True, True]
    assert _visible(*scene, reach=(1, 9)) == [True, True, False, False, True]


def test_a_surface_does_not_hide_itself() -> None:
    # 14 % of depth difference on neighbouring pixels is slope, 20 % is an edge.
    assert _visible([[50, 50], [50, 51]], [10, 11.4]) == [True, True]
    assert _visible([[50, 50], [50, 51]], [10, 12.0]) == [True, False]


def test_the_order_of_the_points_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    uv, depth, reach = rng.uniform(0, 99, (500, 2)), rng.uniform(2, 60, 500), rng.integers(0, 5, (500, 2))
    order = rng.permutation(500)
    forward = visible(uv, depth, reach, 1.0, 100, 100, 0.15)
    np.testing.assert_array_equal(
        visible(uv[order], depth[order], reach[order], 1.0, 100, 100, 0.15), forward[order]
    )
    # The rule in plain words: nothing much nearer among the points whose window covers this cell.
    cell = uv.astype(int)
    for m in range(500):
        near = (np.abs(cell - cell[m]) <= reach).all(axis=1)
        assert forward[m] == (depth[near].min() >= depth[m] * 0.85)


def test_only_what_stands_up_hides_across_the_gap_of_two_rings(sweeps: list[Sweep]) -> None:
    # Seen from 1.5 m: the ground at 12 m, or a car's side there 1 m high, and the ground at 18 m.
    sweep, camera = sweeps[0], sweeps[0].cameras[0]
    camera = replace(
        camera, size=(1600, 900), intrinsics=np.array([[800.0, 0, 800], [0, 800, 450], [0, 0, 1]])
    )
    lidar_SE3_ego = np.linalg.inv(sweep.ego_SE3_lidar)

    def kept(near_height: float, far_height: float) -> list[int]:
        ego = np.array([[12.5, 0.0, near_height], [18.5, 0.0, far_height]])
        return pair_camera(transform_points(lidar_SE3_ego, ego), sweep, camera).row.tolist()

    assert kept(0.0, 0.0) == [0, 1]
    assert kept(1.0, 0.9) == [0]
    assert kept(1.0, 1.49) == [0, 1]


def test_ego_points_and_ego_pixels_are_left_out(sweeps: list[Sweep]) -> None:
    sweep, camera = sweeps[0], sweeps[0].cameras[0]
    points = load_points(sweep.path, sweep.lidar_format)
    everything = pair_camera(points, sweep, camera, EVERYTHING)
    without = pair_camera(points, sweep, camera, replace(EVERYTHING, ego_x=8.0, ego_y=12.0))
    ego = (np.abs(points[:, 0]) < 8) & (np.abs(points[:, 1]) < 12)
    np.testing.assert_array_equal(without.row, [row for row in everything.row if not ego[row]])
    assert len(without.row) < len(everything.row)
    mask = np.zeros((9, 16), bool)
    mask[6:] = True
    masked = pair_points(points, sweep, EVERYTHING, {"FRONT": mask})["FRONT"]
    np.testing.assert_array_equal(masked.row, everything.row[everything.uv[:, 1] < 60])


def test_shares_of_the_real_nuscenes_frame(real_data: Path) -> None:
    sweep = next(iter(open_reader("nuscenes", real_data / "nuscenes", version="v1.0-mini").sweeps()))
    points = load_points(sweep.path, sweep.lidar_format)
    pairs = pair_points(points, sweep, EVERYTHING)
    shares = [len(pair.row) / len(points) for pair in pairs.values()]
    assert len(shares) == 6
    assert min(shares) == pytest.approx(0.088, abs=0.005)
    assert max(shares) == pytest.approx(0.139, abs=0.005)
    seen = np.unique(np.concatenate([pair.row for pair in pairs.values()]))
    assert len(seen) / len(points) == pytest.approx(0.583, abs=0.005)
    far = np.linalg.norm(points[:, :3], axis=1) > 3
    assert far[seen].sum() / far.sum() == pytest.approx(0.772, abs=0.005)
    kept = pair_points(points, sweep)
    assert 0.9 < sum(len(p.row) for p in kept.values()) / sum(len(p.row) for p in pairs.values()) < 1


def test_shares_of_the_real_kitti_drive(real_data: Path) -> None:
    for sweep in open_reader("kitti_raw", real_data / "kitti_raw").sweeps():
        points = load_points(sweep.path, sweep.lidar_format)
        share = len(pair_points(points, sweep, EVERYTHING)["image_02"].row) / len(points)
        assert 0.134 - 0.005 < share < 0.143 + 0.005


def test_ego_masks_are_pictures(sweeps: list[Sweep], drive: SweepIndex, tmp_path: Path) -> None:
    pixels = np.zeros((9, 16), np.uint8)
    pixels[4:] = 255
    Image.fromarray(pixels).save(tmp_path / "FRONT.png")
    config = FrameConfig(image_size=(90, 160), ego_masks=str(tmp_path))
    with_mask, without = (
        FrameDataset(drive, Needs(images=True), rows=[0], config=c)[0].frames["t"].pairs
        for c in (config, replace(config, ego_masks=None))
    )
    assert with_mask is not None
    assert without is not None
    hidden = (without.camera == 0) & (without.uv[:, 1] >= 40)
    assert hidden.sum() > 0
    np.testing.assert_array_equal(with_mask.uv, without.uv[~hidden])
    with pytest.raises(DataError, match="no ego masks"):
        load_ego_masks(tmp_path / "none")


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="window"):
        PairingConfig(window=0)
