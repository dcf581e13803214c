"""Each loss against a plain float64 loop of its equation."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pc3d.contrast.nce import info_nce, two_way_nce
from pc3d.contrast.point_region import plrc, rapc

TAU = 0.07


def unit(rows: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(features, dim=1).requires_grad_()


def dot(a: Tensor, b: Tensor) -> Tensor:
    return sum((x * y for x, y in zip(a, b, strict=True)), torch.zeros((), dtype=torch.float64)) / TAU


def loop_nce(a: Tensor, b: Tensor) -> Tensor:
    terms = []
    for i in range(len(a)):
        denominator = sum(dot(a[i], b[j]).exp() for j in range(len(b)))
        terms.append(-(dot(a[i], b[i]).exp() / denominator).log())
    return sum(terms) / len(terms)


def loop_plrc(f: Tensor, g: Tensor, regions: list[int]) -> Tensor:
    anchors = [i for i, r in enumerate(regions) if r >= 0]
    total = torch.zeros((), dtype=torch.float64)
    for i in anchors:
        positives = [j for j in anchors if regions[j] == regions[i]]
        denominator = sum(dot(f[i], g[k]).exp() for k in range(len(g)))
        inner = sum((dot(f[i], g[j]).exp() / denominator).log() for j in positives)
        total = total - inner / len(positives)
    return total / len(anchors)


def loop_rapc(f: Tensor, g: Tensor, regions: list[int]) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(f)):
        own = dot(f[i], g[i]).exp()
        negatives = [k for k in range(len(g)) if k != i and (regions[k] != regions[i] or regions[k] == -1)]
        denominator = own + sum((dot(f[i], g[k]).exp() for k in negatives), torch.zeros(()))
        total = total - (own / denominator).log()
    return total / len(f)


def gradients(loss: Tensor, *leaves: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, leaves))


region_lists = st.lists(st.integers(-1, 3), min_size=2, max_size=9).filter(lambda r: max(r) >= 0)


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 8), seed=st.integers(0, 10_000))
def test_info_nce_is_its_equation_with_gradients(rows: int, seed: int) -> None:
    a, b = unit(rows, 5, seed), unit(rows, 5, seed + 1)
    fast, slow = info_nce(a, b, TAU), loop_nce(a, b)
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(gradients(fast, a, b), gradients(slow, a, b))


@settings(max_examples=20, deadline=None)
@given(regions=region_lists, seed=st.integers(0, 10_000))
@pytest.mark.parametrize(("loss", "loop"), [(plrc, loop_plrc), (rapc, loop_rapc)])
def test_point_region_losses_are_their_equations(loss, loop, regions: list[int], seed: int) -> None:
    f, g = unit(len(regions), 5, seed), unit(len(regions), 5, seed + 1)
    fast, slow = loss(f, g, torch.tensor(regions), TAU), loop(f, g, regions)
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(gradients(fast, f, g), gradients(slow, f, g))


@pytest.mark.parametrize("loss", [plrc, rapc])
def test_point_region_losses_ignore_the_order_of_points(loss) -> None:
    f, g = unit(12, 6, 0), unit(12, 6, 1)
    regions = torch.tensor([0, 0, 0, 1, 1, 2, -1, -1, -1, 2, 0, 1])
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(loss(f, g, regions, TAU), loss(f[order], g[order], regions[order], TAU))


@pytest.mark.parametrize("loss", [plrc, rapc])
def test_point_region_losses_have_a_direction(loss) -> None:
    f, g = unit(12, 6, 0), unit(12, 6, 1)
    regions = torch.tensor([0, 0, 0, 1, 1, 2, -1, -1, -1, 2, 0, 1])
    assert abs(float(loss(f, g, regions) - loss(g, f, regions))) > 1e-3


def test_plrc_of_equal_features_in_a_region_is_log_of_its_size() -> None:
    """Two regions of 4 on orthogonal directions: each positive shares its denominator with 3."""
    features = torch.eye(2).repeat_interleave(4, dim=0)
    regions = torch.tensor([0] * 4 + [1] * 4)
    assert float(plrc(features, features, regions, 0.01)) == pytest.approx(math.log(4), abs=1e-5)
    assert float(rapc(features, features, regions, 0.01)) == pytest.approx(0.0, abs=1e-5)


def test_semantic_less_points_are_only_negatives_of_plrc() -> None:
    f, g = unit(6, 4, 0), unit(6, 4, 1)
    regions = torch.tensor([0, 0, 1, 1, -1, -1])
    anchor_gradient = gradients(plrc(f, g, regions), f)[0]
    assert torch.all(anchor_gradient[4:] == 0)
    assert torch.all(anchor_gradient[:4].abs().sum(1) > 0)


@pytest.mark.parametrize("loss", [plrc, rapc])
@pytest.mark.parametrize("rows", [0, 3])
def test_no_region_gives_a_finite_loss_with_a_graph(loss, rows: int) -> None:
    f, g = unit(rows, 4, 0), unit(rows, 4, 1)
    value = loss(f, g, torch.full((rows,), -1))
    assert torch.isfinite(value)
    if loss is plrc or rows == 0:
        assert float(value) == 0.0
    assert all(torch.isfinite(x).all() for x in gradients(value, f, g))


def test_no_pair_gives_zero_with_a_graph() -> None:
    a, b = unit(0, 4, 0), unit(0, 4, 1)
    value = info_nce(a, b)
    assert float(value) == 0.0
    assert gradients(value, a, b)[0].shape == (0, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_compute_in_float32_for_half_inputs(dtype: torch.dtype) -> None:
    f, g = (unit(40, 8, s).detach().to(dtype) for s in (0, 1))
    regions = torch.arange(40) % 5 - 1
    for value, expected in (
        (info_nce(f, g), info_nce(f.double(), g.double())),
        (plrc(f, g, regions), plrc(f.double(), g.double(), regions)),
        (rapc(f, g, regions), rapc(f.double(), g.double(), regions)),
    ):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-5)


def test_wrong_shapes_and_temperatures_are_named() -> None:
    with pytest.raises(ValueError, match="one shape"):
        info_nce(torch.zeros(3, 4), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="temperature"):
        info_nce(torch.zeros(3, 4), torch.zeros(3, 4), 0.0)
    with pytest.raises(ValueError, match="regions"):
        plrc(torch.zeros(3, 4), torch.zeros(3, 4), torch.zeros(2))


def test_two_way_nce_is_its_equation_with_gradients() -> None:
    """Of SimCLR: each row of both views against every other row of both, and against rows from elsewhere."""
    a, b, extra = unit(5, 4, 0), unit(5, 4, 1), unit(3, 4, 2)
    rows, total = [*a, *b], torch.zeros((), dtype=torch.float64)
    for r in range(10):
        candidates = [rows[k] for k in range(10) if k != r] + list(extra)
        total = (
            total
            - (dot(rows[r], rows[(r + 5) % 10]).exp() / sum(dot(rows[r], c).exp() for c in candidates)).log()
        )
    fast = two_way_nce(a, b, TAU, extra)
    torch.testing.assert_close(fast, total / 10)
    leaves = (a, b, extra)
    torch.testing.assert_close(gradients(fast, *leaves), gradients(total / 10, *leaves))
    assert two_way_nce(a[:0], b[:0], TAU, extra).item() == 0.0


@pytest.mark.parametrize(("loss", "loop"), [(plrc, loop_plrc), (rapc, loop_rapc)])
def test_extra_points_are_points_of_no_region_in_the_other_view(loss, loop) -> None:
    """As if the anchors of the loop were these points alone."""
    f, g, extra = unit(6, 4, 0), unit(6, 4, 1), unit(3, 4, 2)
    regions = [0, 0, 1, -1, 1, -1]
    fast = loss(f, g, torch.tensor(regions), TAU, extra)
    slow = loop(f, torch.cat([g, extra]), [*regions, -1, -1, -1])
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(gradients(fast, f, g, extra), gradients(slow, f, g, extra))
