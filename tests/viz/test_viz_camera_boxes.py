"""Edges of boxes in a camera's picture: cut before it, bent by its lens, in every view."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pc3d.data.index import SweepIndex
from pc3d.data.records import Boxes, Camera
from pc3d.geometry.boxes import corners
from pc3d.geometry.rigid import make_SE3
from pc3d.viz.camera_boxes import NEAR, STEPS, box_wires, clipped
from pc3d.viz.contact_sheet import bev_tile, sweep_sheet
from pc3d.viz.plots import camera_overlay
from pc3d.viz.sweep_colours import ColourOptions
from pc3d.viz.sweep_view import draw_camera, sweep_scene

K = np.array([[300.0, 0, 320.5], [0, 310.0, 240.5], [0, 0, 1]])
EGO_R_CAM = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


def box_at(x: float, y: float, size: tuple[float, float, float] = (4.0, 2.0, 1.6), yaw: float = 0.4) -> Boxes:
    return Boxes(
        centers=np.array([[x, y, -0.5]]),
        sizes=np.array([size]),
        yaws=np.array([yaw]),
        velocities=np.zeros((1, 2)),
        names=("vehicle.car",),
        tracks=("t",),
        num_lidar_pts=np.array([5]),
        attributes=("",),
    )


def camera(model: str = "brown", distortion: tuple[float, ...] = ()) -> Camera:
    pose = make_SE3(EGO_R_CAM, [0.0, 0, 1.5])
    return Camera("FRONT", Path("x.png"), (640, 480), K, pose, np.eye(4), 0, distortion, model)


@pytest.mark.parametrize(
    ("model", "distortion"),
    [
        ("brown", ()),
        ("brown", (-0.2, 0.05, 0.001, -0.002, 0.01)),
        ("rational", (0.1, -0.05, 0.001, 0.001, 0.02, 0.2, -0.04, 0.01)),
        ("fisheye", (0.02, -0.01, 0.003, -0.001)),
    ],
)
def test_edges_start_at_the_corners_that_opencv_projects(model: str, distortion: tuple[float, ...]) -> None:
    boxes, one = box_at(12.0, 1.0), camera(model, distortion)
    (wires,) = box_wires(boxes, one, make_SE3(np.eye(3), [0, 0, 1.8]))
    seen = corners(boxes.centers, boxes.sizes, boxes.yaws)[0] + [0, 0, 0.3]  # over the camera's height
    in_camera = seen @ EGO_R_CAM
    at_integers = K - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]  # OpenCV's pixel centres
    project = cv2.fisheye.projectPoints if model == "fisheye" else cv2.projectPoints
    coefficients = np.array(distortion or (0.0,) * 4)
    expected = project(in_camera[:, None], np.zeros(3), np.zeros(3), at_integers, coefficients)[0][:, 0] + 0.5
    starts = wires[:12, 0]
    nearest = np.linalg.norm(starts[:, None] - expected[None], axis=2).min(axis=1)
    assert wires.shape == (14, STEPS, 2)
    assert nearest.max() < 1e-6
    # All eight corners are a start or an end.
    ends = np.concatenate([wires[:12, 0], wires[:12, -1]])
    assert np.linalg.norm(ends[None] - expected[:, None], axis=2).min(axis=1).max() < 1e-6


def test_a_box_beside_the_camera_is_cut_and_one_behind_is_not_drawn() -> None:
    lidar = make_SE3(np.eye(3), [0, 0, 1.8])
    (beside,) = box_wires(box_at(1.0, 2.0, yaw=0.0), camera(), lidar)  # from 1 m behind to 3 m ahead
    seen = np.isfinite(beside).all(axis=(1, 2))
    assert 0 < seen.sum() < 14
    (behind,) = box_wires(box_at(-8.0, 0.0), camera(), lidar)
    assert np.isnan(behind).all()


finite = st.floats(-20, 20, allow_nan=False)


@given(st.lists(st.tuples(finite, finite, finite, finite, finite, finite), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_cut_lines_lie_before_the_camera_and_on_the_line(lines: list[tuple[float, ...]]) -> None:
    table = np.array(lines)
    start, stop = table[:, :3], table[:, 3:]
    points = clipped(start, stop)
    for a, b, along in zip(start, stop, points, strict=True):
        if max(a[2], b[2]) < NEAR:
            assert np.isnan(along).all()
            continue
        assert (along[:, 2] >= NEAR - 1e-9).all()
        # On the line: no way off it.
        direction = b - a
        off = along - a
        across = np.linalg.norm(np.cross(off, direction), axis=1)
        assert (across <= 1e-6 * (1 + np.linalg.norm(direction) * np.linalg.norm(off, axis=1))).all()
        for end, at in ((a, along[0]), (b, along[-1])):
            if end[2] >= NEAR:
                np.testing.assert_allclose(at, end, atol=1e-9)


def test_lines_and_a_legend_are_painted_over_the_image(tmp_path: Path) -> None:
    image = np.full((400, 1200, 3), 90, np.uint8)
    line = np.array([[[100.0, 200.5], [1100.0, 200.5]], [[np.nan, np.nan], [np.nan, np.nan]]])
    options = {"wires": [(line, np.array([255, 0, 0], np.uint8))], "legend": {"car": (255, 0, 0)}}
    camera_overlay(image, np.zeros((0, 2)), np.zeros((0, 3), np.uint8), tmp_path / "o.png", **options)
    drawn = np.asarray(Image.open(tmp_path / "o.png")).astype(int)
    red = drawn[..., 0] - drawn[..., 1] > 60
    assert drawn.shape == (400, 1200, 3)
    assert red[199:202, 200:1000].any(axis=0).all()
    assert not red[150:190, 200:1000].any()


class TestSimulated:
    @pytest.fixture(scope="class")
    def index(self, tiny_index: Path) -> SweepIndex:
        return SweepIndex.open(tiny_index)

    def test_a_camera_view_has_boxes_where_asked_for(self, index: SweepIndex, tmp_path: Path) -> None:
        row = int(index.key_rows(None)[0])
        pictures = []
        for boxes in (False, True):
            scene = sweep_scene(index, row, ColourOptions(), boxes=boxes)
            draw_camera(index[row], scene, "CAM_FRONT", tmp_path / f"{boxes}.png")
            pictures.append(np.asarray(Image.open(tmp_path / f"{boxes}.png")).astype(int))
        differ = np.abs(pictures[0] - pictures[1]).max(axis=2) > 40
        assert 0.001 < differ.mean() < 0.4

    def test_a_sheet_has_all_images_and_one_without_images_the_view_from_above(
        self, index: SweepIndex
    ) -> None:
        rows = [int(index.key_rows(None)[0])]
        rows.append(next(row for row in range(len(index)) if not index[row].cameras))
        sheet, alone = (sweep_sheet(index[row], 900) for row in rows)
        assert sheet.shape[1] == 900
        assert alone.shape == (450, 450, 3)
        assert sheet.std() > 20

    def test_the_view_from_above_has_the_nose_upwards(self, index: SweepIndex) -> None:
        sweep = index[int(index.key_rows(None)[0])]
        forward = sweep.ego_SE3_lidar[0, :3]  # of the ego's x axis in the LiDAR frame
        points = np.array([[*(30 * forward[:2]), 0.0, 0.5]], np.float32)

        tile = bev_tile(replace(sweep, boxes=None), points, 400).astype(int)
        blank = bev_tile(replace(sweep, boxes=None), points[:0], 400).astype(int)
        rows, columns = np.nonzero(np.abs(tile - blank).sum(axis=2))
        assert abs(rows.mean() - (200 - 30 * 4)) < 2
        assert abs(columns.mean() - 200) < 2
