"""The CenterPoint head: its loss against plain loops, and its boxes from ideal outputs."""

from __future__ import annotations

import math

import pytest
import torch
from center_loops import GRID, GROUPS, LABEL, assert_found, box, loop_heatmap, random_boxes, three_boxes
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pc3d.models.heads.center_code import BRANCHES
from pc3d.models.heads.center_decode import CIRCLE_RADII
from pc3d.models.heads.center_losses import heatmap_focal_loss
from pc3d.models.heads.center_point import CenterHead
from pc3d.models.heads.center_targets import center_targets


def head(**options: object) -> CenterHead:
    torch.manual_seed(0)
    return CenterHead(6, GRID, shared_channels=8, head_channels=8, **options)


def loop_l1(outputs: list[dict[str, Tensor]], boxes: list[Tensor], labels: list[Tensor]) -> Tensor:
    """0.25 sum_groups sum_d w_d sum_boxes |p - t| / N, read from the maps box by box."""
    total = outputs[0]["reg"].new_zeros((), dtype=torch.float64)
    for group, maps in zip(GROUPS, outputs, strict=True):
        of_group, count = total.new_zeros(()), 0
        for b in range(len(boxes)):
            for row, label in zip(boxes[b].double().tolist(), labels[b].tolist(), strict=True):
                u, v = (row[0] - GRID.x_min) / GRID.cell, (row[1] - GRID.y_min) / GRID.cell
                j, i = math.floor(u), math.floor(v)
                if label not in group or not (0 <= j < GRID.cols and 0 <= i < GRID.rows):
                    continue
                count += 1
                wanted = {
                    "reg": [u - j, v - i],
                    "height": [row[2]],
                    "dim": [math.log(size) for size in row[3:6]],
                    "rot": [math.sin(row[6]), math.cos(row[6])],
                    "vel": row[7:9],
                }
                for name, numbers in wanted.items():
                    for d, number in enumerate(numbers):
                        if not math.isnan(number):
                            weight = 0.2 if name == "vel" else 1.0
                            of_group = of_group + weight * (maps[name][b, d, i, j].double() - number).abs()
        total = total + 0.25 * of_group / max(count, 1)
    return total


def test_the_loss_of_the_head_and_its_gradients_are_those_of_loops() -> None:
    model = head()
    samples = [random_boxes(30, 1), random_boxes(12, 2)]
    boxes, labels = [list(items) for items in zip(*samples, strict=True)]
    outputs = model(torch.randn(2, 6, GRID.rows, GRID.cols))
    terms = model.loss(outputs, boxes, labels)
    expected = loop_l1(outputs, boxes, labels)
    heat = sum(
        heatmap_focal_loss(
            maps["heatmap"].double(),
            torch.stack([loop_heatmap(b, k, group) for b, k in zip(boxes, labels, strict=True)]),
        )
        for group, maps in zip(GROUPS, outputs, strict=True)
    )
    assert set(terms) == {"loss_heatmap", "loss_box"}
    assert terms["loss_box"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert terms["loss_heatmap"].item() == pytest.approx(float(heat.detach()), rel=1e-4)
    maps = [outputs[g][name] for g in range(6) for name in BRANCHES]
    ours = torch.autograd.grad(terms["loss_box"], maps, retain_graph=True, allow_unused=True)
    loops = torch.autograd.grad(expected, maps, allow_unused=True, materialize_grads=True)
    for found, wanted in zip(ours, loops, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-7, rtol=1e-5)


def test_a_batch_without_boxes_gives_a_finite_loss_with_a_graph() -> None:
    model = head()
    nothing = [torch.zeros(0, 9)], [torch.zeros(0, dtype=torch.int64)]
    terms = model.loss(model(torch.randn(1, 6, GRID.rows, GRID.cols)), *nothing)
    sum(terms.values()).backward()
    assert terms["loss_box"].item() == 0
    assert 0 < terms["loss_heatmap"].item() < math.inf
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_under_autocast_the_loss_and_the_boxes_are_float32() -> None:
    model = head()
    boxes, labels = random_boxes(10, 5)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(torch.randn(1, 6, GRID.rows, GRID.cols))
        assert outputs[0]["heatmap"].dtype == torch.bfloat16
        assert outputs[0]["reg"].dtype == torch.float32
        terms = model.loss(outputs, [boxes], [labels])
        found = model.decode(outputs)[0]
    assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values())
    assert found.boxes.dtype == found.scores.dtype == torch.float32
    sum(terms.values()).backward()


def ideal_outputs(boxes: list[Tensor], labels: list[Tensor]) -> list[dict[str, Tensor]]:
    """What a perfect network would give: heatmaps as logits, and each box's code in its cell."""
    outputs = []
    for target in center_targets(boxes, labels, GROUPS, GRID):
        maps = {"heatmap": torch.logit(target.heatmap, eps=1e-4)}
        first = 0
        for name, width in BRANCHES.items():
            maps[name] = torch.zeros(len(boxes), width, GRID.rows, GRID.cols)
            row, col = target.cell.unbind(dim=1)
            maps[name][target.sample, :, row, col] = target.code[:, first : first + width]
            first += width
        outputs.append(maps)
    return outputs


spaced_boxes = st.lists(
    st.tuples(
        st.tuples(st.integers(0, 4), st.integers(0, 3)),
        st.tuples(*[st.floats(0.3, 5.5) for _ in range(2)], st.floats(-4.0, 4.0)),
        st.tuples(*[st.floats(0.2, 5.0) for _ in range(3)]),
        st.floats(-math.pi, math.pi),
        st.tuples(st.floats(-20.0, 20.0), st.floats(-20.0, 20.0)),
        st.integers(0, 9),
    ),
    max_size=12,
    unique_by=lambda item: item[0],
)


@settings(max_examples=60, deadline=None)
@given(spaced_boxes, st.sampled_from(["rotated", "circle"]))
def test_ideal_outputs_decode_to_the_boxes(items: list[tuple], nms: str) -> None:
    rows, labels = [], []
    for (column, line), (dx, dy, z), size, yaw, velocity, label in items:
        # One box in each square of 6 m, so that no two of them overlap enough to suppress each other.
        x, y = GRID.x_min + 6 * column + dx, GRID.y_min + 6 * line + dy
        rows.append([x, y, z, *size, yaw, *velocity])
        labels.append(label)
    truth, label = torch.tensor(rows).view(-1, 9), torch.tensor(labels, dtype=torch.int64)
    decoding = {"nms": nms, "score_threshold": 0.99, "iou_threshold": 1.0}
    decoding["radii"] = dict.fromkeys(CIRCLE_RADII, 0.0)
    model = head(decoding=decoding)
    empty = torch.zeros(0, 9), torch.zeros(0, dtype=torch.int64)
    found, none = model.decode(ideal_outputs([truth, empty[0]], [label, empty[1]]))
    assert len(none.boxes) == 0
    assert none.boxes.shape == (0, 9)
    assert len(found.boxes) == len(rows)
    for row, k in zip(truth, label, strict=True):
        apart = (found.boxes[:, :3] - row[:3]).norm(dim=1) + (found.labels != k) * 100.0
        best = found.boxes[apart.argmin()]
        torch.testing.assert_close(
            best[[0, 1, 2, 3, 4, 5, 7, 8]], row[[0, 1, 2, 3, 4, 5, 7, 8]], atol=1e-4, rtol=1e-4
        )
        assert math.cos(float(best[6] - row[6])) > 1 - 1e-6


def test_the_second_class_of_a_group_keeps_its_label() -> None:
    boxes = torch.tensor([box(0, 0, yaw=3.1), box(9, 9, (0.5, 0.5, 1.0)), box(-9, 8)])
    labels = torch.tensor([LABEL["trailer"], LABEL["traffic_cone"], LABEL["truck"]])
    (found,) = head().decode(ideal_outputs([boxes], [labels]))
    order = found.boxes[:, 0].argsort()
    assert found.labels[order].tolist() == [LABEL["truck"], LABEL["trailer"], LABEL["traffic_cone"]]


def crowd(scores: dict[tuple[int, int, int], float]) -> list[dict[str, Tensor]]:
    """Outputs of the last group only: boxes of 1 m where `scores` has a (class, row, column)."""
    outputs = ideal_outputs([torch.zeros(0, 9)], [torch.zeros(0, dtype=torch.int64)])
    for cell, score in scores.items():
        outputs[5]["heatmap"][(0, *cell)] = math.log(score / (1 - score))
    outputs[5]["rot"][:, 1] = 1
    return outputs


def test_overlapping_boxes_of_a_group_suppress_each_other_whatever_their_class() -> None:
    scores = {(0, 10, 10): 0.9, (1, 10, 10): 0.8, (0, 10, 20): 0.3, (0, 20, 10): 0.04}
    (found,) = head().decode(crowd(scores))
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.3]))
    (found,) = head(decoding={"nms": "circle"}).decode(crowd(scores))
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.8, 0.3]))
    assert found.labels.tolist() == [LABEL["pedestrian"], LABEL["traffic_cone"], LABEL["pedestrian"]]


def test_neighbouring_cells_and_the_peak_window() -> None:
    scores = {(0, 10, 10): 0.9, (0, 10, 12): 0.8, (0, 11, 10): 0.7, (0, 4, 4): 0.6}
    kept = {}
    for window in (1, 3, 5):
        decoding = {"peak_window": window, "nms": "circle", "radii": {"pedestrian": 0.1}}
        kept[window] = head(decoding=decoding).decode(crowd(scores))[0].scores.tolist()
    assert [len(kept[window]) for window in (1, 3, 5)] == [4, 3, 2]
    decoding = {"peak_window": 1, "nms": "circle", "radii": {"pedestrian": 1.0}}
    assert len(head(decoding=decoding).decode(crowd(scores))[0].scores) == 3


def test_limits_of_the_decoder() -> None:
    scores = {
        (k % 2, 3 * i + 1, 3 * j + 1): 0.5 + 0.01 * i + 0.001 * j
        for i in range(12)
        for j in range(12)
        for k in (i,)
    }
    decoding = {"nms": "circle", "radii": {"pedestrian": 0.0, "traffic_cone": 0.0}}
    assert len(head(decoding={**decoding, "top_k": 50}).decode(crowd(scores))[0].scores) == 50
    (found,) = head(decoding=decoding).decode(crowd(scores))
    assert len(found.scores) == 83
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    torch.testing.assert_close(found.scores[-1], torch.tensor(sorted(scores.values())[-83]))
    near = {**decoding, "centre_range": (-2.0, -2.0, -1.0, 2.0, 2.0, 1.0)}
    (found,) = head(decoding=near).decode(crowd(scores))
    assert 0 < len(found.scores) == int((found.boxes[:, :2].abs() <= 2).all(dim=1).sum())


def test_numbers_of_a_diverged_network_are_no_boxes() -> None:
    outputs = crowd({(0, 10, 10): 0.9, (0, 20, 20): 0.8})
    outputs[5]["dim"][0, 1, 10, 10] = math.nan
    outputs[5]["dim"][0, 1, 20, 20] = 1e6
    (found,) = head().decode(outputs)
    assert len(found.boxes) == 1
    assert found.boxes.isfinite().all()
    outputs[5]["dim"].fill_(-1e6)
    (flat,) = head().decode(outputs)
    assert (flat.boxes[:, 3:6] > 0).all()
    for maps in outputs:
        maps["heatmap"].fill_(math.nan)
    assert len(head().decode(outputs)[0].boxes) == 0


def test_the_head_learns_one_frame() -> None:
    torch.manual_seed(0)
    boxes, labels = three_boxes()
    groups = [["car"], ["bus", "trailer"], ["pedestrian"]]
    model = CenterHead(8, GRID, groups, shared_channels=16, head_channels=8)
    bev = torch.randn(1, 8, GRID.rows, GRID.cols)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for step in range(80):
        for parameters in optimizer.param_groups:
            parameters["lr"] = 0.02 * (1 - step / 85)
        loss = sum(model.loss(model(bev), [boxes], [labels]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.02 * losses[0]
    assert_found(model.decode(model(bev))[0], boxes, labels, score=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": [["car", "tank"]]}, "groups"),
        ({"groups": [["car"], ["car"]]}, "each class once"),
        ({"groups": [[]]}, "at least one class"),
        ({"code_weights": [1.0]}, "10"),
        ({"min_overlap": 1.0}, "min_overlap"),
        ({"decoding": {"nms": "soft"}}, "choose 'rotated' or 'circle'"),
        ({"decoding": {"threshold": 0.1}}, "score_threshold"),
        ({"decoding": {"peak_window": 2}}, "odd"),
        ({"decoding": {"radii": {"tank": 1.0}}}, "tank"),
        ({"decoding": {"score_threshold": 1.5}}, r"0\.\.1"),
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
