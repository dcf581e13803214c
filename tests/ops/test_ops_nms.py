"""Suppression of boxes: the IoU against shapely's polygons, the rest against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shapely import affinity, geometry
from torch import Tensor

from pc3d.ops.nms import circle_nms, rotated_iou, rotated_nms


def polygon(box: Tensor) -> geometry.Polygon:
    x, y, length, width, yaw = box.double().tolist()
    upright = geometry.box(-length / 2, -width / 2, length / 2, width / 2)
    return affinity.translate(affinity.rotate(upright, yaw, origin=(0, 0), use_radians=True), x, y)


def shapely_iou(a: Tensor, b: Tensor) -> float:
    p, q = polygon(a), polygon(b)
    shared = p.intersection(q).area
    return shared / (p.area + q.area - shared) if shared > 0 else 0.0


def plain(count: int, scores: Tensor, drops: list[list[bool]]) -> list[int]:
    """`drops[i][j]`: i, when taken, drops j."""
    order = sorted(range(count), key=lambda i: (-float(scores[i]), i))
    taken: list[int] = []
    for i in order:
        if not any(drops[k][i] for k in taken):
            taken.append(i)
    return taken


def clustered(count: int, seed: int, spread: float = 1.5) -> Tensor:
    rng = np.random.default_rng(seed)
    clusters = max(1, count // 10)
    centers = rng.uniform(-20, 20, (clusters, 2))[rng.integers(0, clusters, count)]
    sizes = rng.uniform([0.5, 0.5], [6, 3], (count, 2))
    boxes = [centers + rng.normal(0, spread, (count, 2)), sizes, rng.uniform(-7, 7, (count, 1))]
    return torch.from_numpy(np.concatenate(boxes, axis=1))


_place = st.floats(-3, 3)
_size = st.floats(0.01, 8)
# Right angles and the yaw of the other box too: shared edges are where clipping goes wrong.
_yaw = st.one_of(st.floats(-10, 10), st.sampled_from([0.0, math.pi / 2, -math.pi, math.pi / 4]))
_box = st.tuples(_place, _place, _size, _size, _yaw)


@settings(max_examples=100, deadline=None)
@given(a=_box, b=_box, shift=st.sampled_from([0.0, 1000.0]))
def test_iou_is_that_of_the_polygons(a: tuple[float, ...], b: tuple[float, ...], shift: float) -> None:
    p, q = torch.tensor([a, b], dtype=torch.float64)
    p[:2] += shift
    q[:2] += shift
    here, back = rotated_iou(p[None], q[None]).item(), rotated_iou(q[None], p[None]).item()
    assert here == pytest.approx(shapely_iou(p, q), abs=1e-8)
    assert here == pytest.approx(back, abs=1e-9)
    assert rotated_iou(p[None], p[None]).item() == pytest.approx(1.0, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(box=_box, turn=st.integers(-4, 4), part=st.sampled_from([0.25, 0.5, 1.0]))
def test_edges_on_one_line(box: tuple[float, ...], turn: int, part: float) -> None:
    """A part of the box that starts at its rear edge, and is turned by right angles with it."""
    x, y, length, width, yaw = box
    back = -0.5 * (1 - part) * length
    inner = [x + back * math.cos(yaw), y + back * math.sin(yaw), part * length, width, yaw + turn * math.pi]
    pair = torch.tensor([box, inner], dtype=torch.float64)
    assert rotated_iou(pair[:1], pair[1:]).item() == pytest.approx(part, abs=1e-9)
    assert rotated_iou(pair[1:], pair[:1]).item() == pytest.approx(part, abs=1e-9)


def test_iou_table_of_float32() -> None:
    a, b = clustered(40, 0).float(), clustered(30, 1).float()
    expected = torch.tensor([[shapely_iou(p, q) for q in b] for p in a])
    table = rotated_iou(a, b)
    assert table.dtype == torch.float32
    torch.testing.assert_close(table, expected, atol=1e-6, rtol=0)
    assert rotated_iou(a, b[:0]).shape == (40, 0)


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(0, 40),
    seed=st.integers(0, 1000),
    threshold=st.sampled_from([0.0, 0.1, 0.37, 0.5, 0.8, 1.0]),
    most=st.one_of(st.none(), st.integers(1, 12)),
)
def test_rotated_is_the_plain_loop(count: int, seed: int, threshold: float, most: int | None) -> None:
    """Scores of few values, so that many are equal."""
    boxes = clustered(count, seed)
    scores = torch.from_numpy(np.random.default_rng(seed).integers(0, 6, count) / 5)
    table = [[shapely_iou(p, q) for q in boxes] for p in boxes]
    pairs = [(i, j) for i in range(count) for j in range(i)]
    # Rounding decides at the threshold, and whether boxes that only touch share anything.
    assume(all(abs(table[i][j] - threshold) > 1e-9 or not table[i][j] for i, j in pairs))
    assume(all(table[i][j] or polygon(boxes[i]).distance(polygon(boxes[j])) > 1e-9 for i, j in pairs))
    drops = [[iou > threshold for iou in row] for row in table]
    expected = plain(count, scores, drops)[:most]
    assert rotated_nms(boxes, scores, threshold, most).tolist() == expected


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(0, 40),
    seed=st.integers(0, 1000),
    radius=st.sampled_from([0.0, 0.5, 1.25, 5.0]),
    most=st.one_of(st.none(), st.integers(1, 12)),
)
def test_circle_is_the_plain_loop(count: int, seed: int, radius: float, most: int | None) -> None:
    """Quarters: distances of 3-4-5 triangles lie exactly on the radius."""
    rng = np.random.default_rng(seed)
    centers = torch.from_numpy(rng.integers(0, 30, (count, 2)) / 4).float()
    scores = torch.from_numpy(rng.integers(0, 6, count) / 5)
    drops = [[float((p - q).double().square().sum()) <= radius**2 for q in centers] for p in centers]
    expected = plain(count, scores, drops)[:most]
    assert circle_nms(centers, scores, radius, most).tolist() == expected


def test_the_order_of_the_boxes_does_not_matter() -> None:
    boxes, scores = clustered(300, 3), torch.rand(300, generator=torch.Generator().manual_seed(0))
    for nms in (lambda b, s: rotated_nms(b, s, 0.2), lambda b, s: circle_nms(b[:, :2], s, 1.0)):
        order = torch.randperm(300, generator=torch.Generator().manual_seed(1))
        kept = nms(boxes, scores)
        assert order[nms(boxes[order], scores[order])].tolist() == kept.tolist()
        assert scores[kept].diff().max() < 0  # best first
        assert 10 < len(kept) < 290


def test_boxes_without_area_drop_nothing() -> None:
    boxes = torch.tensor([[0.0, 0, 0, 2, 0], [0, 0, 4, 0, 0], [0, 0, 4, 2, 0], [0, 0, 0, 0, 0]])
    table = rotated_iou(boxes, boxes)
    assert table.sum() == table[2, 2] == 1
    assert rotated_nms(boxes, torch.ones(4), 0.0).tolist() == [0, 1, 2, 3]


def test_touching_boxes_share_nothing() -> None:
    boxes = torch.tensor([[0.0, 0, 2, 2, 0], [2, 0, 2, 2, 0], [0, 2, 2, 2, math.pi / 2], [2, 2, 2, 2, 0]])
    torch.testing.assert_close(rotated_iou(boxes, boxes), torch.eye(4), atol=1e-6, rtol=0)


def test_gradients_and_device_stay_out() -> None:
    boxes = clustered(20, 0).float().requires_grad_()
    kept = rotated_nms(boxes, boxes[:, 0].sigmoid(), 0.3)
    assert kept.dtype == torch.int64
    assert not rotated_iou(boxes, boxes).requires_grad
    if torch.cuda.is_available():
        on_gpu = rotated_nms(boxes.cuda(), boxes[:, 0].sigmoid().cuda(), 0.3)
        assert on_gpu.is_cuda
        assert on_gpu.cpu().tolist() == kept.tolist()
        circle = circle_nms(boxes[:, :2].cuda(), boxes[:, 2].cuda(), 1.0)
        assert circle.cpu().tolist() == circle_nms(boxes[:, :2], boxes[:, 2], 1.0).tolist()


def test_mistakes() -> None:
    boxes, scores = clustered(4, 0), torch.ones(4)
    broken = boxes.clone()
    broken[2, 1] = math.nan
    with pytest.raises(ValueError, match="1 of 4 boxes are not finite, the first in row 2"):
        rotated_nms(broken, scores, 0.5)
    with pytest.raises(ValueError, match="b are not finite"):
        rotated_iou(boxes, broken)
    with pytest.raises(ValueError, match="4 of 4 scores are not finite"):
        rotated_nms(boxes, scores * math.inf, 0.5)
    with pytest.raises(ValueError, match="centers are not finite"):
        circle_nms(broken[:, :2], scores, 1.0)
    with pytest.raises(ValueError, match="negative size, the first in row 0"):
        rotated_nms(boxes * torch.tensor([1, 1, -1, 1, 1]), scores, 0.5)
    with pytest.raises(ValueError, match=r"expected \(N, 5\)"):
        rotated_iou(boxes[:, :4], boxes)
    with pytest.raises(ValueError, match=r"scores \(3,\): expected \(4,\)"):
        circle_nms(boxes[:, :2], scores[:3], 1.0)
    with pytest.raises(ValueError, match="iou_threshold"):
        rotated_nms(boxes, scores, math.nan)
    with pytest.raises(ValueError, match="radius"):
        circle_nms(boxes[:, :2], scores, -1.0)
    with pytest.raises(ValueError, match="max_kept must be at least 1"):
        rotated_nms(boxes, scores, 0.5, max_kept=0)
