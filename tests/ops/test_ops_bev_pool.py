"""Fused lift and pool against the plain outer product in float64, compiled and in torch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pc3d.ops.bev_pool import bev_pool

PATHS = {"loops": True, "torch": False}
both = pytest.mark.parametrize("compiled", PATHS.values(), ids=PATHS.keys())
sides = st.integers(1, 4)


def plain(depth: Tensor, features: Tensor, cells: Tensor, num_cells: int) -> Tensor:
    """All frustum features, then their sum by cell; a last row takes those without a cell."""
    lifted = torch.einsum("ndyx,ncyx->ndyxc", depth, features).flatten(0, 3)
    index = torch.where(cells < 0, num_cells, cells.long()).flatten()
    return lifted.new_zeros(num_cells + 1, features.shape[1]).index_add(0, index, lifted)[:-1]


def frustum(
    seed: int, shape: tuple[int, int, int, int], channels: int, num_cells: int, outside: float = 0.2
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, features and cells, of which a share lies outside the map."""
    g = torch.Generator().manual_seed(seed)
    n, _, h, w = shape
    depth = torch.rand(shape, generator=g, dtype=torch.float64)
    features = torch.randn(n, channels, h, w, generator=g, dtype=torch.float64)
    cells = torch.randint(num_cells, shape, generator=g)
    return depth, features, cells.masked_fill(torch.rand(shape, generator=g) < outside, -1)


def with_gradients(
    function, depth: Tensor, features: Tensor, *args: object, **kwargs: object
) -> list[Tensor]:  # type: ignore[no-untyped-def]
    depth, features = depth.clone().requires_grad_(), features.clone().requires_grad_()
    out = function(depth, features, *args, **kwargs)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    (out * weights).sum().backward()
    return [out.detach(), depth.grad, features.grad]


@both
@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    images=st.integers(1, 3),
    bins=st.integers(1, 20),
    h=sides,
    w=sides,
    channels=st.integers(1, 5),
    num_cells=st.integers(1, 12),
    outside=st.sampled_from([0.0, 0.3, 1.0]),
    missing=st.booleans(),
)
def test_pool_and_gradients_are_the_plain_outer_product(
    compiled: bool,
    seed: int,
    images: int,
    bins: int,
    h: int,
    w: int,
    channels: int,
    num_cells: int,
    outside: float,
    missing: bool,
) -> None:
    depth, features, cells = frustum(seed, (images, bins, h, w), channels, num_cells, outside)
    if missing:
        cells[0] = -1
    expected = with_gradients(plain, depth, features, cells, num_cells)
    found = with_gradients(bev_pool, depth, features, cells, num_cells, compiled=compiled)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    if missing:
        assert not found[1][0].any()
        assert not found[2][0].any()


@both
def test_gradients_are_the_differences(compiled: bool) -> None:
    depth, features, cells = frustum(0, (2, 3, 2, 2), 3, 4)
    depth.requires_grad_()
    features.requires_grad_()
    assert torch.autograd.gradcheck(lambda d, f: bev_pool(d, f, cells, 4, compiled), (depth, features))


@both
def test_an_empty_map_and_no_frustum(compiled: bool) -> None:
    depth, features, cells = frustum(0, (1, 3, 2, 2), 3, 4, outside=1.0)
    assert bev_pool(depth, features, cells, 0, compiled).shape == (0, 3)
    none = bev_pool(depth[:0], features[:0], cells[:0], 5, compiled)
    assert torch.equal(none, torch.zeros(5, 3, dtype=torch.float64))


@both
def test_any_layout_and_any_integer_will_do(compiled: bool) -> None:
    depth, features, cells = frustum(1, (2, 9, 3, 4), 5, 7)
    expected = plain(depth, features, cells, 7)
    turned = depth.transpose(1, 3).contiguous().transpose(1, 3)
    last = features.contiguous(memory_format=torch.channels_last)
    found = bev_pool(turned, last, cells.to(torch.int32), 7, compiled)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@both
def test_half_precision_is_accumulated_in_float32(compiled: bool) -> None:
    depth = torch.ones(1, 4096, 1, 1, dtype=torch.float16, requires_grad=True)
    features = torch.ones(1, 1, 1, 1, dtype=torch.float16, requires_grad=True)
    total = bev_pool(depth, features, torch.zeros(1, 4096, 1, 1, dtype=torch.long), 1, compiled)
    assert total.dtype == torch.float32
    assert total.item() == 4096.0
    total.sum().backward()
    assert (depth.grad.dtype, features.grad.dtype) == (torch.float16, torch.float16)
    assert float(features.grad) == 4096.0


def test_the_number_of_threads_does_not_matter() -> None:
    depth, features, cells = frustum(2, (3, 30, 8, 9), 6, 40)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(with_gradients(bev_pool, depth.float(), features.float(), cells, 40))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_mistakes_are_named() -> None:
    depth, features, cells = frustum(0, (2, 3, 2, 2), 3, 4)
    with pytest.raises(ValueError, match=r"expected \(N, D, h, w\), \(N, C, h, w\)"):
        bev_pool(depth, features[:1], cells, 4)
    with pytest.raises(ValueError, match=r"expected \(N, D, h, w\)"):
        bev_pool(depth, features, cells[:, :2], 4)
    with pytest.raises(ValueError, match="cell 4 is beyond the 4 cells"):
        bev_pool(depth, features, torch.full_like(cells, 4), 4)
