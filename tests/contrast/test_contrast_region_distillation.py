"""RAD's loss against a plain float64 loop of its equation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pc3d.contrast.nce import info_nce
from pc3d.contrast.region_distillation import region_distillation

TAU = 0.07


def unit(rows: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(features, dim=1).requires_grad_()


def loop(c: Tensor, teachers: Tensor, regions: list[int], mask_own: bool) -> Tensor:
    ids = {r for r in regions if r >= 0}
    total = torch.zeros((), dtype=torch.float64)
    for s in ids:
        members = [i for i, r in enumerate(regions) if r == s]
        for i in members:
            keys = [k for k in range(len(regions)) if k == i or not (mask_own and regions[k] == s)]
            denominator = torch.stack([(c[i] @ teachers[k] / TAU).exp() for k in keys]).sum()
            total = total - ((c[i] @ teachers[i] / TAU).exp() / denominator).log() / len(members) / len(ids)
    return total


@settings(max_examples=20, deadline=None)
@given(
    regions=st.lists(st.integers(-1, 3), min_size=1, max_size=9).filter(lambda r: max(r) >= 0),
    mask_own=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_is_its_equation_with_gradients(regions: list[int], mask_own: bool, seed: int) -> None:
    c, t = unit(len(regions), 5, seed), unit(len(regions), 5, seed + 1)
    fast = region_distillation(c, t, torch.tensor(regions), TAU, mask_own)
    slow = loop(c, t, regions, mask_own)
    torch.testing.assert_close(fast, slow)
    for a, b in zip(*(torch.autograd.grad(x, (c, t), allow_unused=True) for x in (fast, slow)), strict=True):
        torch.testing.assert_close(a, b if b is not None else torch.zeros_like(a))


def test_regions_of_one_point_are_plain_nce() -> None:
    c, t = unit(7, 6, 0), unit(7, 6, 1)
    torch.testing.assert_close(region_distillation(c, t, torch.arange(7), TAU), info_nce(c, t, TAU))


def test_has_a_direction_and_no_order_of_points() -> None:
    c, t = unit(8, 6, 0), unit(8, 6, 1)
    regions = torch.tensor([0, 0, 0, 1, 1, 2, -1, 2])
    value = region_distillation(c, t, regions)
    assert abs((value - region_distillation(t, c, regions)).item()) > 1e-3
    order = torch.randperm(8, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(value, region_distillation(c[order], t[order], regions[order]))


@pytest.mark.parametrize("rows", [0, 3])
def test_no_region_gives_zero_with_a_graph(rows: int) -> None:
    c, t = unit(rows, 4, 0), unit(rows, 4, 1)
    value = region_distillation(c, t, torch.full((rows,), -1))
    assert float(value) == 0.0
    assert all((g == 0).all() for g in torch.autograd.grad(value, (c, t)))


def test_one_point_is_zero() -> None:
    c, t = unit(1, 4, 0), unit(1, 4, 1)
    assert float(region_distillation(c, t, torch.tensor([5]), mask_own_region=True)) == 0.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_computes_in_float32_for_half_inputs(dtype: torch.dtype) -> None:
    c, t = (unit(40, 8, s).detach().to(dtype) for s in (0, 1))
    regions = torch.arange(40) % 5 - 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = region_distillation(c, t, regions)
    assert value.dtype == torch.float32
    expected = region_distillation(c.double(), t.double(), regions)
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-5)
