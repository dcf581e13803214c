"""Losses of masked occupancy against plain loops over their equations in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from torch import Tensor

from pc3d.contrast.occupancy import (
    average_precision,
    centroid_loss,
    count_loss,
    occupancy_loss,
    twin_loss,
)


def cells(seed: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Five outputs, points (0 of half of them) and weights of cells."""
    g = torch.Generator().manual_seed(seed)
    points = torch.randint(1, 9, (count,), generator=g) * (torch.rand(count, generator=g) < 0.5)
    return torch.randn(count, 5, generator=g), points.float(), torch.rand(count, generator=g) + 0.5


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), count=st.integers(1, 30))
def test_each_loss_is_its_equation(seed: int, count: int) -> None:
    out, points, weight = cells(seed, count)
    centroid = torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)) - 0.5
    bce, number, place, all_cells, taken = 0.0, 0.0, 0.0, 0.0, 0.0
    for row, n, c, w in zip(out.tolist(), points.tolist(), centroid.tolist(), weight.tolist(), strict=True):
        p = 1 / (1 + math.exp(-row[0]))
        bce += w * -math.log(p if n else 1 - p)
        all_cells += w
        if n:
            off = abs(row[1] - math.log(1 + n))
            number += w * (0.5 * off**2 if off < 1 else off - 0.5)
            place += w * sum(abs(a - b) for a, b in zip(row[2:], c, strict=True)) / 3
            taken += w
    taken = taken or 1.0
    assert float(occupancy_loss(out[:, 0], points > 0, weight)) == pytest.approx(bce / all_cells, rel=1e-5)
    assert float(count_loss(out[:, 1], points, weight)) == pytest.approx(number / taken, rel=1e-5)
    assert float(centroid_loss(out[:, 2:], centroid, points, weight)) == pytest.approx(
        place / taken, rel=1e-5
    )


def test_logits_of_zero_cost_the_logarithm_of_two() -> None:
    _, points, weight = cells(0, 50)
    assert float(occupancy_loss(torch.zeros(50), points > 0, weight)) == pytest.approx(math.log(2), rel=1e-6)


def test_nothing_to_ask_is_a_loss_of_zero_with_a_graph() -> None:
    out = torch.randn(0, 5, requires_grad=True)
    none, rows = torch.zeros(0), torch.zeros(0, 3)
    losses = (
        occupancy_loss(out[:, 0], none > 0, none),
        count_loss(out[:, 1], none, none),
        centroid_loss(out[:, 2:], rows, none, none),
        twin_loss(out, out),
    )
    assert [float(loss.detach()) for loss in losses] == [0.0] * 4
    sum(losses).backward()  # type: ignore[union-attr]
    out = torch.randn(3, 5, requires_grad=True)
    loss = count_loss(out[:, 1], torch.zeros(3), torch.ones(3))
    loss.backward()
    assert float(loss.detach()) == 0
    assert not out.grad.any()  # type: ignore[union-attr]


def test_twins_that_agree_cost_nothing() -> None:
    """Each with its own: the matrix of all with all would cost 1 - 1/N of orthonormal rows."""
    rows = torch.eye(8)
    assert float(twin_loss(rows, 3 * rows)) == pytest.approx(0.0, abs=1e-6)
    assert float(1 - (rows @ rows.T).mean()) == pytest.approx(1 - 1 / 8)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), count=st.integers(1, 12))
def test_twins_are_the_mean_of_one_minus_the_cosine(seed: int, count: int) -> None:
    a, b = torch.randn(2, count, 4, generator=torch.Generator().manual_seed(seed))
    total = 0.0
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        total += 1 - sum(p * q for p, q in zip(x, y, strict=True)) / math.hypot(*x) / math.hypot(*y)
    assert float(twin_loss(a, b)) == pytest.approx(total / count, rel=1e-4, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), count=st.integers(2, 40))
def test_average_precision_is_scikit_learns(seed: int, count: int) -> None:
    out, points, weight = cells(seed, count)
    points[0] = 1
    scores = out[:, 0].argsort().argsort().float()  # no ties, which it counts as one
    wanted = average_precision_score(points > 0, scores, sample_weight=weight)
    assert float(average_precision(scores, points > 0, weight)) == pytest.approx(wanted, rel=1e-5)
    assert float(average_precision(scores, points < 0, weight)) == 0
