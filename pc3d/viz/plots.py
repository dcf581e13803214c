"""Pictures with matplotlib: bird's-eye views, camera overlays and training curves.

Every function writes one file; the ending of `path` chooses the format (.png, .jpg).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.classes import ClassSet
from pc3d.data.records import Boxes
from pc3d.geometry.boxes import corners
from pc3d.viz.canvas import (
    BACKGROUND,
    FAINT,
    INK,
    caption,
    dark_axis,
    depth_scale,
    enlarge,
    image_axis,
    legend_columns,
    legend_height,
    legend_of,
    pixel_figure,
)
from pc3d.viz.class_colours import box_colours, box_legend, class_colours, label_colours
from pc3d.viz.colours import Rgb, categorical_colours, depth_colours
from pc3d.viz.raster import paint_discs, resize_nearest

#: Colour of true boxes beside predicted ones.
TRUTH = (64, 232, 104)


def bev(
    points: NDArray[np.floating],
    colours: Rgb,
    path: Path | str,
    *,
    boxes: Boxes | None = None,
    truth: Boxes | None = None,
    title: str = "",
    extent: float = 50.0,
    heading: float = 0.0,
    legend: dict[str, Any] | None = None,
    classes: ClassSet | None = None,
    width: int = 1400,
) -> None:
    """Bird's-eye view of a cloud, the vehicle in the middle, driving upwards.

    Args:
        points: (P, 3 or more) x y z in metres, the LiDAR frame.
        colours: (P, 3) uint8.
        boxes: drawn with their heading (the line from the middle) and velocity (the arrow).
        truth: true boxes beside them, drawn in the same way in `TRUTH`.
        title: one line at the top left.
        extent: metres from the middle to the edge.
        heading: direction of the vehicle's nose in the points' frame, radians counter-clockwise
            from +x (see `heading_of`).
        legend: names and their (R, G, B); default: the classes of the boxes.
        classes: of the data set, for the colours of the boxes.
        width: of the square picture, in pixels.
    """
    if legend is None and boxes is not None:
        legend = box_legend(boxes.names, classes)
    with pixel_figure(width, width, path) as figure:
        axis = dark_axis(figure, (0.0, 0.0, 1.0, 1.0))
        _paint_bev(axis, points, colours, extent, heading, width, boxes, truth, classes)
        caption(axis, title, width)
        legend_of(axis, legend or {}, width)


def side_by_side(
    points: NDArray[np.floating],
    predicted: NDArray[np.integer],
    truth: NDArray[np.integer],
    classes: ClassSet,
    path: Path | str,
    *,
    title: str = "",
    extent: float = 50.0,
    heading: float = 0.0,
    width: int = 1590,
) -> None:
    """Predicted labels, true labels and where they differ (red), in bird's-eye view with a class legend.

    Args:
        points: (P, 3 or more) metres. predicted, truth: (P,) labels; a negative truth is ignored and drawn
            grey.
    """
    names = classes.classes
    judged = truth >= 0
    wrong = judged & (predicted != truth)
    errors = np.full((len(points), 3), 70, np.uint8)
    errors[judged] = (48, 60, 76)
    errors[wrong] = (255, 64, 64)
    accuracy = 100.0 * (1.0 - wrong.sum() / max(int(judged.sum()), 1))
    panels = [
        ("prediction", label_colours(predicted, names, classes)),
        ("truth", label_colours(truth, names, classes)),
        (f"errors: {accuracy:.1f} % of points are right", errors),
    ]
    present = np.union1d(np.unique(predicted), np.unique(truth))
    table = class_colours(names, classes)
    shown = {names[i]: tuple(table[i]) for i in present.tolist() if 0 <= i < len(names)}
    bottom = max(96, legend_height(shown, 1000, width) + 12)
    gap, top = 15, 58 if title else 12
    side = (width - 4 * gap) // 3
    height = top + side + bottom
    with pixel_figure(width, height, path) as figure:
        for i, (name, colours) in enumerate(panels):
            left = gap + i * (side + gap)
            axis = dark_axis(figure, (left / width, bottom / height, side / width, side / height))
            _paint_bev(axis, points, colours, extent, heading, side, None)
            caption(axis, name, side * 1.9)
        if title:
            figure.text(
                gap / width, 1 - 34 / height, title, color=INK, fontsize=15, va="center", weight="bold"
            )
        legend_of(figure, shown, 1000, "lower center", min(8, legend_columns(shown, 1000, width)))


def camera_overlay(
    image: Rgb,
    uv: NDArray[np.floating],
    depth_or_colours: NDArray,
    path: Path | str,
    *,
    title: str = "",
    radius: float | None = None,
    wires: Sequence[tuple[NDArray[np.float64], NDArray[np.uint8]]] = (),
    legend: dict[str, Any] | None = None,
) -> None:
    """Points over the image that sees them; near points cover far ones.

    Args:
        image: (H, W, 3) uint8 RGB.
        uv: (P, 2) pixel coordinates, centres at integer + 0.5.
        depth_or_colours: (P,) depths in metres (coloured, with a scale), or (P, 3) uint8.
        radius: of a point in pixels of the picture.
        wires: lines over them, (L, S, 2) pixels that are NaN where nothing is drawn, and their colour.
        legend: names and their (R, G, B).
    """
    canvas, scale = enlarge(image)
    width, height = canvas.shape[1], canvas.shape[0]
    by_depth = depth_or_colours.ndim == 1
    order = np.argsort(-depth_or_colours) if by_depth else np.arange(len(uv))
    colours = depth_colours(depth_or_colours) if by_depth else depth_or_colours
    canvas = paint_discs(canvas, uv[order] * scale, colours[order], radius or width / 540)
    with pixel_figure(width, height, path) as figure:
        axis = image_axis(figure, canvas)
        _draw_wires(axis, wires, scale, (width, height))
        caption(axis, title, width)
        legend_of(axis, legend or {}, width, "lower right" if by_depth else "lower left")
        if by_depth:
            depth_scale(figure, width, height)


def _draw_wires(
    axis: Any,
    wires: Sequence[tuple[NDArray[np.float64], NDArray[np.uint8]]],
    scale: float,
    size: tuple[int, int],
) -> None:
    from matplotlib.collections import LineCollection

    for lines, colour in wires:
        axis.add_collection(LineCollection(list(lines * scale - 0.5), colors=[colour / 255.0], lw=1.5))
    axis.set(xlim=(-0.5, size[0] - 0.5), ylim=(size[1] - 0.5, -0.5))


def camera_with_superpixels(
    image: Rgb, superpixels: NDArray[np.integer], path: Path | str, *, title: str = "", opacity: float = 0.42
) -> None:
    """An image under its superpixels, tinted by id with bright borders; id -1 is left as it is.

    Args:
        image: (H, W, 3) uint8 RGB. superpixels: (h, w) ids, resized to the picture.
    """
    canvas, _ = enlarge(image)
    ids = resize_nearest(superpixels, (canvas.shape[1], canvas.shape[0]))
    inside = ids >= 0
    tint = categorical_colours(ids.ravel()).reshape(canvas.shape)
    mixed = canvas.astype(np.float32) * (1 - opacity) + tint.astype(np.float32) * opacity
    border = np.zeros(ids.shape, bool)
    border[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    border[1:, :] |= ids[1:, :] != ids[:-1, :]
    picture = np.where(inside[..., None], mixed, canvas)
    picture[border] = picture[border] * 0.25 + 0.75 * 250
    with pixel_figure(canvas.shape[1], canvas.shape[0], path) as figure:
        axis = image_axis(figure, picture.round().astype(np.uint8))
        caption(axis, title, canvas.shape[1])


def heading_of(ego_SE3_lidar: NDArray[np.float64]) -> float:
    """Direction of the vehicle's nose in the LiDAR frame: radians counter-clockwise from +x."""
    forward = ego_SE3_lidar[0, :3]
    return float(np.arctan2(forward[1], forward[0]))


def _paint_bev(
    axis: Any,
    points: NDArray[np.floating],
    colours: Rgb,
    extent: float,
    heading: float,
    pixels: int,
    boxes: Boxes | None,
    truth: Boxes | None = None,
    classes: ClassSet | None = None,
) -> None:
    """Points, rings, boxes and the vehicle into an axis of `pixels` squared."""
    up = _turn(np.pi / 2 - heading)
    # High points cover low ones, as seen from above.
    order = np.argsort(points[:, 2], kind="stable")
    xy = points[order, :2] @ up.T
    uv = np.column_stack([xy[:, 0] + extent, extent - xy[:, 1]]) * (pixels / (2 * extent))
    canvas = np.full((pixels, pixels, 3), (11, 14, 20), np.uint8)
    _rings(axis, extent)
    canvas = paint_discs(canvas, uv, colours[order], max(pixels / 1100, 0.75))
    axis.imshow(canvas, extent=(-extent, extent, -extent, extent), interpolation="none", zorder=0)
    if truth is not None:
        _draw_boxes(axis, truth, up, np.full((len(truth), 3), TRUTH) / 255.0)
    if boxes is not None:
        _draw_boxes(axis, boxes, up, box_colours(boxes.names, classes) / 255.0)
    _vehicle(axis, extent)
    axis.set(xlim=(-extent, extent), ylim=(-extent, extent))


def _rings(axis: Any, extent: float) -> None:
    from matplotlib.patches import Circle

    step = 10 if extent <= 60 else 20
    for radius in range(step, int(extent * 1.42) + 1, step):
        axis.add_patch(Circle((0, 0), radius, fill=False, ec=FAINT, lw=0.7, alpha=0.38, zorder=1))
        if radius < extent:
            at = radius * np.sqrt(0.5)
            plate = {"boxstyle": "round,pad=0.2", "fc": BACKGROUND, "ec": "none", "alpha": 0.7}
            axis.text(
                at, -at, f"{radius} m", color=INK, fontsize=9, ha="center", va="center", zorder=4, bbox=plate
            )


def _draw_boxes(axis: Any, boxes: Boxes, up: NDArray[np.float64], colours: NDArray[np.float64]) -> None:
    speeds = np.nan_to_num(boxes.velocities)
    for outline, center, velocity, colour in zip(
        corners(boxes.centers, boxes.sizes, boxes.yaws)[:, :4, :2] @ up.T,
        boxes.centers[:, :2] @ up.T,
        speeds @ up.T,
        colours,
        strict=True,
    ):
        axis.fill(*outline.T, fc=(*colour, 0.14), ec=colour, lw=1.6, zorder=3)
        nose = outline[:2].mean(axis=0)
        axis.plot(*np.stack([center, nose]).T, color=colour, lw=1.6, zorder=3)
        if np.hypot(*velocity) > 0.5:
            axis.annotate(
                "",
                nose + velocity,
                nose,
                arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.2, "shrinkA": 0, "shrinkB": 0},
                zorder=3,
                annotation_clip=True,
            )


def _vehicle(axis: Any, extent: float) -> None:
    """A car-sized arrow at the sensor, pointing upwards."""
    size = max(extent / 50, 0.4)
    shape = np.array([(0, 2.4), (1.1, -1.8), (0, -1.0), (-1.1, -1.8)]) * size
    axis.fill(*shape.T, fc="white", ec=BACKGROUND, lw=1.0, zorder=5)


def _turn(angle: float) -> NDArray[np.float64]:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
