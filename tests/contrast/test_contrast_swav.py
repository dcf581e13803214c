"""Sinkhorn codes and swapped assignment against plain float64 loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pc3d.contrast.sinkhorn import sinkhorn
from pc3d.contrast.swav import swapped_assignment


def cosines(rows: int, prototypes: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(rows, prototypes, generator=generator, dtype=torch.float64) * 2 - 1).requires_grad_()


def loop_codes(scores: Tensor, epsilon: float, rounds: int) -> Tensor:
    """SwAV's listing: total 1, then each prototype 1/K, each row 1/N, at the end each row 1."""
    q = (scores.detach() / epsilon).exp()
    rows, prototypes = q.shape
    q /= q.sum()
    for _ in range(rounds):
        for k in range(prototypes):
            q[:, k] /= q[:, k].sum() * prototypes
        for i in range(rows):
            q[i] /= q[i].sum() * rows
    return q * rows


def loop_swapped(a: Tensor, b: Tensor, temperature: float, epsilon: float, rounds: int) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for scores, other in ((a, b), (b, a)):
        codes = loop_codes(other, epsilon, rounds)
        for i in range(len(scores)):
            weights = (scores[i] / temperature).exp()
            for k in range(scores.shape[1]):
                total = total - codes[i, k] * (weights[k] / weights.sum()).log()
    return total / (2 * len(a))


@settings(max_examples=15, deadline=None)
@given(
    rows=st.integers(1, 7), prototypes=st.integers(1, 5), rounds=st.integers(1, 4), seed=st.integers(0, 999)
)
def test_are_their_equations_with_gradients(rows: int, prototypes: int, rounds: int, seed: int) -> None:
    a, b = cosines(rows, prototypes, seed), cosines(rows, prototypes, seed + 1)
    torch.testing.assert_close(sinkhorn(a, 0.1, rounds), loop_codes(a, 0.1, rounds))
    fast, slow = swapped_assignment(a, b, 0.2, 0.1, rounds), loop_swapped(a, b, 0.2, 0.1, rounds)
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(torch.autograd.grad(fast, (a, b)), torch.autograd.grad(slow, (a, b)))


def test_codes_share_the_prototypes_and_carry_no_gradient() -> None:
    """All rows like prototype 0 best; enough rounds spread them over all the same."""
    scores = cosines(60, 4, 0) * 0.2 + torch.tensor([0.8, 0.0, 0.0, 0.0], dtype=torch.float64)
    codes = sinkhorn(scores, 0.1, 200)
    assert not codes.requires_grad
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(60, dtype=torch.float64))
    torch.testing.assert_close(
        codes.sum(dim=0), torch.full((4,), 15.0, dtype=torch.float64), rtol=0.02, atol=0
    )
    assert float(sinkhorn(scores, 0.1, 1).sum(dim=0).max()) > 15.5


def test_a_small_epsilon_assigns_hard_and_never_overflows() -> None:
    scores = cosines(50, 8, 0).float().detach()
    assert float(sinkhorn(scores, 1e-3).max(dim=1).values.mean()) > 0.95
    assert float(sinkhorn(scores, 10.0).max()) < 0.2
    assert bool(sinkhorn(scores * 100, 1e-3).isfinite().all())


def test_swapped_assignment_is_symmetric_and_knows_no_order() -> None:
    a, b = cosines(9, 4, 0), cosines(9, 4, 1)
    value = swapped_assignment(a, b)
    torch.testing.assert_close(value, swapped_assignment(b, a))
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(value, swapped_assignment(a[order], b[order]))


def test_no_row_gives_zero_with_a_graph() -> None:
    a, b = cosines(0, 4, 0), cosines(0, 4, 1)
    value = swapped_assignment(a, b)
    assert value.item() == 0.0
    assert torch.autograd.grad(value, a)[0].shape == (0, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_computes_in_float32_for_half_inputs(dtype: torch.dtype) -> None:
    a, b = (cosines(40, 8, s).detach().to(dtype) for s in (0, 1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = swapped_assignment(a, b)
    assert value.dtype == torch.float32
    expected = swapped_assignment(a.double(), b.double())
    torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-4)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match=r"scores must be \(N, K\)"):
        sinkhorn(torch.zeros(3))
    with pytest.raises(ValueError, match="epsilon must be positive"):
        sinkhorn(torch.zeros(3, 2), 0.0)
    with pytest.raises(ValueError, match="one shape"):
        swapped_assignment(torch.zeros(3, 2), torch.zeros(4, 2))
