"""Targets and losses of the CenterPoint head against plain loops in float64, and its attributes."""

from __future__ import annotations

import math

import pytest
import torch
from center_loops import GRID, GROUPS, LABEL, box, loop_heatmap, loop_radius, random_boxes
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pc3d.data.label_maps import NUSCENES_DETECTION_CLASSES
from pc3d.models.heads.attributes import attribute_of
from pc3d.models.heads.center_losses import code_l1_loss, heatmap_focal_loss
from pc3d.models.heads.center_targets import center_targets, gaussian_radius


@given(st.floats(0.2, 60.0), st.floats(0.2, 60.0), st.floats(0.05, 0.95))
def test_the_radius_is_cornernets(length: float, width: float, overlap: float) -> None:
    sizes = torch.tensor([length, width], dtype=torch.float64)
    found = float(gaussian_radius(sizes[:1], sizes[1:], overlap))
    assert found == pytest.approx(loop_radius(length, width, overlap), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_heatmaps_are_those_of_plain_loops(seed: int) -> None:
    samples = [random_boxes(40, seed), random_boxes(0, seed), random_boxes(25, seed + 10)]
    boxes, labels = [list(items) for items in zip(*samples, strict=True)]
    for group, target in zip(GROUPS, center_targets(boxes, labels, GROUPS, GRID), strict=True):
        for b in range(3):
            expected = loop_heatmap(boxes[b], labels[b], group)
            torch.testing.assert_close(target.heatmap[b].double(), expected, atol=1e-5, rtol=0)


def test_codes_of_boxes_and_what_is_left_out() -> None:
    inside, off = box(1.0, 2.0), box(18.1, 2.0)
    still_on, nan_velocity = box(17.9, -8.9), [*box(-12.0, -9.0)[:7], math.nan, 3.0]
    boxes = torch.tensor([inside, off, still_on, nan_velocity])
    (car, *others) = center_targets([boxes], [torch.zeros(4, dtype=torch.int64)], GROUPS, GRID)
    assert car.sample.tolist() == [0, 0, 0]
    assert car.cell.tolist() == [[18, 21], [0, 49], [0, 0]]
    for row, source in zip(car.code.double(), (inside, still_on, nan_velocity), strict=True):
        x, y, z, length, width, height, yaw, vx, vy = source
        u, v = (x - GRID.x_min) / GRID.cell, (y - GRID.y_min) / GRID.cell
        expected = [
            u - math.floor(u),
            v - math.floor(v),
            z,
            math.log(length),
            math.log(width),
            math.log(height),
        ]
        expected += [math.sin(yaw), math.cos(yaw), 0.0 if math.isnan(vx) else vx, vy]
        torch.testing.assert_close(row, torch.tensor(expected, dtype=torch.float64), atol=2e-5, rtol=1e-5)
    assert car.known[:2].all()
    assert car.known[2].tolist() == [True] * 8 + [False, True]
    assert all(len(other.sample) == 0 and not other.heatmap.any() for other in others)


def test_boxes_of_classes_without_a_group_are_ignored() -> None:
    boxes = torch.tensor([box(0, 0), box(3, 3)])
    (only,) = center_targets(
        [boxes], [torch.tensor([LABEL["bus"], 9])], [[LABEL["trailer"], LABEL["bus"]]], GRID
    )
    assert len(only.sample) == 1
    assert only.heatmap[0].flatten(1).amax(dim=1).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("column", [0, 2, 3, 6])
def test_a_box_that_is_none_is_an_error(column: int) -> None:
    boxes = torch.tensor([box(0, 0), box(1, 1)])
    boxes[1, column] = math.nan
    with pytest.raises(ValueError, match="sample 0 has a box"):
        center_targets([boxes], [torch.zeros(2, dtype=torch.int64)], GROUPS, GRID)
    boxes[1] = torch.tensor(box(1, 1, size=(0.0, 1.0, 1.0)))
    with pytest.raises(ValueError, match="positive sizes"):
        center_targets([boxes], [torch.zeros(2, dtype=torch.int64)], GROUPS, GRID)
    with pytest.raises(ValueError, match="expected"):
        center_targets([boxes[:, :7]], [torch.zeros(2, dtype=torch.int64)], GROUPS, GRID)


def loop_focal(logits: Tensor, target: Tensor) -> Tensor:
    total, centres = logits.new_zeros(()), 0
    for z, y in zip(logits.flatten(), target.flatten().tolist(), strict=True):
        p = 1 / (1 + torch.exp(-z))
        if y == 1:
            centres += 1
            total = total - (1 - p) ** 2 * torch.log(p)
        else:
            total = total - (1 - y) ** 4 * p**2 * torch.log(1 - p)
    return total / max(centres, 1)


@pytest.mark.parametrize("centres", [0, 3])
def test_focal_loss_and_its_gradient_are_those_of_a_loop(centres: int) -> None:
    generator = torch.Generator().manual_seed(centres)
    logits = torch.randn(2, 2, 5, 4, generator=generator, dtype=torch.float64) * 3
    target = torch.rand(2, 2, 5, 4, generator=generator, dtype=torch.float64)
    target.view(-1)[:centres] = 1
    ours, loops = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    found, expected = heatmap_focal_loss(ours, target), loop_focal(loops, target)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, ours), torch.autograd.grad(expected, loops))


def test_focal_loss_of_confident_mistakes_is_finite_and_pulls() -> None:
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    loss = heatmap_focal_loss(logits, torch.tensor([[0.0, 1.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(400.0)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor([[1.0, -1.0]]))


def test_an_unknown_velocity_takes_no_part_even_where_the_prediction_overflowed() -> None:
    predicted = torch.tensor([[1.0, math.inf], [2.0, 5.0]], requires_grad=True)
    known = torch.tensor([[True, False], [True, True]])
    loss = code_l1_loss(predicted, torch.zeros(2, 2), known, torch.tensor([1.0, 0.2]))
    loss.backward()
    assert loss.item() == pytest.approx((1 + 2 + 0.2 * 5) / 2)
    torch.testing.assert_close(predicted.grad, torch.tensor([[0.5, 0.0], [0.5, 0.1]]))


def test_attributes_are_valid_for_their_class_and_follow_the_speed() -> None:
    assert attribute_of("car", 0.3) == "vehicle.moving"
    assert attribute_of("car", 0.2) == "vehicle.parked"
    assert attribute_of("bus", 0.0) == "vehicle.stopped"
    assert attribute_of("bicycle", 3.0) == "cycle.with_rider"
    assert attribute_of("motorcycle", math.nan) == "cycle.without_rider"
    assert attribute_of("pedestrian", 1.0) == "pedestrian.moving"
    assert attribute_of("pedestrian", 0.1) == "pedestrian.standing"
    assert attribute_of("barrier", 5.0) == attribute_of("traffic_cone", 0.0) == ""
    assert all(attribute_of(name, 1.0) is not None for name in NUSCENES_DETECTION_CLASSES)
    with pytest.raises(ValueError, match="tank"):
        attribute_of("tank", 1.0)
