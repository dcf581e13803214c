"""Boxes on a small grid, and the CenterPoint targets as plain loops in float64."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pc3d.data.label_maps import NUSCENES_DETECTION_CLASSES
from pc3d.geometry.grid import BevGrid
from pc3d.models.heads.center_point import COMMON_GROUPS
from pc3d.models.heads.detections import Detections

GRID = BevGrid(-12.0, 18.0, -9.0, 15.0, 0.6)
LABEL = {name: k for k, name in enumerate(NUSCENES_DETECTION_CLASSES)}
GROUPS = [[LABEL[name] for name in group] for group in COMMON_GROUPS]


def box(
    x: float, y: float, size: tuple[float, float, float] = (4.5, 1.9, 1.6), yaw: float = 0.3
) -> list[float]:
    return [x, y, 0.4, *size, yaw, 1.5, -2.0]


def three_boxes() -> tuple[Tensor, Tensor]:
    """A car, a trailer and a pedestrian of unknown velocity, and their labels."""
    boxes = torch.tensor(
        [box(-3, 2, yaw=2.9), box(8.2, -4.1, (11, 2.8, 3.6), -1.4), box(4, 9, (0.6, 0.7, 1.7), 0.2)]
    )
    boxes[2, 7:] = math.nan
    return boxes, torch.tensor([LABEL["car"], LABEL["trailer"], LABEL["pedestrian"]])


def assert_found(found: Detections, boxes: Tensor, labels: Tensor, score: float) -> None:
    """Above `score` there is a detection of each box and no other."""
    sure = found.scores > score
    assert sorted(found.labels[sure].tolist()) == sorted(labels.tolist())
    for row, label in zip(boxes, labels, strict=True):
        best = found.boxes[sure][found.labels[sure] == label][0]
        torch.testing.assert_close(best[:6], row[:6], atol=0.25, rtol=0.1)
        assert math.cos(float(best[6] - row[6])) > 0.98


def random_boxes(count: int, seed: int, spread: float = 14.0) -> tuple[Tensor, Tensor]:
    """Boxes partly off the grid, some without a velocity."""
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 9, generator=generator)
    boxes[:, :2] = boxes[:, :2] * 2 * spread - spread
    boxes[:, 3:6] = boxes[:, 3:6] * 11 + 0.3
    boxes[:, 6] = boxes[:, 6] * 8 - 4
    boxes[::4, 7:] = float("nan")
    return boxes, torch.randint(0, 10, (count,), generator=generator)


def loop_radius(length: float, width: float, overlap: float) -> float:
    """The three quadratic equations of CornerNet, with (b + sqrt(b^2 - 4ac)) / 2 for a root."""
    equations = [
        (1.0, length + width, length * width * (1 - overlap) / (1 + overlap)),
        (4.0, 2 * (length + width), (1 - overlap) * length * width),
        (4 * overlap, -2 * overlap * (length + width), (overlap - 1) * length * width),
    ]
    return min((b + math.sqrt(max(b * b - 4 * a * c, 0.0))) / 2 for a, b, c in equations)


def loop_heatmap(boxes: Tensor, labels: Tensor, group: list[int]) -> Tensor:
    maps = torch.zeros(len(group), GRID.rows, GRID.cols, dtype=torch.float64)
    for row, label in zip(boxes.tolist(), labels.tolist(), strict=True):
        col, line = (
            math.floor((row[0] - GRID.x_min) / GRID.cell),
            math.floor((row[1] - GRID.y_min) / GRID.cell),
        )
        if label not in group or not (0 <= col < GRID.cols and 0 <= line < GRID.rows):
            continue
        radius = loop_radius(row[3] / GRID.cell, row[4] / GRID.cell, 0.1)
        assert abs(radius - round(radius)) > 1e-4, "rounding decides nothing"
        radius = max(2, int(radius))
        sigma = (2 * radius + 1) / 6
        for i in range(max(0, line - radius), min(GRID.rows, line + radius + 1)):
            for j in range(max(0, col - radius), min(GRID.cols, col + radius + 1)):
                value = math.exp(-((i - line) ** 2 + (j - col) ** 2) / (2 * sigma**2))
                k = group.index(label)
                maps[k, i, j] = max(float(maps[k, i, j]), value)
    return maps
