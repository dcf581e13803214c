"""Scenes in three dimensions with Open3D: in a window, or into a picture on a machine without a display."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.classes import ClassSet
from pc3d.data.records import Boxes
from pc3d.geometry.boxes import corners
from pc3d.geometry.camera import unproject
from pc3d.geometry.lens import PINHOLE, Lens
from pc3d.viz.canvas import save_picture
from pc3d.viz.class_colours import box_colours
from pc3d.viz.colours import Rgb

VIEWS = ("behind", "bev", "orbit")

#: What Open3D needs of the system; Debian and Ubuntu packages.
SYSTEM_LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libX11.so.6": "libx11-6",
    "libgomp.so.1": "libgomp1",
}

# Open3D takes the background as linear light, and the colours of geometry as they are shown.
_BACKGROUND = (*((c / 255) ** (1 / 2.2) for c in (11, 14, 20)), 1.0)
_FIELD_OF_VIEW = 55.0
# Near and far planes in metres: those that Open3D fits to the scene cut off a small one.
_CLIP = (0.2, 600.0)
_EDGES = [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)]
# A cross over the front face says which way a box looks.
_FRONT = [(0, 5), (1, 4)]
_AHEAD = 0.17  # cosine of 80 degrees, to which the pyramid of a wide lens is drawn


class DisplayError(ImportError):
    """Open3D cannot draw here: a library of the operating system, or the display, is missing."""


@dataclass(frozen=True, eq=False)
class Frustum:
    """A camera in the scene.

    Attributes:
        lidar_SE3_cam: (4, 4) camera to the frame of the scene.
        intrinsics: (3, 3) in pixels. size: (width, height) in pixels.
        depth: length of the drawn pyramid in metres.
        lens: what bends its rays; the pyramid is cut where it shows nothing ahead.
    """

    lidar_SE3_cam: NDArray[np.float64]
    intrinsics: NDArray[np.float64]
    size: tuple[int, int]
    depth: float = 2.5
    lens: Lens = PINHOLE


@dataclass(frozen=True, eq=False)
class Scene3D:
    """What is drawn, all in one frame (the LiDAR frame of the current sweep), in metres.

    Attributes:
        points: (P, 3 or more), x y z first. colours: (P, 3) uint8.
        boxes: coloured by class.
        frusta: the cameras.
        clouds: further (points, colours), e.g. earlier sweeps moved into this frame.
        heading: direction of the vehicle's nose, radians counter-clockwise from +x.
        ground: height of the ground under the sensor, where the cameras of the views look at.
        classes: of the data set, for the colours of the boxes.
    """

    points: NDArray[np.floating]
    colours: Rgb
    boxes: Boxes | None = None
    frusta: tuple[Frustum, ...] = ()
    clouds: tuple[tuple[NDArray[np.floating], Rgb], ...] = field(default=())
    heading: float = 0.0
    ground: float = -1.8
    classes: ClassSet | None = None

    def __post_init__(self) -> None:
        for points, colours in ((self.points, self.colours), *self.clouds):
            if len(points) != len(colours):
                raise ValueError(f"{len(points)} points but {len(colours)} colours")


def camera_pose(
    scene: Scene3D, view: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """What the view looks at, from where, and which way is up: three (3,) arrays in the scene's frame.

    Args:
        view: `behind` (over the vehicle's roof, forwards), `bev` (from above, the nose upwards) or
            `orbit` (from the right rear, far out).
    Raises:
        ValueError: no such view.
    """
    # Metres forward, left and up of the ground under the sensor.
    poses = {
        "behind": ((12.0, 0.0, 0.0), (-17.0, 0.0, 9.5)),
        "bev": ((0.0, 0.0, 0.0), (-0.01, 0.0, 95.0)),
        "orbit": ((4.0, 0.0, 0.0), (-34.0, -30.0, 28.0)),
    }
    if view not in poses:
        raise ValueError(f"no view {view!r}; choose one of {', '.join(VIEWS)}")
    forward = np.array([np.cos(scene.heading), np.sin(scene.heading), 0.0])
    frame = np.stack([forward, [-forward[1], forward[0], 0.0], [0.0, 0.0, 1.0]])
    base = np.array([0.0, 0.0, scene.ground])
    target, eye = (base + np.array(pose) @ frame for pose in poses[view])
    return target, eye, forward if view == "bev" else np.array([0.0, 0.0, 1.0])


def render_scene(
    scene: Scene3D,
    path: Path | str,
    *,
    view: str = "behind",
    size: tuple[int, int] = (1600, 900),
    point_size: float = 2.5,
) -> None:
    """Draw a scene into a picture file (.png, .jpg); needs no display.

    Args:
        view: see `camera_pose`. size: (width, height) in pixels. point_size: in pixels.
    Raises:
        DisplayError: a system library is missing; it names the packages to install.
    """
    from PIL import Image

    target, eye, up = camera_pose(scene, view)
    o3d = _open3d(off_screen=True)
    # Rendered at twice the size and averaged down: lines and points get smooth edges.
    renderer = o3d.visualization.rendering.OffscreenRenderer(2 * size[0], 2 * size[1])
    renderer.scene.set_background(_BACKGROUND)
    renderer.scene.view.set_post_processing(False)
    for name, geometry, material in _geometries(o3d, scene, 2 * point_size, 2 * 2.2):
        renderer.scene.add_geometry(name, geometry, material)
    renderer.setup_camera(_FIELD_OF_VIEW, target, eye, up, *_CLIP)
    picture = Image.fromarray(np.asarray(renderer.render_to_image())).resize(size, Image.Resampling.BOX)
    save_picture(picture, path)


def show_scene(scene: Scene3D, *, view: str = "behind", title: str = "pc3d", point_size: float = 2.5) -> None:
    """Show a scene in a window that can be turned with the mouse; returns when it is closed.

    Raises:
        DisplayError: there is no display, or a system library is missing; it names the remedy.
    """
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")) and os.name == "posix":
        raise DisplayError(
            "there is no display to open a window on: give --out picture.png to draw into a file"
        )
    target, eye, up = camera_pose(scene, view)
    o3d = _open3d(off_screen=False)
    o3d.visualization.draw(
        [{"name": n, "geometry": g, "material": m} for n, g, m in _geometries(o3d, scene, point_size, 2.2)],
        title=title,
        lookat=target,
        eye=eye,
        up=up,
        field_of_view=_FIELD_OF_VIEW,
        bg_color=_BACKGROUND,
        show_skybox=False,
    )


def _open3d(off_screen: bool) -> Any:
    """Open3D, with EGL set up for machines without a display."""
    libraries = [name for name in SYSTEM_LIBRARIES if off_screen or name != "libEGL.so.1"]
    # Open3D ends the process, without an exception, where EGL is missing: so look before.
    missing = [name for name in libraries if os.name == "posix" and not _loads(name)]
    if missing:
        packages = " ".join(SYSTEM_LIBRARIES[name] for name in missing)
        raise DisplayError(
            f"Open3D needs {', '.join(missing)} of the operating system; "
            f"install it, on Debian or Ubuntu: apt-get install {packages}"
        )
    if off_screen:
        os.environ.setdefault("EGL_PLATFORM", "surfaceless")
    import open3d

    open3d.utility.set_verbosity_level(open3d.utility.VerbosityLevel.Error)
    return open3d


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _geometries(o3d: Any, scene: Scene3D, point_size: float, line_width: float) -> list[tuple[str, Any, Any]]:
    """(name, geometry, material) of everything in the scene."""
    dots = o3d.visualization.rendering.MaterialRecord()
    dots.shader, dots.point_size = "defaultUnlit", point_size
    thin = o3d.visualization.rendering.MaterialRecord()
    thin.shader, thin.line_width = "unlitLine", line_width
    faint = o3d.visualization.rendering.MaterialRecord()
    faint.shader, faint.point_size = "defaultUnlit", point_size * 0.7
    parts = [("points", _cloud(o3d, scene.points, scene.colours), dots)]
    parts += [(f"cloud {i}", _cloud(o3d, *cloud), faint) for i, cloud in enumerate(scene.clouds)]
    if scene.boxes is not None and len(scene.boxes):
        parts.append(("boxes", _box_lines(o3d, scene.boxes, scene.classes), thin))
    parts += [(f"camera {i}", _frustum_lines(o3d, frustum), thin) for i, frustum in enumerate(scene.frusta)]
    return [part for part in parts if not part[1].is_empty()]


def _cloud(o3d: Any, points: NDArray[np.floating], colours: Rgb) -> Any:
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points[:, :3].astype(np.float64)))
    cloud.colors = o3d.utility.Vector3dVector(colours / 255.0)
    return cloud


def _box_lines(o3d: Any, boxes: Boxes, classes: ClassSet | None) -> Any:
    corner = corners(boxes.centers, boxes.sizes, boxes.yaws)
    edges = np.array(_EDGES + _FRONT)
    lines = (edges[None] + 8 * np.arange(len(boxes))[:, None, None]).reshape(-1, 2)
    colours = box_colours(boxes.names, classes)
    return _lines(o3d, corner.reshape(-1, 3), lines, np.repeat(colours, len(edges), axis=0))


def _rays(frustum: Frustum, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3) rays of (N, 3) homogeneous pixels: at depth 1, or of length 1 where a lens bends them."""
    K = frustum.intrinsics
    if frustum.lens.is_pinhole:
        return np.linalg.solve(K, pixels.T).T
    share = np.linspace(0, 1, 65)[:, None, None]
    uv = K[:2, 2] + (pixels[:, :2] - K[:2, 2]) * share  # from the middle to each pixel
    rays = unproject(uv.reshape(-1, 2), K, frustum.lens).reshape(len(share), -1, 3)
    rays /= np.linalg.norm(rays, axis=2, keepdims=True)
    last = (rays[..., 2] > _AHEAD).cumprod(axis=0).sum(axis=0) - 1
    return rays[last, np.arange(len(pixels))]


def _frustum_lines(o3d: Any, frustum: Frustum) -> Any:
    """The pyramid from the camera's centre to its image, with a tick on the upper side."""
    w, h = frustum.size
    pixels = np.array([(0, 0, 1), (w, 0, 1), (w, h, 1), (0, h, 1), (0.5 * w, -0.18 * h, 1)], np.float64)
    rays = _rays(frustum, pixels) * frustum.depth
    camera = np.vstack([np.zeros((1, 3)), rays])
    points = camera @ frustum.lidar_SE3_cam[:3, :3].T + frustum.lidar_SE3_cam[:3, 3]
    lines = np.array([(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1), (1, 5), (5, 2)])
    return _lines(o3d, points, lines, np.tile(np.array([(225, 231, 245)], np.uint8), (len(lines), 1)))


def _lines(o3d: Any, points: NDArray[np.float64], lines: NDArray[np.integer], colours: Rgb) -> Any:
    result = o3d.geometry.LineSet(o3d.utility.Vector3dVector(points), o3d.utility.Vector2iVector(lines))
    result.colors = o3d.utility.Vector3dVector(colours / 255.0)
    return result
