"""Sinkhorn codes and swapped assignment against plain float64 loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pc3d.contrast.sinkhorn import sinkhorn
from pc3d.contrast.swav import swapped_assignment


def unit(rows: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, 5, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(features, dim=1).requires_grad_()


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


def loop_swapped(f: Tensor, g: Tensor, prototypes: Tensor, epsilon: float, rounds: int) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for mine, other in ((f, g), (g, f)):
        codes = loop_codes(other @ prototypes.T, epsilon, rounds)
        for i in range(len(mine)):
            weights = torch.stack([(mine[i] @ c / 0.2).exp() for c in prototypes])
            for k in range(len(prototypes)):
                total = total - codes[i, k] * (weights[k] / weights.sum()).log()
    return total / (2 * len(f))


@settings(max_examples=15, deadline=None)
@given(rows=st.integers(1, 7), count=st.integers(1, 5), rounds=st.integers(1, 4), seed=st.integers(0, 999))
def test_are_their_equations_with_gradients(rows: int, count: int, rounds: int, seed: int) -> None:
    leaves = unit(rows, seed), unit(rows, seed + 1), unit(count, seed + 2)
    scores = (leaves[0] @ leaves[2].T).detach()
    torch.testing.assert_close(sinkhorn(scores, 0.1, rounds), loop_codes(scores, 0.1, rounds))
    fast, slow = swapped_assignment(*leaves, 0.2, 0.1, rounds), loop_swapped(*leaves, 0.1, rounds)
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(torch.autograd.grad(fast, leaves), torch.autograd.grad(slow, leaves))


def test_codes_share_the_prototypes_and_carry_no_gradient() -> None:
    """All rows like prototype 0 best; enough rounds spread them over all the same."""
    scores = 0.2 * torch.rand(60, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scores[:, 0] += 0.8
    codes = sinkhorn(scores.requires_grad_(), 0.1, 200)
    assert not codes.requires_grad
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(60, dtype=torch.float64))
    assert float((codes.sum(dim=0) - 15).abs().max()) < 1e-6
    assert float((sinkhorn(scores, 0.1, 1).sum(dim=0) - 15).abs().max()) > 0.1


def test_a_small_epsilon_assigns_hard_and_never_overflows() -> None:
    scores = torch.rand(50, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert float(sinkhorn(scores, 1e-3).max(dim=1).values.mean()) > 0.95
    assert float(sinkhorn(scores, 10.0).max()) < 0.2
    assert bool(sinkhorn(scores * 100, 1e-3).isfinite().all())


def test_swapped_assignment_is_symmetric_and_knows_no_order() -> None:
    f, g, prototypes = unit(9, 0), unit(9, 1), unit(4, 2)
    value = swapped_assignment(f, g, prototypes)
    torch.testing.assert_close(value, swapped_assignment(g, f, prototypes))
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(value, swapped_assignment(f[order], g[order], prototypes.flip(0)))


def test_no_row_gives_zero_with_a_graph() -> None:
    leaves = unit(0, 0), unit(0, 1), unit(4, 2)
    value = swapped_assignment(*leaves)
    assert value.item() == 0.0
    assert all((g == 0).all() for g in torch.autograd.grad(value, leaves))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_computes_in_float32_for_half_inputs(dtype: torch.dtype) -> None:
    leaves = [x.detach().to(dtype) for x in (unit(40, 0), unit(40, 1), unit(8, 2))]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = swapped_assignment(*leaves)
    assert value.dtype == torch.float32
    expected = swapped_assignment(*(x.double() for x in leaves))
    torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-4)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match=r"scores must be \(N, K\)"):
        sinkhorn(torch.zeros(3))
    with pytest.raises(ValueError, match="epsilon must be positive"):
        sinkhorn(torch.zeros(3, 2), 0.0)
    with pytest.raises(ValueError, match="one shape"):
        swapped_assignment(torch.zeros(3, 2), torch.zeros(4, 2), torch.zeros(5, 2))
    with pytest.raises(ValueError, match=r"prototypes must be \(K, 2\)"):
        swapped_assignment(torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(5, 3))
