"""Off-screen pictures of scenes, compared with the projection of what is in them."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pc3d.data.records import Boxes
from pc3d.geometry.rigid import make_SE3, yaw_matrix
from pc3d.viz import scene3d
from pc3d.viz.scene3d import VIEWS, DisplayError, Frustum, Scene3D, camera_pose, render_scene

SIZE = (640, 360)
RED = (255, 0, 0)


@pytest.fixture(scope="module")
def off_screen() -> None:
    """Skips where EGL cannot draw: tried in another process, as Open3D aborts on failure."""
    for library in scene3d.SYSTEM_LIBRARIES:
        try:
            ctypes.CDLL(library)
        except OSError as error:
            pytest.skip(f"Open3D cannot draw off-screen here: {error}")
    code = (
        "import os; os.environ['EGL_PLATFORM'] = 'surfaceless'\n"
        "import open3d; open3d.visualization.rendering.OffscreenRenderer(8, 8)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    if done.returncode:
        pytest.skip(f"Open3D cannot draw off-screen here: {done.stderr[-200:]}")


def expected_pixels(scene: Scene3D, view: str, points: np.ndarray) -> np.ndarray:
    """(P, 2) where a pinhole camera of 55 degrees (vertically) at the view's pose sees points."""
    target, eye, up = camera_pose(scene, view)
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    local = (points - eye) @ np.stack([right, np.cross(forward, right), forward]).T
    focal = SIZE[1] / 2 / np.tan(np.radians(55 / 2))
    return local[:, :2] / local[:, 2:] * focal + np.array(SIZE) / 2


def picture_of(scene: Scene3D, tmp_path: Path, view: str) -> np.ndarray:
    render_scene(scene, tmp_path / "scene.png", view=view, size=SIZE)
    return np.asarray(Image.open(tmp_path / "scene.png").convert("RGB")).astype(int)


def reddish(picture: np.ndarray) -> np.ndarray:
    return (picture[..., 0] > 150) & (picture[..., 1:].max(axis=-1) < 80)


def cloud(points: np.ndarray, colour: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    return points, np.tile(np.array([colour], np.uint8), (len(points), 1))


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("heading", [0.0, np.pi / 2])
def test_points_are_drawn_where_they_project(
    off_screen: None, tmp_path: Path, view: str, heading: float
) -> None:
    rng = np.random.default_rng(0)
    spot = np.array([np.cos(heading), np.sin(heading), 0.0]) * 12 + rng.normal(size=(300, 3)) * 0.3
    scene = Scene3D(*cloud(spot, RED), heading=heading)
    rows, cols = np.nonzero(reddish(picture_of(scene, tmp_path, view)))
    assert len(rows) > 20
    expected = expected_pixels(scene, view, spot).mean(axis=0)
    np.testing.assert_allclose([cols.mean(), rows.mean()], expected, atol=4)


def test_a_box_is_drawn_along_its_edges(off_screen: None, tmp_path: Path) -> None:
    boxes = Boxes(
        centers=np.array([[14.0, 3.0, -0.8]]),
        sizes=np.array([[5.0, 2.0, 2.0]]),
        yaws=np.array([0.5]),
        velocities=np.zeros((1, 2)),
        names=("vehicle.car",),
        tracks=("1",),
        num_lidar_pts=np.array([1]),
        attributes=("",),
    )
    scene = Scene3D(*cloud(np.array([[200.0, 0, 0]]), RED), boxes=boxes)
    picture = picture_of(scene, tmp_path, "orbit")
    drawn = np.abs(picture - (255, 176, 32)).max(axis=-1) < 70
    # The eight corners by their definition: centre + R(yaw) (+-l/2, +-w/2, +-h/2).
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
    corner = signs * boxes.sizes / 2 @ yaw_matrix(0.5).T + boxes.centers
    uv = expected_pixels(scene, "orbit", corner)
    for u, v in uv:
        assert drawn[int(v) - 4 : int(v) + 5, int(u) - 4 : int(u) + 5].any(), (u, v)
    rows, cols = np.nonzero(drawn)
    np.testing.assert_allclose([cols.min(), rows.min()], uv.min(axis=0), atol=4)
    np.testing.assert_allclose([cols.max(), rows.max()], uv.max(axis=0), atol=4)


def test_earlier_sweeps_and_cameras_are_drawn(off_screen: None, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    spot = np.array([12.0, -4.0, 0.0]) + rng.normal(size=(200, 3)) * 0.2
    far = cloud(np.array([[300.0, 0, 0]]), (0, 0, 255))
    assert not reddish(picture_of(Scene3D(*far), tmp_path, "behind")).any()
    assert reddish(picture_of(Scene3D(*far, clouds=(cloud(spot, RED),)), tmp_path, "behind")).sum() > 20
    lidar_SE3_cam = make_SE3([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], [0, 0, 0])
    frustum = Frustum(lidar_SE3_cam, np.array([[500.0, 0, 500], [0, 500, 250], [0, 0, 1]]), (1000, 500))
    picture = picture_of(Scene3D(*far, frusta=(frustum,)), tmp_path, "behind")
    # The corners of the image, 2.5 m ahead: 90 degrees wide, half as high.
    corner = np.array([(2.5, y, z) for y in (-2.5, 2.5) for z in (-1.25, 1.25)])
    for u, v in expected_pixels(Scene3D(*far), "behind", corner):
        assert picture[int(v) - 4 : int(v) + 5, int(u) - 4 : int(u) + 5].min(axis=-1).max() > 120


def test_an_empty_scene_is_background(off_screen: None, tmp_path: Path) -> None:
    picture = picture_of(Scene3D(*cloud(np.zeros((0, 3)), RED)), tmp_path, "bev")
    assert np.abs(picture - (11, 14, 20)).max() <= 3


def test_missing_libraries_are_named_with_their_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(scene3d, "_loads", lambda library: library not in ("libEGL.so.1", "libGL.so.1"))
    with pytest.raises(DisplayError, match=r"apt-get install libgl1 libegl1$"):
        render_scene(Scene3D(*cloud(np.zeros((1, 3)), RED)), tmp_path / "x.png")


def test_a_window_needs_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(DisplayError, match="--out"):
        scene3d.show_scene(Scene3D(*cloud(np.zeros((1, 3)), RED)))


def test_bad_arguments_are_named() -> None:
    scene = Scene3D(*cloud(np.zeros((1, 3)), RED))
    with pytest.raises(ValueError, match="behind, bev, orbit"):
        camera_pose(scene, "below")
    with pytest.raises(ValueError, match="2 points but 1 colours"):
        Scene3D(np.zeros((2, 3)), np.zeros((1, 3), np.uint8))
