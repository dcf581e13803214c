"""Time of rotated NMS, beside the same suppression by shapely's polygons and its spatial index."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import shapely
import torch
from torch import Tensor

from pc3d.ops.nms import rotated_nms

_CLUSTER = 20  # boxes that a detector gives for one object
_AREA = 50.0  # metres from the car to the border


def run(count: int = 1000, iou_threshold: float = 0.2, repeats: int = 5) -> dict[str, Any]:
    """Measure both on boxes in clusters, as a detector gives them before suppression.

    Args:
        count: boxes, twenty for each of `count / 20` objects of a car's size.
        iou_threshold: of the suppression.
        repeats: the best of so many is given; the two take turns, so that a busy machine slows both.

    Returns:
        Seconds of both and their ratio, the number of boxes kept, and whether both keep the same ones.

    Raises:
        ValueError: `count` or `repeats` below 1.
    """
    if count < 1 or repeats < 1:
        raise ValueError(f"count and repeats must be at least 1, got {count} and {repeats}")
    boxes, scores = _inputs(count)
    times: dict[str, list[float]] = {name: [] for name in _WAYS}
    kept: dict[str, Tensor] = {}
    for _ in range(repeats + 1):  # the first one compiles
        for name, way in _WAYS.items():
            start = time.perf_counter()
            kept[name] = way(boxes, scores, iou_threshold)
            times[name].append(time.perf_counter() - start)
    seconds = {name: min(values[1:]) for name, values in times.items()}
    ours, peer = _WAYS
    return {
        "boxes": count,
        "kept": len(kept[ours]),
        "the same ones": torch.equal(kept[ours], kept[peer]),
        **{f"{name} (s)": value for name, value in seconds.items()},
        "speed-up": seconds[peer] / seconds[ours],
    }


def _shapely_nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy suppression; the pairs that meet come from an STRtree, their areas in one call each box."""
    polygons = _polygons(boxes.double().numpy())
    areas = shapely.area(polygons)
    tree = shapely.STRtree(polygons)
    alive = np.ones(len(polygons), dtype=bool)
    kept = []
    for i in np.argsort(-scores.numpy(), kind="stable"):
        if not alive[i]:
            continue
        kept.append(int(i))
        alive[i] = False
        near = tree.query(polygons[i])
        near = near[alive[near]]
        shared = shapely.area(shapely.intersection(polygons[i], polygons[near]))
        alive[near[shared > iou_threshold * (areas[i] + areas[near] - shared)]] = False
    return torch.tensor(kept)


def _polygons(boxes: np.ndarray) -> np.ndarray:
    cos, sin = np.cos(boxes[:, 4:]), np.sin(boxes[:, 4:])
    along = boxes[:, 2:3] * np.array([0.5, -0.5, -0.5, 0.5])
    left = boxes[:, 3:4] * np.array([0.5, 0.5, -0.5, -0.5])
    x, y = boxes[:, :1] + cos * along - sin * left, boxes[:, 1:2] + sin * along + cos * left
    return np.asarray(shapely.polygons(np.stack([x, y], axis=2)))


_WAYS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "rotated_nms": rotated_nms,
    "shapely with an STRtree": _shapely_nms,
}


def _inputs(count: int) -> tuple[Tensor, Tensor]:
    """Boxes around objects, a few decimetres and degrees off, and scores without ties."""
    rng = np.random.default_rng(0)
    objects = max(1, count // _CLUSTER)
    owner = rng.integers(0, objects, count)
    centers = rng.uniform(-_AREA, _AREA, (objects, 2))[owner] + rng.normal(0, 0.4, (count, 2))
    sizes = rng.normal([4.6, 1.9], [0.3, 0.1], (count, 2))
    yaws = rng.uniform(-np.pi, np.pi, objects)[owner] + rng.normal(0, 0.1, count)
    boxes = np.concatenate([centers, sizes, yaws[:, None]], axis=1)
    return torch.from_numpy(boxes).float(), torch.from_numpy(rng.permutation(count) / count)
