"""Losses of several views: values of a small input, plain loops, invariances."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from engine_cases import TAU, e0, unit
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pc3d.contrast.list_losses import CACR, MVDHEL, ListLoss, MVInfoNCE

SIX = {"abs": 6e-7, "rel": 0}


def cacr(**arguments: float) -> CACR:
    return CACR(detach=False, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("loss", "names", "expected"),
    [
        (MVInfoNCE(TAU), "ABC", 0.374141),
        (MVDHEL(TAU), "ABC", -1.759286),
        (MVInfoNCE(TAU), "AB", 0.521986),
        (MVDHEL(TAU), "AB", -0.969698),
        (cacr(beta=0), "ABC", 0.211354),
        (cacr(alpha=0), "ABC", -2.113960),
        (cacr(beta=0), "AB", 0.191983),
        (cacr(alpha=0), "AB", -2.009276),
        (CACR(cost="rbf", temperature=TAU), "BA", 0.289720),
        (CACR(cost="rbf", temperature=TAU), "BAC", 0.288477),
    ],
)
def test_values(loss: ListLoss, names: str, expected: float) -> None:
    assert float(loss.views([e0(name) for name in names])) == pytest.approx(expected, **SIX)


def views_of(count: int, rows: int, seed: int) -> list[Tensor]:
    return [unit(rows, 4, seed + n) for n in range(count)]


def loop_mv(views: list[Tensor], dhel: bool) -> float:
    total = 0.0
    rows, count = len(views[0]), len(views)
    logit = lambda i, v, j, m: float(views[v][i] @ views[m][j]) / TAU  # noqa: E731
    for i in range(rows):
        pairs = list(combinations(range(count), 2))
        align = math.log(sum((1 if dhel else 2) * math.exp(logit(i, v, i, m)) for v, m in pairs))
        if dhel:
            energy = sum(
                math.log(sum(math.exp(logit(i, v, j, v)) for j in range(rows) if j != i))
                for v in range(count)
            )
        else:
            energy = math.log(
                sum(
                    math.exp(logit(i, v, j, m))
                    for v in range(count)
                    for j in range(rows)
                    for m in range(count)
                    if (j, m) != (i, v)
                )
            )
        total += energy - align
    return total / rows


@settings(max_examples=20, deadline=None)
@given(count=st.integers(2, 4), rows=st.integers(2, 5), seed=st.integers(0, 999))
def test_multi_view_losses_are_their_equations(count: int, rows: int, seed: int) -> None:
    views = views_of(count, rows, seed)
    for loss, dhel in ((MVInfoNCE(TAU), False), (MVDHEL(TAU), True)):
        assert float(loss.views(views)) == pytest.approx(loop_mv(views, dhel), rel=1e-9)
        assert float(loss.views(views[::-1])) == pytest.approx(float(loss.views(views)), rel=1e-9)
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
        assert float(loss.views([v[order] for v in views])) == pytest.approx(
            float(loss.views(views)), rel=1e-9
        )


@settings(max_examples=20, deadline=None)
@given(count=st.integers(2, 4), rows=st.integers(2, 5), seed=st.integers(0, 999))
def test_cacr_is_its_equation(count: int, rows: int, seed: int) -> None:
    views = views_of(count, rows, seed)
    d = lambda x, i, y, j: float((views[x][i] - views[y][j]).square().sum())  # noqa: E731
    attraction = repulsion = 0.0
    for x in range(count):
        for i in range(rows):
            own = [d(x, i, y, i) for y in range(count) if y != x]
            weights = [math.exp(1.5 * value) for value in own]
            attraction += sum(w * v for w, v in zip(weights, own, strict=True)) / sum(weights)
    for x, y in combinations(range(count), 2):
        for i in range(rows):
            others = [d(x, i, y, j) for j in range(rows) if j != i]
            weights = [math.exp(-0.7 * value) for value in others]
            repulsion += sum(w * v for w, v in zip(weights, others, strict=True)) / sum(weights)
    expected = 2 * attraction / (count * rows) - 3 * repulsion / (math.comb(count, 2) * rows)
    loss = CACR(alpha=2, beta=3, tau_pos=1.5, tau_neg=0.7)
    assert float(loss.views(views)) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(count=st.integers(2, 4), rows=st.integers(2, 5), seed=st.integers(0, 999))
def test_cacr_of_kernels_is_its_equation(count: int, rows: int, seed: int) -> None:
    key, *queries = views_of(count, rows, seed)
    total = 0.0
    for i in range(rows):
        weights = [math.exp(float((q[i] - key[i]).square().sum()) / TAU) for q in queries]
        for weight, q in zip(weights, queries, strict=True):
            logits = [float(q[i] @ key[j]) / TAU for j in range(rows)]
            term = math.log(sum(math.exp(x) for x in logits)) - logits[i]
            total += weight / sum(weights) * term * 2 * TAU
    loss = CACR(cost="rbf", temperature=TAU)
    assert float(loss.views([key, *queries])) == pytest.approx(total / rows, rel=1e-9)


@pytest.mark.parametrize("loss", [MVInfoNCE(TAU), MVDHEL(TAU), CACR(), CACR(cost="rbf")])
def test_what_changes_nothing(loss: ListLoss) -> None:
    views = views_of(3, 5, 8)
    expected = float(loss.views(views))
    order = torch.tensor([3, 0, 4, 2, 1])
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0]
    assert float(loss.views([v[order] for v in views])) == pytest.approx(expected, rel=1e-9)
    assert float(loss.views([v @ turn for v in views])) == pytest.approx(expected, rel=1e-9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = loss.views([v.float() for v in views])
    assert half.dtype == torch.float32
    assert float(half) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", [MVInfoNCE(0.001), MVDHEL(0.001), CACR(cost="rbf", temperature=0.001)])
def test_small_temperatures_stay_finite(loss: ListLoss) -> None:
    views = [v.float().requires_grad_() for v in views_of(3, 5, 8)]
    value = loss.views(views)
    value.backward()
    assert torch.isfinite(value)
    assert all(torch.isfinite(v.grad).all() for v in views)


def test_equal_rows_are_neither_drawn_nor_pushed() -> None:
    same = [unit(1, 4, 0).expand(5, 4)] * 3
    for loss in (CACR(beta=0), CACR(alpha=0)):
        assert float(loss.views(same)) == pytest.approx(0.0, abs=1e-12)


def test_weights_of_cacr_may_be_plain_and_carry_no_gradient_by_default() -> None:
    views = views_of(3, 4, 0)
    plain = CACR(tau_pos=0, tau_neg=0, beta=0).views(views)
    pairs = [(a - b).square().sum(1).mean() for a, b in combinations(views, 2)]
    assert float(plain) == pytest.approx(float(torch.stack(pairs).mean()), rel=1e-9)
    pushed = CACR(tau_pos=0, tau_neg=0, alpha=0).views(views)
    others = ~torch.eye(4, dtype=torch.bool)
    apart = [(2 - 2 * a @ b.T)[others].mean() for a, b in combinations(views, 2)]
    assert float(pushed) == pytest.approx(-float(torch.stack(apart).mean()), rel=1e-9)
    same = [views[0]] * 3
    assert float(CACR().views([v[:1] for v in same])) == pytest.approx(0.0, abs=1e-12)
    gradients = []
    for detach in (True, False):
        leaf = views[0].clone().requires_grad_()
        CACR(detach=detach).views([leaf, *views[1:]]).backward()
        gradients.append(leaf.grad)
    assert not torch.allclose(*gradients)  # type: ignore[misc]


@pytest.mark.parametrize("loss", [MVInfoNCE(TAU), MVDHEL(TAU), CACR(), CACR(cost="rbf")])
def test_few_rows_and_wrong_views(loss: ListLoss) -> None:
    for rows in (0, 1):
        views = [v.requires_grad_() for v in views_of(3, rows, 1)]
        value = loss.views(views)
        value.backward()
        assert torch.isfinite(value)
        assert all(torch.isfinite(v.grad).all() for v in views)
    if isinstance(loss, MVInfoNCE):
        assert float(loss.views(views_of(3, 1, 1))) == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ValueError, match="at least two views"):
        loss.views(views_of(1, 3, 0))
    with pytest.raises(ValueError, match="at least two views"):
        loss.views([unit(3, 4, 0), unit(2, 4, 0)])


def test_energy_of_a_view_in_mvdhel_is_its_own() -> None:
    a, b, c = views_of(3, 5, 3)
    leaf = c.clone().requires_grad_()
    MVDHEL(TAU).views([a, b, leaf]).backward()
    # The gradient of view c from its energy and alignment does not hold rows of other instances in a or b.
    changed = a.clone()
    changed[1:] = unit(4, 4, 77)
    other = c.clone().requires_grad_()
    MVDHEL(TAU).views([changed, b, other]).backward()
    torch.testing.assert_close(leaf.grad[0], other.grad[0])


def test_settings_are_checked() -> None:
    for wrong, message in (
        ({"cost": "l1"}, "unknown cost 'l1' of CACR; known: euclidean, rbf"),
        ({"alpha": -1}, "alpha of CACR is -1, expected 0 or more"),
        ({"temperature": 0.07}, "euclidean has no temperature, got 0.07"),
        ({"cost": "rbf", "tau_neg": 2.0}, "reads `temperature` alone, got .*tau_neg 2.0"),
        ({"cost": "rbf", "temperature": 0.0}, "must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            CACR(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="temperature"):
        MVDHEL(0)
