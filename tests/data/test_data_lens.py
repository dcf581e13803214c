"""Pairs and calibration scores of each camera model against plain loops; what a camera refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pc3d.data.calibration.agreement import YAWS, View, coverage, edge_sums, turn
from pc3d.data.calibration.edges import SECTORS, Scan
from pc3d.data.pairing import PairingConfig, cam_SE3_lidar, pair_camera
from pc3d.data.points import load_points
from pc3d.data.records import Camera, Sweep
from pc3d.geometry.camera import in_image, project
from pc3d.geometry.lens import Lens

EVERYTHING = PairingConfig(occlusion=False, min_depth=1e-3, ego_x=0, ego_y=0)
LENSES = [
    Lens(),
    Lens("brown", (-0.1, 0.02, 0.001, 0.0, 0.0)),
    Lens("rational", (0.5, 0.2, 0.001, 0.0005, 0.03, 0.9, 0.4, 0.05)),
    Lens("fisheye", (-0.03, 0.004, -0.001, 0.0)),
    Lens("fisheye", (-0.3, 0.0, 0.0, 0.0)),  # folds back at 60 degrees
    Lens("mei", (1.5, -0.05, 0.1, 0.0005, 0.001)),
]
each_lens = pytest.mark.parametrize(
    "lens", LENSES, ids=[f"{n} {lens.model}" for n, lens in enumerate(LENSES)]
)


def with_lens(camera: Camera, lens: Lens) -> Camera:
    return replace(camera, distortion=lens.coefficients, model=lens.model)


@each_lens
def test_pairs_are_the_projection_of_each_point(lens: Lens, sweeps: list[Sweep]) -> None:
    sweep = sweeps[3]
    camera = with_lens(sweep.cameras[0], lens)
    points = load_points(sweep.path, sweep.lidar_format)
    pairs = pair_camera(points, sweep, camera, EVERYTHING)
    pose = cam_SE3_lidar(sweep, camera)
    expected = []
    for row, point in enumerate(points[:, :3].astype(np.float64)):
        uv, depth = project((pose @ [*point, 1.0])[None, :3], camera.intrinsics, lens)
        if depth[0] > 1e-3 and in_image(uv, camera.size)[0]:
            expected.append((row, *uv[0], depth[0]))
    assert len(expected) > 30
    np.testing.assert_array_equal(pairs.row, [row for row, *_ in expected])
    np.testing.assert_allclose(
        np.column_stack([pairs.uv, pairs.depth]), [rest for _, *rest in expected], atol=1e-6
    )


@each_lens
def test_calibration_sums_are_the_plain_loop(lens: Lens, sweeps: list[Sweep]) -> None:
    rng = np.random.default_rng(0)
    sweep, camera = sweeps[0], with_lens(sweeps[0].cameras[0], lens)
    xyz = rng.uniform((-30, -30, -2), (30, 30, 6), (60, 3))
    scan = Scan(xyz, rng.uniform(0.2, 1, 60), rng.integers(0, SECTORS, 60), xyz)
    view = View(sweep, camera, scan, rng.uniform(0, 1, (30, 50)))
    expected = np.zeros((2, len(YAWS), SECTORS))
    pose = cam_SE3_lidar(sweep, camera)
    in_camera = xyz @ pose[:3, :3].T + pose[:3, 3]
    turns = turn(camera.ego_SE3_cam[2, :3], -YAWS)
    for t in range(len(YAWS)):
        turned = in_camera @ turns[t].T
        uv, depth = project(turned, camera.intrinsics, lens)
        for n in np.flatnonzero((depth >= 1) & in_image(uv, camera.size)):
            row, col = int(uv[n, 1] / camera.size[1] * 30), int(uv[n, 0] / camera.size[0] * 50)
            expected[0, t, scan.sector[n]] += scan.weight[n] * view.image[row, col]
            expected[1, t, scan.sector[n]] += scan.weight[n]
    assert (expected[1].sum(axis=1) > 0).all()
    np.testing.assert_allclose(edge_sums(view), expected, atol=1e-9)
    uv, depth = project(in_camera, camera.intrinsics, lens)
    assert coverage(view)[0] == ((depth > 0) & in_image(uv, camera.size)).mean()


def test_a_camera_has_a_lens_and_refuses_what_is_none(sweeps: list[Sweep]) -> None:
    camera = sweeps[0].cameras[0]
    assert camera.lens.is_pinhole
    assert with_lens(camera, LENSES[3]).lens == LENSES[3]
    with pytest.raises(ValueError, match="camera model is 'omni'"):
        replace(camera, model="omni")
    with pytest.raises(ValueError, match="expected 4 finite numbers: k1 k2 k3 k4"):
        replace(camera, model="fisheye", distortion=(0.1, 0.0, 0.0, 0.0, 0.0))
