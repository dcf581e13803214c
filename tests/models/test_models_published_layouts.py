"""Kernels of other libraries against dense convolutions that loop over their documented offsets."""

from __future__ import annotations

import pytest
import torch
from published_states import OFFSETS, correlate, spread
from torch import Tensor

from pc3d.models.lidar.published.kernels import (
    from_minkowski,
    from_spconv,
    from_torchsparse,
    spconv_layout,
)
from pc3d.ops.sparse import inverse_conv, sparse_tensor, strided_conv, submanifold_conv

LAYOUTS = {"minkowski": from_minkowski, "torchsparse": from_torchsparse}
SHAPE = (8, 6, 10)  # x, y, z
IN, OUT = 3, 5


def cloud(seed: int = 0, channels: int = IN) -> tuple[Tensor, Tensor]:
    """A sparse volume (X, Y, Z, C), and the coordinates (N, 4) (sample, z, y, x) of its active voxels."""
    generator = torch.Generator().manual_seed(seed)
    active = torch.rand(SHAPE, generator=generator) < 0.3
    volume = torch.randn(*SHAPE, channels, generator=generator) * active[..., None]
    x, y, z = active.nonzero(as_tuple=True)
    return volume, torch.stack((torch.zeros_like(x), z, y, x), dim=1)


def rows(volume: Tensor, coords: Tensor) -> Tensor:
    _, z, y, x = coords.long().unbind(1)
    return volume[x, y, z]


def sparse(volume: Tensor, coords: Tensor):
    return sparse_tensor(rows(volume, coords), coords, SHAPE[::-1], 1)


def close(got: Tensor, want: Tensor) -> None:
    assert got.shape == want.shape
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("library", LAYOUTS)
@pytest.mark.parametrize("size", [3, 5])
def test_submanifold(library: str, size: int) -> None:
    volume, coords = cloud()
    kernel = torch.randn(size**3, IN, OUT, generator=torch.Generator().manual_seed(1))
    layer = submanifold_conv(IN, OUT, "a", size)
    layer.weight.data = LAYOUTS[library](kernel)
    want = correlate(volume, list(zip(OFFSETS[library](size), kernel, strict=True)))
    close(layer(sparse(volume, coords)).features, rows(want, coords))


@pytest.mark.parametrize("library", LAYOUTS)
def test_down_and_up_again(library: str) -> None:
    volume, coords = cloud()
    generator = torch.Generator().manual_seed(1)
    down_kernel = torch.randn(8, IN, OUT, generator=generator)
    up_kernel = torch.randn(8, OUT, IN, generator=generator)
    offsets = OFFSETS[library](2)
    down, up = strided_conv(IN, OUT, "d"), inverse_conv(OUT, IN, "d")
    down.weight.data, up.weight.data = LAYOUTS[library](down_kernel), LAYOUTS[library](up_kernel)
    coarse = down(sparse(volume, coords))
    want = correlate(volume, list(zip(offsets, down_kernel, strict=True)), stride=2)
    close(coarse.features, rows(want, coarse.indices))
    fine = up(coarse)
    assert torch.equal(fine.indices.long(), coords)
    close(fine.features, rows(spread(want, list(zip(offsets, up_kernel, strict=True))), coords))


def test_the_libraries_differ_in_even_kernels_only() -> None:
    even, odd = torch.randn(8, IN, OUT), torch.randn(27, IN, OUT)
    assert torch.equal(from_minkowski(odd), from_torchsparse(odd))
    assert not torch.equal(from_minkowski(even), from_torchsparse(even))


@pytest.mark.parametrize("library", LAYOUTS)
def test_a_kernel_of_size_one_is_a_matrix(library: str) -> None:
    kernel = torch.randn(IN, OUT)
    close(torch.nn.functional.linear(torch.eye(IN), LAYOUTS[library](kernel)), kernel)


@pytest.mark.parametrize("layout", ["RSCK", "RSKC", "KRSC"])
@pytest.mark.parametrize(
    ("size", "stride", "padding"),
    [((3, 3, 3), (2, 2, 2), (1, 1, 1)), ((3, 3, 3), (2, 2, 2), (1, 1, 0)), ((1, 1, 3), (1, 1, 2), (0, 0, 0))],
)
def test_spconv_strided(layout: str, size: tuple, stride: tuple, padding: tuple) -> None:
    """Sizes, strides and paddings along x, y, z, as BEVFusion writes them."""
    volume, coords = cloud()
    x_y_z_in_out = torch.randn(*size, IN, OUT, generator=torch.Generator().manual_seed(1))
    order = {"RSCK": (0, 1, 2, 3, 4), "RSKC": (0, 1, 2, 4, 3), "KRSC": (4, 0, 1, 2, 3)}[layout]
    published = x_y_z_in_out.permute(order)
    assert spconv_layout(published, OUT) == layout
    layer = strided_conv(IN, OUT, "a", kernel=size[::-1], stride=stride[::-1], padding=padding[::-1])
    layer.weight.data = from_spconv(published, layout)
    out = layer(sparse(volume, coords))
    taps = [
        (tuple(k - p for k, p in zip(index, padding, strict=True)), x_y_z_in_out[index])
        for index in ((a, b, c) for a in range(size[0]) for b in range(size[1]) for c in range(size[2]))
    ]
    close(out.features, rows(correlate(volume, taps, stride), out.indices))


def test_shapes_of_no_kernel_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no kernel \(K, in, out\) of a cube: \(9, 2, 3\)"):
        from_minkowski(torch.zeros(9, 2, 3))
    with pytest.raises(ValueError, match=r"no spconv weight with 16 output channels: \(3, 3, 3, 5, 8\)"):
        spconv_layout(torch.zeros(3, 3, 3, 5, 8), 16)
