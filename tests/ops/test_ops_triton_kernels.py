"""Triton's kernels beside the torch paths, through its interpreter on the CPU: `make test-triton`."""

from __future__ import annotations

import os

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("triton", reason="Triton is not here: make test-triton")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip(
        "the kernels run on a CPU with TRITON_INTERPRET=1 only: make test-triton", allow_module_level=True
    )

from pc3d.ops.bev_pool import _backward_torch, _forward_torch
from pc3d.ops.segment import segment_counts, segment_mean
from pc3d.ops.triton_kernels import lift
from pc3d.ops.triton_kernels.pixels import pixel_sums


@settings(max_examples=15, deadline=None)
@given(
    images=st.integers(0, 2),
    bins=st.integers(1, 9),
    channels=st.integers(1, 5),
    cells=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_lift_and_pool_is_that_of_torch(images: int, bins: int, channels: int, cells: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    depth, rows = torch.rand(images, bins, 2, 3, generator=g), torch.randn(images * 6, channels, generator=g)
    index = torch.randint(-1, cells, (images, bins, 2, 3), generator=g)
    grad = torch.randn(cells, channels, generator=g)
    found, expected = torch.zeros(cells, channels), torch.zeros(cells, channels)
    lift.forward(depth, rows, index, found)
    _forward_torch(depth, rows, index, expected)
    torch.testing.assert_close(found, expected)
    ours, theirs = ([torch.zeros_like(depth), torch.zeros_like(rows)] for _ in range(2))
    lift.backward(depth, rows, index, grad, *ours)
    _backward_torch(depth, rows, index, grad, *theirs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


@settings(max_examples=10, deadline=None)
@given(
    sides=st.tuples(*(st.integers(1, 5) for _ in range(4))),
    channels=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_the_pool_of_pixels_is_that_of_torch(
    sides: tuple[int, int, int, int], channels: int, seed: int
) -> None:
    h, w, height, width = sides
    g = torch.Generator().manual_seed(seed)
    maps = torch.randn(2, channels, h, w, generator=g).requires_grad_()
    group = torch.randint(-1, 3, (2, height, width), generator=g)
    grad = torch.randn(3, channels, generator=g)
    found = pixel_sums(maps, group, 3) / segment_counts(group.flatten(), 3).clamp(min=1)[:, None]
    dense = F.interpolate(maps, size=(height, width), mode="bilinear", align_corners=False)
    pixels = F.normalize(dense.permute(0, 2, 3, 1).flatten(0, 2), dim=1)
    expected = segment_mean(pixels, group.flatten(), 3)[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    ours, theirs = (torch.autograd.grad(out, maps, grad)[0] for out in (found, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_map_without_a_length_gives_no_direction() -> None:
    maps = torch.zeros(1, 3, 2, 2, requires_grad=True)
    out = pixel_sums(maps, torch.zeros(1, 2, 2, dtype=torch.long), 1)
    assert torch.equal(out, torch.zeros(1, 3))
    out.sum().backward()
    assert maps.grad.isfinite().all()
