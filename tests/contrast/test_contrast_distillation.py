"""Losses without negatives against plain float64 loops of their equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pc3d.contrast.distillation import feature_distance, weighted_distance


def rows(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 5, generator=generator, dtype=torch.float64).requires_grad_()


def same_gradients(fast: Tensor, slow: Tensor, *leaves: Tensor) -> None:
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(torch.autograd.grad(fast, leaves), torch.autograd.grad(slow, leaves))


@settings(max_examples=15, deadline=None)
@given(count=st.integers(1, 8), seed=st.integers(0, 10_000))
def test_feature_distance_is_its_equation(count: int, seed: int) -> None:
    s, t = rows(count, seed), rows(count, seed + 1)
    total = torch.zeros((), dtype=torch.float64)
    for x, y in zip(s, t, strict=True):
        total = total + sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) ** 0.5
    same_gradients(feature_distance(s, t), total / count, s, t)


@settings(max_examples=15, deadline=None)
@given(count=st.integers(1, 8), seed=st.integers(0, 10_000))
def test_cosine_distance_is_one_less_the_cosine(count: int, seed: int) -> None:
    s, t = rows(count, seed), rows(count, seed + 1)
    total = torch.zeros((), dtype=torch.float64)
    for x, y in zip(s, t, strict=True):
        dot = sum(a * b for a, b in zip(x, y, strict=True))
        total = total + 1 - dot / (x.square().sum() * y.square().sum()).sqrt()
    same_gradients(feature_distance(s, t, "cosine"), total / count, s, t)


def test_l2_of_unit_rows_follows_from_their_cosine() -> None:
    """|s - t| = sqrt(2 (1 - cos)), row by row."""
    s, t = (torch.nn.functional.normalize(rows(6, seed).detach(), dim=1) for seed in (0, 1))
    for x, y in zip(s[:, None], t[:, None], strict=True):
        cosine = feature_distance(x, y, "cosine")
        torch.testing.assert_close(feature_distance(x, y), (2 * cosine).sqrt())


def test_near_equality_l2_pulls_and_the_cosine_fades() -> None:
    t = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    for angle in (1e-2, 1e-4):
        s = torch.tensor([[np.cos(angle), np.sin(angle)]], requires_grad=True)
        sizes = [torch.autograd.grad(feature_distance(s, t, d), s)[0].norm().item() for d in ("l2", "cosine")]
        assert sizes[0] == pytest.approx(1.0, rel=1e-3)
        assert sizes[1] == pytest.approx(angle, rel=1e-3)


@settings(max_examples=15, deadline=None)
@given(count=st.integers(1, 8), seed=st.integers(0, 10_000))
@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_weighted_distance_is_its_equation(distance: str, count: int, seed: int) -> None:
    s, t = rows(count, seed), rows(count, seed + 1)
    weights = torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    weights[torch.arange(1, count, 2)] = 0.0
    total = torch.zeros((), dtype=torch.float64)
    for x, y, w in zip(s, t, weights, strict=True):
        unit = y / y.square().sum().sqrt()
        cosine = (x * unit).sum() / x.square().sum().sqrt()
        total = total + w * ((x - unit).square().sum() if distance == "l2" else 1 - cosine)
    same_gradients(weighted_distance(s, t, weights, distance), total / weights.sum(), s, t)


def test_only_the_students_length_matters_and_only_to_l2() -> None:
    s, t, w = rows(6, 0).detach(), rows(6, 1).detach(), torch.ones(6)
    for distance in ("l2", "cosine"):
        value = weighted_distance(s, t, w, distance)
        torch.testing.assert_close(weighted_distance(s, 3 * t, w, distance), value)
        moved = abs((weighted_distance(3 * s, t, w, distance) - value).item())
        assert (moved > 0.1) == (distance == "l2")


def test_no_order_of_rows() -> None:
    s, t, w = rows(6, 0), rows(6, 1), torch.rand(6, dtype=torch.float64)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(feature_distance(s, t), feature_distance(s[order], t[order]))
    torch.testing.assert_close(weighted_distance(s, t, w), weighted_distance(s[order], t[order], w[order]))


def test_equal_rows_are_zero_with_a_finite_gradient() -> None:
    s = torch.nn.functional.normalize(rows(3, 0).detach(), dim=1).requires_grad_()
    cosine = feature_distance(s, s.detach(), "cosine")
    assert cosine.item() == 0.0
    for value in (feature_distance(s, s.detach()), cosine, weighted_distance(s, s.detach(), torch.ones(3))):
        assert value.item() == pytest.approx(0.0, abs=1e-12)
        assert bool((torch.autograd.grad(value, s)[0].abs() < 1e-7).all())


@pytest.mark.parametrize("count", [0, 3])
def test_nothing_to_compare_gives_zero_with_a_graph(count: int) -> None:
    s, t = rows(count, 0), rows(count, 1)
    values = [weighted_distance(s, t, torch.zeros(count))]
    if not count:
        values += [feature_distance(s, t), feature_distance(s, t, "cosine")]
    for value in values:
        assert value.item() == 0.0
        assert all((g == 0).all() for g in torch.autograd.grad(value, (s, t)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_compute_in_float32_for_half_inputs(dtype: torch.dtype) -> None:
    s, t = rows(40, 0).detach().to(dtype), rows(40, 1).detach().to(dtype)
    w = torch.rand(40, generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = [feature_distance(s, t), weighted_distance(s, t, w), weighted_distance(s, t, w, "cosine")]
    s, t, w = s.double(), t.double(), w.double()
    exact = [feature_distance(s, t), weighted_distance(s, t, w), weighted_distance(s, t, w, "cosine")]
    for value, expected in zip(values, exact, strict=True):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-5)


def test_mistakes_are_named() -> None:
    x = torch.zeros(3, 4)
    with pytest.raises(ValueError, match="one shape"):
        feature_distance(x, torch.zeros(2, 4))
    with pytest.raises(ValueError, match="weights must have shape"):
        weighted_distance(x, x, torch.zeros(2))
    with pytest.raises(ValueError, match="unknown distance 'l1'; known: l2, cosine"):
        weighted_distance(x, x, torch.zeros(3), "l1")
    with pytest.raises(ValueError, match="unknown distance 'l1'; known: l2, cosine"):
        feature_distance(x, x, "l1")
