"""Sweeps at a glance: images with points and boxes, and the sweep from above, as small pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pc3d.data.classes import ClassSet
from pc3d.data.images import load_image
from pc3d.data.pairing import cam_SE3_lidar
from pc3d.data.points import load_sweep
from pc3d.data.records import Boxes, Camera, Float32, Sweep
from pc3d.geometry.boxes import corners
from pc3d.geometry.camera import in_image, project
from pc3d.geometry.rigid import transform_points
from pc3d.viz.camera_boxes import box_wires
from pc3d.viz.class_colours import box_colours
from pc3d.viz.colours import Rgb, depth_colours, height_colours
from pc3d.viz.plots import heading_of
from pc3d.viz.raster import paint_discs
from pc3d.viz.sweep_colours import ground_height

DARK = (11, 14, 20)
_INK, _RING = (232, 236, 244), (52, 59, 74)
_NEAREST = 1.0  # metres before a camera


def camera_tile(
    sweep: Sweep, camera: Camera, points: Float32, width: int, classes: ClassSet | None = None
) -> Rgb:
    """(H, width, 3) uint8: the image with its points by depth and its boxes by class.

    Args:
        points: (P, 3 or more) of the sweep, LiDAR frame, metres.
    """
    scale = width / camera.size[0]
    height = max(1, round(camera.size[1] * scale))
    image = load_image(camera.path, sweep.token, (width, height), camera.size, camera.key)
    canvas = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    uv, depth = project(
        transform_points(cam_SE3_lidar(sweep, camera), points), camera.intrinsics, camera.lens
    )
    seen = np.flatnonzero(in_image(uv, camera.size) & (depth > _NEAREST))
    seen = seen[np.argsort(-depth[seen])]
    canvas = paint_discs(canvas, uv[seen] * scale, depth_colours(depth[seen]), max(width / 560, 0.75))
    if sweep.boxes is not None and len(sweep.boxes):
        canvas = _with_boxes(canvas, sweep, camera, scale, classes)
    return _captioned(canvas, camera.name)


def _with_boxes(canvas: Rgb, sweep: Sweep, camera: Camera, scale: float, classes: ClassSet | None) -> Rgb:
    assert sweep.boxes is not None
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    colours = box_colours(sweep.boxes.names, classes)
    pose = sweep.world_SE3_ego @ sweep.ego_SE3_lidar
    for wires, colour in zip(box_wires(sweep.boxes, camera, pose), colours.tolist(), strict=True):
        for line in wires * scale:
            _line(draw, line, tuple(colour), canvas.shape)
    return np.asarray(picture)


def _line(
    draw: ImageDraw.ImageDraw, line: NDArray[np.float64], colour: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    """Draw the pieces of a line that lie near the picture."""
    margin = np.array([shape[1], shape[0]])
    near = ((line > -margin) & (line < 2 * margin)).all(axis=1)  # not where it is NaN
    for start, stop, both in zip(line[:-1], line[1:], near[:-1] & near[1:], strict=True):
        if both:
            draw.line([*start.tolist(), *stop.tolist()], fill=colour, width=2)


def bev_tile(
    sweep: Sweep, points: Float32, width: int, extent: float = 50.0, classes: ClassSet | None = None
) -> Rgb:
    """(width, width, 3) uint8: the sweep from above by height, its nose upwards, with boxes and rings.

    Args:
        points: (P, 3 or more), LiDAR frame, metres. extent: metres from the middle to the edge.
    """
    angle = np.pi / 2 - heading_of(sweep.ego_SE3_lidar)
    up = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    picture = Image.new("RGB", (width, width), DARK)
    draw, scale = ImageDraw.Draw(picture), width / (2 * extent)
    for metres in range(20, int(extent * 1.4) + 1, 20):
        draw.ellipse(_square(width / 2, metres * scale), outline=_RING)
    order = np.argsort(points[:, 2], kind="stable")
    ground = ground_height(sweep)
    colours = height_colours(points[order, 2], ground - 0.5, ground + 6.0)
    canvas = paint_discs(np.asarray(picture), _pixels(points[order, :2] @ up.T, extent, scale), colours, 0.8)
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    if sweep.boxes is not None and len(sweep.boxes):
        _outlines(draw, sweep.boxes, up, extent, scale, classes)
    draw.polygon([(width / 2 + x, width / 2 - y) for x, y in ((0, 9), (5, -6), (-5, -6))], fill=_INK)
    return _captioned(np.asarray(picture), f"{extent:g} m")


def _outlines(
    draw: ImageDraw.ImageDraw,
    boxes: Boxes,
    up: NDArray[np.float64],
    extent: float,
    scale: float,
    classes: ClassSet | None,
) -> None:
    colours = box_colours(boxes.names, classes).tolist()
    outlines = corners(boxes.centers, boxes.sizes, boxes.yaws)[:, :4, :2] @ up.T
    for outline, colour in zip(outlines, colours, strict=True):
        pixels = _pixels(outline, extent, scale)
        draw.polygon([tuple(pixel) for pixel in pixels.tolist()], outline=tuple(colour), width=2)
        middle, nose = pixels.mean(axis=0), pixels[:2].mean(axis=0)
        draw.line([*middle.tolist(), *nose.tolist()], fill=tuple(colour), width=2)


def _pixels(xy: NDArray, extent: float, scale: float) -> NDArray[np.float64]:
    return np.column_stack([xy[:, 0] + extent, extent - xy[:, 1]]) * scale


def _square(middle: float, radius: float) -> tuple[float, float, float, float]:
    return middle - radius, middle - radius, middle + radius, middle + radius


def _captioned(canvas: Rgb, text: str) -> Rgb:
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    box = draw.textbbox((8, 6), text, font_size=15)
    draw.rectangle((box[0] - 5, box[1] - 4, box[2] + 5, box[3] + 4), fill=DARK)
    draw.text((8, 6), text, fill=_INK, font_size=15)
    return np.asarray(picture)


def sweep_sheet(
    sweep: Sweep,
    width: int = 1100,
    classes: ClassSet | None = None,
    columns: int = 3,
    extent: float = 50.0,
) -> Rgb:
    """(H, width, 3) uint8: a sweep from above and its images beside it.

    Where there are no images, the view from above alone, half as wide.

    Args:
        columns: most images in a row. extent: metres to the edge of the view from above.

    Raises:
        DataError: a file is missing or broken.
    """
    points = load_sweep(sweep)
    cameras = sorted(sweep.cameras, key=lambda camera: _bearing(sweep, camera))
    if not cameras:
        return bev_tile(sweep, points, width // 2, extent, classes)
    gap, across = 6, min(columns, len(cameras))
    while across > 1 and -(-len(cameras) // (across - 1)) == -(-len(cameras) // across):
        across -= 1  # no wider than its rows need
    rows = -(-len(cameras) // across)
    aspect = max(camera.size[1] / camera.size[0] for camera in cameras)
    # The view from above is as high as the images: across * w + side = width, rows * w * aspect = side.
    wide = int((width - gap * across) / (across + max(rows * aspect, 0.3 * across)))
    tiles = [camera_tile(sweep, camera, points, wide, classes) for camera in cameras]
    high = max(tile.shape[0] for tile in tiles)
    side = width - across * (wide + gap)
    canvas = np.full((max(rows * (high + gap) - gap, side), width, 3), DARK, np.uint8)
    _paste(canvas, bev_tile(sweep, points, side, extent, classes), 0, 0)
    for n, tile in enumerate(tiles):
        _paste(canvas, tile, (n // across) * (high + gap), side + gap + (n % across) * (wide + gap))
    return canvas


def _paste(canvas: Rgb, tile: Rgb, top: int, left: int) -> None:
    canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile


def _bearing(sweep: Sweep, camera: Camera) -> tuple[int, float]:
    """Images that look ahead from left to right, then those that look back from left to right."""
    x, y = camera.ego_SE3_cam[:2, 2]
    ahead = x > 0.05
    return (int(not ahead), float(np.arctan2(-y, abs(x))))
