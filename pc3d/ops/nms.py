"""Non-maximum suppression of boxes seen from above: by the IoU of oriented rectangles, or by distance.

A rectangle is `x y l w yaw`: centre and sizes in metres, length along the yaw, counter-clockwise from +x.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from pc3d.storage.compiled import njit

_VERTICES = 64  # four cuts of four vertices never give more, whatever the rounding
_MARGIN = 1e-9  # of the quick bounds: rounding never rejects what clipping would not


@njit(cache=True)
def _clip(polygon, count, axis, sign, limit, out):  # type: ignore[no-untyped-def]
    """Cut `count` vertices to the side `sign * coordinate <= limit` (Sutherland & Hodgman, CACM 1974)."""
    kept = 0
    for i in range(count):
        j = i + 1 if i + 1 < count else 0
        here, there = limit - sign * polygon[i, axis], limit - sign * polygon[j, axis]
        if here >= 0.0:
            out[kept, 0], out[kept, 1] = polygon[i, 0], polygon[i, 1]
            kept += 1
        if (here >= 0.0) != (there >= 0.0):
            share = here / (here - there)
            other = 1 - axis
            out[kept, axis] = sign * limit
            out[kept, other] = polygon[i, other] + share * (polygon[j, other] - polygon[i, other])
            kept += 1
    return kept


@njit(cache=True)
def _iou(a, b, above, polygon, spare):  # type: ignore[no-untyped-def]
    """IoU of two rectangles, or 0 where it is surely not greater than `above`; two (64, 2) buffers.

    `a` is taken into the frame of `b`, where `b` is aligned with the axes. Two bounds before clipping: the
    ratio of the areas, and the overlap with the box around `a`.
    """
    area_a, area_b = a[2] * a[3], b[2] * b[3]
    if area_a <= 0.0 or area_b <= 0.0:
        return 0.0
    if min(area_a, area_b) <= (above - _MARGIN) * max(area_a, area_b):
        return 0.0
    dx, dy = a[0] - b[0], a[1] - b[1]
    cos_b, sin_b = math.cos(b[4]), math.sin(b[4])
    x, y = cos_b * dx + sin_b * dy, cos_b * dy - sin_b * dx
    cos, sin = math.cos(a[4] - b[4]), math.sin(a[4] - b[4])
    half_l, half_w, limit_x, limit_y = 0.5 * a[2], 0.5 * a[3], 0.5 * b[2], 0.5 * b[3]
    wide, high = half_l * abs(cos) + half_w * abs(sin), half_l * abs(sin) + half_w * abs(cos)
    over_x = min(x + wide, limit_x) - max(x - wide, -limit_x)
    over_y = min(y + high, limit_y) - max(y - high, -limit_y)
    if over_x <= 0.0 or over_y <= 0.0:
        return 0.0
    most = over_x * over_y
    if most <= (above - _MARGIN) * (area_a + area_b - most):
        return 0.0
    for k in range(4):
        along = half_l if k == 0 or k == 3 else -half_l  # counter-clockwise from the front left
        left = half_w if k < 2 else -half_w
        polygon[k, 0], polygon[k, 1] = x + cos * along - sin * left, y + sin * along + cos * left
    count = _clip(polygon, 4, 0, 1.0, limit_x, spare)
    count = _clip(spare, count, 0, -1.0, limit_x, polygon)
    count = _clip(polygon, count, 1, 1.0, limit_y, spare)
    count = _clip(spare, count, 1, -1.0, limit_y, polygon)
    twice = 0.0
    for i in range(1, count - 1):  # a fan around the first vertex: no loss to the distance of the origin
        ux, uy = polygon[i, 0] - polygon[0, 0], polygon[i, 1] - polygon[0, 1]
        vx, vy = polygon[i + 1, 0] - polygon[0, 0], polygon[i + 1, 1] - polygon[0, 1]
        twice += ux * vy - uy * vx
    shared = min(max(0.5 * twice, 0.0), min(area_a, area_b))
    return shared / (area_a + area_b - shared)


@njit(cache=True)
def _reach(boxes):  # type: ignore[no-untyped-def]
    """Radius of the circle around each rectangle."""
    return 0.5 * np.sqrt(boxes[:, 2] * boxes[:, 2] + boxes[:, 3] * boxes[:, 3])


@njit(cache=True)
def _far(a, b, i, j, reach):  # type: ignore[no-untyped-def]
    """Whether the centres lie too far apart; most pairs end here."""
    dx, dy = a[i, 0] - b[j, 0], a[i, 1] - b[j, 1]
    return dx * dx + dy * dy >= reach * reach


@njit(cache=True)
def _iou_table(a, b):  # type: ignore[no-untyped-def]
    reach_a, reach_b = _reach(a), _reach(b)
    polygon, spare = np.empty((_VERTICES, 2)), np.empty((_VERTICES, 2))
    table = np.zeros((len(a), len(b)))
    for i in range(len(a)):
        for j in range(len(b)):
            if not _far(a, b, i, j, reach_a[i] + reach_b[j]):
                table[i, j] = _iou(a[i], b[j], 0.0, polygon, spare)
    return table


@njit(cache=True)
def _rotated_numba(boxes, threshold, most):  # type: ignore[no-untyped-def]
    """Rows kept of `boxes`, which come best first; no more than `most`."""
    polygon, spare = np.empty((_VERTICES, 2)), np.empty((_VERTICES, 2))
    reach = _reach(boxes)
    kept, count = np.empty(most, np.int64), 0
    gone = np.zeros(len(boxes), np.bool_)
    for i in range(len(boxes)):
        if gone[i]:
            continue
        kept[count] = i
        count += 1
        if count == most:
            break
        for j in range(i + 1, len(boxes)):
            if gone[j] or _far(boxes, boxes, i, j, reach[i] + reach[j]):
                continue
            gone[j] = _iou(boxes[i], boxes[j], threshold, polygon, spare) > threshold
    return kept[:count]


@njit(cache=True)
def _circle_numba(centers, radius, most):  # type: ignore[no-untyped-def]
    """Rows kept of `centers`, which come best first; no more than `most`."""
    kept, count = np.empty(most, np.int64), 0
    gone = np.zeros(len(centers), np.bool_)
    for i in range(len(centers)):
        if gone[i]:
            continue
        kept[count] = i
        count += 1
        if count == most:
            break
        for j in range(i + 1, len(centers)):
            dx, dy = centers[j, 0] - centers[i, 0], centers[j, 1] - centers[i, 1]
            if dx * dx + dy * dy <= radius * radius:
                gone[j] = True
    return kept[:count]


def rotated_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every rectangle of `a` with every one of `b`.

    Computed in float64 on the CPU, by clipping. A rectangle without area has IoU 0 with everything.

    Args:
        a: (N, 5) and b: (M, 5) `x y l w yaw`, metres and radians, in one frame.

    Returns:
        (N, M) in 0..1, of the dtype and on the device of `a`.

    Raises:
        ValueError: wrong shapes, values that are not finite, negative sizes.
    """
    table = _iou_table(_rectangles(a, "a"), _rectangles(b, "b"))
    return torch.from_numpy(table).to(a.device, a.dtype if a.is_floating_point() else torch.float32)


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union in space of every box of `a` with every one of `b`; all stand upright.

    Args:
        a: (N, 7) and b: (M, 7) `x y z l w h yaw`, metres and radians, z the centre.

    Returns:
        (N, M) in 0..1, of the dtype and on the device of `a`.

    Raises:
        ValueError: as `rotated_iou`.
    """
    flat = rotated_iou(a[:, [0, 1, 3, 4, 6]], b[:, [0, 1, 3, 4, 6]])
    (z_a, h_a), (z_b, h_b) = a[:, None, [2, 5]].unbind(2), b[None, :, [2, 5]].unbind(2)
    area_a, area_b = a[:, None, 3] * a[:, None, 4], b[None, :, 3] * b[None, :, 4]
    top, bottom = torch.minimum(z_a + h_a / 2, z_b + h_b / 2), torch.maximum(z_a - h_a / 2, z_b - h_b / 2)
    # IoU = S / (A + B - S), so the shared area S = IoU (A + B) / (1 + IoU).
    shared = flat * (area_a + area_b) / (1 + flat) * (top - bottom).clamp(min=0)
    union = area_a * h_a + area_b * h_b - shared
    return torch.where(union > 0, shared / union.clamp(min=torch.finfo(union.dtype).tiny), 0)


def rotated_nms(boxes: Tensor, scores: Tensor, iou_threshold: float, max_kept: int | None = None) -> Tensor:
    """Take the best rectangle, drop those whose IoU with it is greater than the threshold, and again.

    Runs on one CPU core in O(kept N), wherever the tensors live: 1000 rectangles in clusters take less
    than a millisecond. Equal scores: the lower index comes first.

    Args:
        boxes: (N, 5) `x y l w yaw`, metres and radians. scores: (N,), higher is better.
        iou_threshold: 0..1. max_kept: stop after so many.

    Returns:
        (K,) int64 rows of `boxes`, best first, on their device.

    Raises:
        ValueError: wrong shapes, values that are not finite, negative sizes, a threshold outside 0..1,
            `max_kept` below 1.
    """
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"iou_threshold must be within 0..1, got {iou_threshold}")
    rectangles = _rectangles(boxes, "boxes")
    order = _best_first(scores, len(rectangles))
    kept = _rotated_numba(rectangles[order], float(iou_threshold), _most(max_kept, len(order)))
    return torch.from_numpy(order[kept]).to(boxes.device)


def circle_nms(centers: Tensor, scores: Tensor, radius: float, max_kept: int | None = None) -> Tensor:
    """Take the best centre, drop those within `radius` of it, and again (CenterPoint, CVPR 2021).

    Equal scores: the lower index comes first. Runs on the CPU, wherever the tensors live.

    Args:
        centers: (N, 2) metres. scores: (N,), higher is better.
        radius: metres; a centre exactly that far is dropped. max_kept: stop after so many.

    Returns:
        (K,) int64 rows of `centers`, best first, on their device.

    Raises:
        ValueError: wrong shapes, values that are not finite, a negative radius, `max_kept` below 1.
    """
    if not 0 <= radius < math.inf:
        raise ValueError(f"radius must be finite and not negative, got {radius}")
    points = _finite(centers, 2, "centers")
    order = _best_first(scores, len(points))
    kept = _circle_numba(points[order], float(radius), _most(max_kept, len(order)))
    return torch.from_numpy(order[kept]).to(centers.device)


def _finite(values: Tensor, width: int, name: str) -> np.ndarray:
    if values.ndim != 2 or values.shape[1] != width:
        raise ValueError(f"{name} {tuple(values.shape)}: expected (N, {width})")
    array = np.ascontiguousarray(values.detach().cpu().double().numpy())
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        first = int(bad.argmax())
        raise ValueError(f"{int(bad.sum())} of {len(bad)} {name} are not finite, the first in row {first}")
    return array


def _rectangles(values: Tensor, name: str) -> np.ndarray:
    array = _finite(values, 5, name)
    bad = (array[:, 2:4] < 0).any(axis=1)
    if bad.any():
        first = int(bad.argmax())
        raise ValueError(
            f"{int(bad.sum())} of {len(bad)} {name} have a negative size, the first in row {first}"
        )
    return array


def _best_first(scores: Tensor, count: int) -> np.ndarray:
    if scores.shape != (count,):
        raise ValueError(f"scores {tuple(scores.shape)}: expected ({count},), one for each box")
    column = _finite(scores[:, None], 1, "scores")[:, 0]
    return np.argsort(-column, kind="stable")


def _most(max_kept: int | None, count: int) -> int:
    if max_kept is not None and max_kept < 1:
        raise ValueError(f"max_kept must be at least 1, or None for all, got {max_kept}")
    return count if max_kept is None else min(max_kept, count)
