"""Pictures of map segmentation: the masks of a frame beside the true ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.dataset import FrameDataset
from pc3d.data.errors import fail
from pc3d.data.index import SweepIndex
from pc3d.data.map_targets import MAP_CLASSES
from pc3d.engine.checkpoints import frames_of, load_bev_model
from pc3d.evaluation.downstream import MAP_FRAMES, predict_bev
from pc3d.geometry.grid import BevGrid
from pc3d.ops.device import chosen_device
from pc3d.viz.canvas import BACKGROUND, INK, caption, dark_axis, legend_of, pixel_figure
from pc3d.viz.colours import Rgb
from pc3d.viz.detections import read_evaluation
from pc3d.viz.plots import heading_of

#: Later classes are painted over earlier ones: areas, then what lies on them, then lines.
MAP_PALETTE: dict[str, tuple[int, int, int]] = {
    "drivable_area": (38, 84, 104),
    "walkway": (112, 88, 190),
    "carpark_area": (206, 146, 110),
    "ped_crossing": (120, 214, 130),
    "stop_line": (255, 120, 225),
    "divider": (255, 216, 96),
}
_EMPTY = (18, 22, 30)
_RIGHT, _MISSED, _FALSE = (48, 60, 76), (255, 64, 64), (255, 176, 32)


def paint_masks(masks: NDArray[np.bool_]) -> Rgb:
    """(rows, cols, 3) uint8 of (6, rows, cols) masks of `MAP_CLASSES`, one over the other."""
    picture = np.full((*masks.shape[1:], 3), _EMPTY, dtype=np.uint8)
    for name, colour in MAP_PALETTE.items():
        picture[masks[MAP_CLASSES.index(name)]] = colour
    return picture


def map_side_by_side(
    predicted: NDArray[Any],
    truth: NDArray[np.bool_],
    grid: BevGrid,
    path: Path | str,
    *,
    threshold: float = 0.5,
    title: str = "",
    heading: float = np.pi / 2,
    width: int = 1590,
) -> None:
    """Predicted masks, true masks and where they differ, seen from above, the vehicle driving upwards.

    Args:
        predicted: (6, rows, cols) probabilities or masks of `MAP_CLASSES`. truth: (6, rows, cols) bool.
        grid: of the masks.
        path: of the picture, .png or .jpg.
        threshold: from which a probability counts as the class.
        title: one line above the panels.
        heading: direction of the vehicle's nose in the masks' frame, radians counter-clockwise from +x;
            by default that of the nuScenes LiDAR. See `pc3d.viz.plots.heading_of`.
        width: of the picture in pixels.

    Raises:
        ValueError: the masks are not those of `MAP_CLASSES` on `grid`.
    """
    expected = (len(MAP_CLASSES), grid.rows, grid.cols)
    if predicted.shape != expected or truth.shape != expected:
        raise ValueError(f"masks {predicted.shape} and {truth.shape}, expected both {expected}")
    truth, masks = truth.astype(bool), predicted >= threshold
    hits, either = (masks & truth).sum(axis=(1, 2)), (masks | truth).sum(axis=(1, 2))
    iou = 100.0 * float((hits[either > 0] / either[either > 0]).mean()) if either.any() else 100.0
    panels = [
        ("prediction", paint_masks(masks)),
        ("truth", paint_masks(truth)),
        (f"differences: mean IoU {iou:.1f}", _differences(masks, truth)),
    ]
    gap, top, bottom = 15, 58 if title else 12, 62
    side = (width - 4 * gap) // 3
    height = top + side + bottom
    with pixel_figure(width, height, path) as figure:
        for i, (name, cells) in enumerate(panels):
            left = gap + i * (side + gap)
            axis = dark_axis(figure, (left / width, bottom / height, side / width, side / height))
            extent = _show(axis, cells, grid, heading, side)
            _vehicle(axis, extent)
            caption(axis, name, side * 1.9)
        if title:
            place = {"va": "center", "weight": "bold"}
            figure.text(gap / width, 1 - 34 / height, title, color=INK, fontsize=15, **place)
        colours = {name.replace("_", " "): MAP_PALETTE[name] for name in MAP_CLASSES}
        legend_of(figure, colours | {"missed": _MISSED, "false": _FALSE}, 1000, loc="lower center", ncol=8)


def draw_worst_maps(
    checkpoint: Path, index: SweepIndex, folder: Path, pictures: int = 4, device: str | None = None
) -> list[Path]:
    """Draw the key frames whose map was segmented worst.

    Args:
        checkpoint: `map_segmenter.safetensors`. index: of the data set that it was scored on.
        folder: of the scores, as `evaluation.downstream.evaluate_checkpoint` writes them; the pictures go to
            `pictures/` in it.
        pictures: how many. device: see `chosen_device`.

    Returns:
        Paths of the pictures, the worst first.

    Raises:
        DataError: there are no scores, or the checkpoint holds no map segmenter.
    """
    scores = folder / MAP_FRAMES
    if not scores.is_file():
        fail("no scores of a map segmenter", folder, "evaluate one with `pc3d evaluate` first")
    frames = {token: miou for token, miou in read_evaluation(scores).items() if miou is not None}
    worst = sorted(frames, key=lambda token: frames[token])[:pictures]
    model, config = load_bev_model(checkpoint).to(chosen_device(device)), frames_of(checkpoint)
    dataset = FrameDataset(index, model.needs, tokens=worst, config=config)
    paths = []
    for rank, (batch, predicted) in enumerate(predict_bev(model, dataset), start=1):
        assert batch.now.maps is not None
        path = folder / "pictures" / f"worst-{rank}-map.png"
        path.parent.mkdir(exist_ok=True)
        heading = heading_of(index[batch.meta[0]["row"]].ego_SE3_lidar)
        title, truth = batch.meta[0]["scene"], batch.now.maps[0].numpy()
        masks = predicted.cpu().numpy()
        map_side_by_side(masks, truth, config.map_grid, path, title=title, heading=heading)
        paths.append(path)
    return paths


def _differences(masks: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Rgb:
    """(rows, cols, 3): cells with a class that is missed, else one that is false, else right or empty."""
    picture = np.full((*truth.shape[1:], 3), _EMPTY, dtype=np.uint8)
    picture[truth.any(axis=0)] = _RIGHT
    picture[(masks & ~truth).any(axis=0)] = _FALSE
    picture[(truth & ~masks).any(axis=0)] = _MISSED
    return picture


def _show(axis: Any, cells: Rgb, grid: BevGrid, heading: float, pixels: int) -> float:
    """Cells into an axis of `pixels` squared, turned until `heading` points up; metres to its edge."""
    extent = max(map(abs, (grid.x_min, grid.x_max, grid.y_min, grid.y_max)))
    metres = ((np.arange(pixels) + 0.5) / pixels * 2 - 1) * extent
    right, up = np.meshgrid(metres, -metres)
    cos, sin = np.cos(heading - np.pi / 2), np.sin(heading - np.pi / 2)
    col = np.floor((cos * right - sin * up - grid.x_min) / grid.cell).astype(int)
    row = np.floor((sin * right + cos * up - grid.y_min) / grid.cell).astype(int)
    inside = (col >= 0) & (col < grid.cols) & (row >= 0) & (row < grid.rows)
    picture = np.full((pixels, pixels, 3), tuple(bytes.fromhex(BACKGROUND[1:])), dtype=np.uint8)
    picture[inside] = cells[row[inside], col[inside]]
    axis.imshow(picture, extent=(-extent, extent, -extent, extent), interpolation="none", zorder=0)
    axis.set(xlim=(-extent, extent), ylim=(-extent, extent))
    return extent


def _vehicle(axis: Any, extent: float) -> None:
    """An arrow at the sensor, pointing upwards."""
    shape = np.array([(0, 2.4), (1.1, -1.8), (0, -1.0), (-1.1, -1.8)]) * max(extent / 50, 0.4)
    axis.fill(*shape.T, fc="white", ec=BACKGROUND, lw=1.0, zorder=5)
