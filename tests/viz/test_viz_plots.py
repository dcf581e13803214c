"""Pictures have the right content: read back and looked at pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pc3d.data.classes import ClassSet
from pc3d.data.records import Boxes
from pc3d.viz.curves import loss_curves
from pc3d.viz.plots import bev, camera_overlay, camera_with_superpixels, heading_of, side_by_side
from pc3d.viz.raster import paint_discs, resize_nearest

RED = (255, 0, 0)


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def near(picture: np.ndarray, colour: tuple[int, int, int], within: int = 60) -> np.ndarray:
    """(H, W) pixels of about that colour."""
    return np.abs(picture - np.array(colour)).max(axis=-1) < within


def one_box(center: tuple[float, float, float], size: tuple[float, float, float], yaw: float) -> Boxes:
    return Boxes(
        centers=np.array([center]),
        sizes=np.array([size]),
        yaws=np.array([yaw]),
        velocities=np.full((1, 2), np.nan),
        names=("car",),
        tracks=("1",),
        num_lidar_pts=np.array([-1]),
        attributes=("",),
    )


def test_discs_cover_the_pixels_within_their_radius() -> None:
    canvas = paint_discs(
        np.zeros((40, 60, 3), np.uint8), np.array([[20.5, 10.5]]), np.array([RED], np.uint8), 5.0
    )
    y, x = np.mgrid[0:40, 0:60] + 0.5
    distance = np.hypot(x - 20.5, y - 10.5)
    assert (canvas[distance < 4.0, 0] == 255).all()
    assert (canvas[distance > 6.0] == 0).all()


def test_later_discs_cover_earlier_ones_and_outside_is_left_out() -> None:
    uv = np.array([[5.0, 5.0], [5.0, 5.0], [-100.0, 3.0], [1e9, 3.0], [9.9, 9.9]])
    colours = np.array([RED, (0, 255, 0), RED, RED, (0, 0, 255)], np.uint8)
    canvas = paint_discs(np.zeros((10, 10, 3), np.uint8), uv, colours, 2.0)
    assert tuple(canvas[4, 4]) == (0, 255, 0)
    assert canvas[..., 0].max() == 0
    assert canvas[9, 9, 2] > 0


@pytest.mark.parametrize(
    ("heading", "point"), [(0.0, (20.0, 0.0)), (np.pi / 2, (0.0, 20.0)), (np.pi, (-20.0, 0.0))]
)
def test_bev_shows_what_is_ahead_at_the_top(
    tmp_path: Path, heading: float, point: tuple[float, float]
) -> None:
    rng = np.random.default_rng(0)
    ahead = np.column_stack([np.array(point) + rng.normal(size=(200, 2)) * 0.2, np.zeros(200)])
    bev(
        ahead,
        np.tile(np.array([RED], np.uint8), (200, 1)),
        tmp_path / "a.png",
        heading=heading,
        extent=50,
        width=800,
    )
    rows, cols = np.nonzero(near(read(tmp_path / "a.png"), RED))
    # 20 m of 50 m above the middle; a pixel is 0.125 m.
    assert abs(rows.mean() - (400 - 20 / 0.125)) < 3
    assert abs(cols.mean() - 400) < 3


def test_bev_draws_boxes_where_they_are(tmp_path: Path) -> None:
    box = one_box((20.0, -10.0, 0.0), (8.0, 4.0, 1.5), np.pi / 2)
    nothing = np.zeros((0, 3)), np.zeros((0, 3), np.uint8)
    bev(*nothing, tmp_path / "b.png", boxes=box, extent=40, width=800, legend={"-": (0, 0, 0)})
    rows, cols = np.nonzero(near(read(tmp_path / "b.png"), (255, 176, 32)))
    # Forward is up and left is left: x 18..22 is above the middle, y -14..-6 is right of it.
    np.testing.assert_allclose([rows.min(), rows.max()], [400 - 220, 400 - 180], atol=3)
    np.testing.assert_allclose([cols.min(), cols.max()], [400 + 60, 400 + 140], atol=3)


def test_heading_of_a_lidar_that_looks_sideways() -> None:
    """The nuScenes LiDAR has x to the right and y forward."""
    ego_SE3_lidar = np.eye(4)
    ego_SE3_lidar[:3, :3] = [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]
    assert heading_of(ego_SE3_lidar) == pytest.approx(np.pi / 2)


def test_side_by_side_marks_errors_in_its_third_panel_only(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-20, 20, (4000, 3))
    truth = np.zeros(4000, int)
    predicted = np.where(points[:, 0] > 0, 1, 0)
    side_by_side(
        points,
        predicted,
        truth,
        ClassSet("own", ("vegetation", "road")),
        tmp_path / "s.png",
        extent=25,
        width=900,
    )
    wrong = near(read(tmp_path / "s.png"), (255, 64, 64), 30)
    rows, cols = np.nonzero(wrong)
    assert cols.min() > 600
    assert rows.max() < 160, "errors lie ahead, in the upper half of the panel"
    side_by_side(
        points,
        truth,
        truth,
        ClassSet("own", ("vegetation", "road")),
        tmp_path / "t.png",
        extent=25,
        width=900,
    )
    assert not near(read(tmp_path / "t.png"), (255, 64, 64), 30).any()


def test_camera_overlay_puts_points_on_their_pixels(tmp_path: Path) -> None:
    image = np.full((400, 800, 3), 128, np.uint8)
    uv = np.array([[100.5, 50.5], [700.5, 350.5]])
    camera_overlay(image, uv, np.array([RED, (0, 255, 0)], np.uint8), tmp_path / "c.png")
    picture = read(tmp_path / "c.png")
    assert picture.shape == (600, 1200, 3), "small images are enlarged"
    for colour, expected in ((RED, uv[0] * 1.5), ((0, 255, 0), uv[1] * 1.5)):
        rows, cols = np.nonzero(near(picture, colour))
        np.testing.assert_allclose([cols.mean() + 0.5, rows.mean() + 0.5], expected, atol=0.6)


def test_camera_overlay_by_depth_shows_the_nearer_of_two_points(tmp_path: Path) -> None:
    image = np.zeros((675, 1200, 3), np.uint8)
    uv = np.full((2, 2), 300.0)
    for depths in ([3.0, 50.0], [50.0, 3.0]):
        camera_overlay(image, uv, np.array(depths), tmp_path / "d.png", radius=6)
        red, _, blue = read(tmp_path / "d.png")[300, 300]
        assert red > blue


def test_superpixels_tint_the_inside_and_draw_borders(tmp_path: Path) -> None:
    image = np.zeros((600, 1200, 3), np.uint8)
    ids = np.full((60, 120), -1)
    ids[:, :40], ids[:, 40:80] = 0, 1
    camera_with_superpixels(image, ids, tmp_path / "p.png")
    picture = read(tmp_path / "p.png")
    first, second, outside = picture[300, 200], picture[300, 600], picture[300, 1000]
    assert (outside == 0).all()
    assert first.max() > 50
    assert np.abs(first - second).max() > 20
    assert (picture[300, 398:402].max(axis=1) > 150).any()


def test_resize_nearest_repeats_whole_pixels() -> None:
    ids = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(resize_nearest(ids, (6, 4)), ids.repeat(2, 0).repeat(2, 1))


def test_loss_curves_skip_what_is_no_number(tmp_path: Path) -> None:
    rows = [{"step": i, "loss": 1 / (i + 1), "note": "x", "lr": 1e-3} for i in range(80)]
    rows[3]["loss"] = float("nan")
    rows.append({"step": 80, "val_miou": 0.4})
    loss_curves(rows, tmp_path / "l.png", title="run")
    picture = read(tmp_path / "l.png")
    assert picture.shape[1] == 1400
    assert picture.std() > 3
    with pytest.raises(ValueError, match="nothing to draw"):
        loss_curves([{"step": 1, "note": "x"}], tmp_path / "m.png")


def test_real_frame_fills_its_pictures(real_data: Path, tmp_path: Path) -> None:
    from pc3d.data.points import load_points
    from pc3d.viz.colours import height_colours

    points = load_points(next((real_data / "nuscenes/samples/LIDAR_TOP").glob("*.bin")), "nuscenes")
    bev(points, height_colours(points[:, 2]), tmp_path / "real.jpg", heading=np.pi / 2)
    assert (read(tmp_path / "real.jpg").max(axis=-1) > 90).mean() > 0.02
    assert (tmp_path / "real.jpg").stat().st_size < 1_000_000
