"""The TransFusion head: its matching and loss against plain loops, its queries, and what it learns."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from center_loops import GRID, LABEL, assert_found, loop_heatmap, random_boxes, three_boxes
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Polygon
from torch import Tensor

from pc3d.models.bev_models import build_bev_model
from pc3d.models.heads.center_losses import heatmap_focal_loss
from pc3d.models.heads.transfusion import QueryOutputs, TransFusionHead
from pc3d.models.heads.transfusion_matching import MatchingCost, match
from pc3d.ops.nms import box_iou

K = 10


def head(**options: Any) -> TransFusionHead:
    torch.manual_seed(0)
    small = {"queries": 12, "channels": 16, "heads": 2, "feedforward": 24, "head_channels": 8}
    return TransFusionHead(6, GRID, **{**small, **options})


def corners(row: list[float]) -> Polygon:
    x, y, _, length, width, _, yaw = row[:7]
    ends = [(length, width), (-length, width), (-length, -width), (length, -width)]
    cos, sin = math.cos(yaw), math.sin(yaw)
    return Polygon([(x + (cos * a - sin * b) / 2, y + (sin * a + cos * b) / 2) for a, b in ends])


def loop_iou(a: list[float], b: list[float]) -> float:
    """By shapely from above, times the overlap of the heights."""
    flat = corners(a).intersection(corners(b)).area
    height = min(a[2] + a[5] / 2, b[2] + b[5] / 2) - max(a[2] - a[5] / 2, b[2] - b[5] / 2)
    shared = flat * max(height, 0.0)
    return shared / (a[3] * a[4] * a[5] + b[3] * b[4] * b[5] - shared)


def near(boxes: Tensor, seed: int, count: int) -> Tensor:
    """`count` boxes that overlap some of `boxes`."""
    rng = np.random.default_rng(seed)
    rows = boxes[rng.integers(0, len(boxes), count)].clone()
    return rows + torch.from_numpy(rng.uniform(-0.3, 0.3, rows.shape)).float().abs()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 6))
def test_the_iou_in_space_is_shapelys_times_the_heights(seed: int, count: int) -> None:
    boxes = random_boxes(count, seed, spread=3.0)[0][:, :7]
    others = torch.cat([boxes, near(boxes, seed, 4)])
    expected = [[loop_iou(a, b) for b in others.tolist()] for a in boxes.tolist()]
    found = box_iou(boxes.double(), others.double())
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-5, rtol=1e-4)
    assert float(found.diagonal().min()) > 1 - 1e-6


def test_boxes_above_each_other_and_flat_ones_do_not_overlap() -> None:
    low = torch.tensor([[0.0, 0, 0, 4, 2, 1, 0.3]])
    high = low + torch.tensor([0, 0, 1.5, 0, 0, 0, 0])
    assert box_iou(low, high).item() == 0
    assert box_iou(low * torch.tensor([1, 1, 1, 1, 1, 0, 1]), low).item() == 0
    assert box_iou(low[:0], low).shape == (0, 1)


def loop_cost(logits: list[float], found: list[float], true: list[float], label: int) -> float:
    p = 1 / (1 + math.exp(-logits[label]))
    gain = -0.25 * (1 - p) ** 2 * math.log(p) + 0.75 * p**2 * math.log(1 - p)
    apart = abs(found[0] - true[0]) / 30 + abs(found[1] - true[1]) / 24
    return 0.15 * gain + 0.25 * apart - 0.25 * loop_iou(found, true)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 4))
def test_the_matching_is_the_cheapest_of_all(seed: int, count: int) -> None:
    truth, labels = random_boxes(count, seed, spread=4.0)
    found = near(truth, seed + 1, 5)
    logits = torch.randn(5, K, generator=torch.Generator().manual_seed(seed))
    costs = MatchingCost().costs(logits, found, truth, labels, GRID)
    expected = [
        [loop_cost(of.tolist(), a.tolist(), b.tolist(), int(k)) for b, k in zip(truth, labels, strict=True)]
        for of, a in zip(logits.double(), found.double(), strict=True)
    ]
    torch.testing.assert_close(costs, torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=1e-4)
    cheapest = min(
        sum(expected[q][n] for n, q in enumerate(chosen))
        for chosen in itertools.permutations(range(5), count)
    )
    rows, columns = match(costs)
    assert sorted(columns.tolist()) == list(range(count))
    assert float(costs[rows, columns].sum()) == pytest.approx(cheapest)


def test_numbers_of_a_diverged_network_are_matched_all_the_same() -> None:
    truth, labels = random_boxes(3, 0, spread=4.0)
    found = near(truth, 1, 5)
    found[2, 3] = math.nan
    found[3] = math.inf
    costs = MatchingCost().costs(torch.full((5, K), math.nan), found, truth, labels, GRID)
    assert costs.isfinite().all()
    assert len(match(costs)[0]) == 3


def loop_loss(
    outputs: QueryOutputs, pairs: list[tuple[int, int]], boxes: Tensor, labels: Tensor
) -> list[float]:
    """Class and box term of one sample and layer, query by query."""
    wanted = {query: n for n, query in pairs}
    of_classes = of_boxes = 0.0
    for q, row in enumerate(outputs.logits[-1][0].double().tolist()):
        for k, logit in enumerate(row):
            p = 1 / (1 + math.exp(-logit))
            if q in wanted and int(labels[wanted[q]]) == k:
                of_classes -= 0.25 * (1 - p) ** 2 * math.log(p)
            else:
                of_classes -= 0.75 * p**2 * math.log(1 - p)
    for n, q in pairs:
        x, y, z, length, width, height, yaw, *velocity = boxes[n].double().tolist()
        target = [(x - GRID.x_min) / GRID.cell, (y - GRID.y_min) / GRID.cell, z]
        target += [*map(math.log, (length, width, height)), math.sin(yaw), math.cos(yaw), *velocity]
        for d, (a, b) in enumerate(zip(outputs.codes[-1][0, q].tolist(), target, strict=True)):
            of_boxes += 0.0 if math.isnan(b) else (0.2 if d > 7 else 1.0) * abs(a - b)
    return [of_classes / max(len(pairs), 1), 0.25 * of_boxes / max(len(pairs), 1)]


def test_the_loss_is_that_of_loops_over_the_matched_pairs() -> None:
    model = head().eval()
    boxes, labels = random_boxes(9, 3, spread=8.0)
    outputs = model(torch.randn(1, 6, GRID.rows, GRID.cols))
    terms = model.loss(outputs, [boxes], [labels])
    found = model._boxes(outputs.codes[-1][0])
    rows, columns = match(model.cost.costs(outputs.logits[-1][0], found, boxes, labels, GRID))
    pairs = list(zip(columns.tolist(), rows.tolist(), strict=True))
    expected = loop_loss(outputs, pairs, boxes, labels)
    assert terms["loss_class"].item() == pytest.approx(expected[0], rel=1e-4)
    assert terms["loss_box"].item() == pytest.approx(expected[1], rel=1e-4)
    maps = loop_heatmap(boxes, labels, list(range(K)))[None]
    assert terms["loss_heatmap"].item() == pytest.approx(
        heatmap_focal_loss(outputs.heatmap.double(), maps).item(), rel=1e-4
    )


@pytest.mark.parametrize("layers", [1, 2])
def test_every_parameter_gets_a_gradient(layers: int) -> None:
    model = head(layers=layers)
    samples = [random_boxes(30, 1), random_boxes(3, 2)]  # more boxes than queries, and fewer
    boxes, labels = [list(items) for items in zip(*samples, strict=True)]
    outputs = model(torch.randn(2, 6, GRID.rows, GRID.cols))
    assert len(outputs.codes) == len(outputs.logits) == layers
    sum(model.loss(outputs, boxes, labels).values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        # The signs of an L1 loss may cancel in a bias.
        assert parameter.grad.any() or name.endswith("bias"), name


def test_a_batch_without_boxes_teaches_that_there_is_nothing() -> None:
    model = head()
    empty = torch.zeros(0, 9), torch.zeros(0, dtype=torch.int64)
    terms = model.loss(model(torch.randn(2, 6, GRID.rows, GRID.cols)), [empty[0]] * 2, [empty[1]] * 2)
    assert terms["loss_box"].item() == 0
    assert terms["loss_class"].item() > 0
    sum(terms.values()).backward()


def test_queries_are_peaks_and_any_cell_of_the_dense_classes() -> None:
    model = head(queries=5)
    heatmap = torch.full((1, K, GRID.rows, GRID.cols), -9.0)
    for name, row, col, value in [
        ("car", 4, 7, 3.0),
        ("car", 4, 8, 2.5),  # beside the higher one
        ("truck", 4, 8, 2.0),
        ("pedestrian", 20, 20, 1.5),
        ("pedestrian", 20, 21, 1.2),
        ("bus", 30, 1, 0.5),
    ]:
        heatmap[0, LABEL[name], row, col] = value
    confidence, channel, cell = model._peaks(heatmap)
    expected = [
        ("car", 4, 7),
        ("truck", 4, 8),
        ("pedestrian", 20, 20),
        ("pedestrian", 20, 21),
        ("bus", 30, 1),
    ]
    found = [
        (list(LABEL)[k], c // GRID.cols, c % GRID.cols)
        for k, c in zip(channel[0].tolist(), cell[0].tolist(), strict=True)
    ]
    assert found == expected
    torch.testing.assert_close(confidence[0, 0], torch.tensor(3.0).sigmoid())


def test_boxes_come_from_codes_with_the_class_of_the_query() -> None:
    model = head(score_threshold=0.1, classes=["bus", "car"])
    codes = torch.zeros(1, 4, 10)
    codes[0, :, 7] = 1.0
    codes[0, 0, :7] = torch.tensor([10.5, 20.25, 0.5, math.log(4), math.log(2), math.log(1.5), 0.0])
    codes[0, 1, 0] = math.nan
    codes[0, 2, 0] = 500.0  # 288 m away
    logits = torch.tensor([[[9.0, 0.0], [9, 9], [9, 9], [-4, 9]]])
    channel = torch.tensor([[1, 0, 0, 0]])
    outputs = QueryOutputs(
        torch.zeros(1, 2, GRID.rows, GRID.cols), channel, torch.full((1, 4), 0.8), [codes], [logits]
    )
    (found,) = model.decode(outputs)
    assert found.labels.tolist() == [LABEL["car"]]
    assert float(found.scores[0]) == pytest.approx(0.8 * 0.5)
    expected = [GRID.x_min + 10.5 * 0.6, GRID.y_min + 20.25 * 0.6, 0.5, 4, 2, 1.5, 0, 0, 0]
    torch.testing.assert_close(found.boxes[0], torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_the_head_learns_one_frame() -> None:
    torch.manual_seed(0)
    boxes, labels = three_boxes()
    model = head(classes=["car", "trailer", "pedestrian"], dropout=0.0)
    bev = torch.randn(1, 6, GRID.rows, GRID.cols)
    steps = 150
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, steps)
    for _ in range(steps):
        loss = sum(model.loss(model(bev), [boxes], [labels]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    assert_found(model.decode(model(bev))[0], boxes, labels, score=0.3)


def test_a_detector_takes_it_by_name() -> None:
    network = {
        "lidar": {
            "type": "PointPillars",
            "pillar_channels": 4,
            "bev_widths": (4,),
            "bev_layers": (1,),
            "bev_channels": 4,
            "grid": {"x_min": -12.0, "x_max": 12.0, "y_min": -12.0, "y_max": 12.0, "cell": 0.8},
        },
    }
    model = build_bev_model("detection", network, {"type": "TransFusionHead", "channels": 8, "heads": 2})
    assert isinstance(model.head, TransFusionHead)
    with pytest.raises(ValueError, match="CenterHead, TransFusionHead"):
        build_bev_model("detection", network, {"type": "Transfusion"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["car", "tank"]}, "each class once"),
        ({"heads": 3}, "heads 3"),
        ({"queries": 0}, "queries 0"),
        ({"score_threshold": 1.0}, "score_threshold"),
        ({"matching": {"iou": 1.0}}, "iou_weight"),
        ({"centre_range": [0.0]}, "centre_range"),
        ({"code_weights": [1.0]}, "10"),
        ({"dense_classes": ["tank"]}, "tank"),
    ],
)
def test_wrong_options_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        head(**options)


def test_a_map_of_another_grid_and_a_batch_of_another_size_are_errors() -> None:
    model = head()
    with pytest.raises(ValueError, match="another grid"):
        model(torch.zeros(1, 6, GRID.cols, GRID.rows))
    with pytest.raises(ValueError, match="boxes of 0 samples"):
        model.loss(model(torch.zeros(1, 6, GRID.rows, GRID.cols)), [], [])
