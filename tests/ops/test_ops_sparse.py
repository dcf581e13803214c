"""The seam to spconv against dense convolution: outputs and both gradients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pc3d.ops.sparse import SparseTensor, dense, inverse_conv, sparse_tensor, strided_conv, submanifold_conv

SHAPE = (6, 8, 10)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def random_cloud(seed: int, channels: int) -> tuple[Tensor, Tensor]:
    """Coordinates (N, 4) of a batch of 2 in random order, features (N, channels)."""
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(1, generator=generator) * 0.4 + 0.02
    coords = (torch.rand(2, *SHAPE, generator=generator) < share).nonzero()
    coords = coords[torch.randperm(len(coords), generator=generator)]
    return coords, torch.randn(len(coords), channels, generator=generator)


def at(dense: Tensor, coords: Tensor) -> Tensor:
    """(N, C) rows of a (B, C, Z, Y, X) map."""
    b, z, y, x = coords.long().unbind(1)
    return dense[b, :, z, y, x]


def densify(features: Tensor, coords: Tensor, shape: tuple[int, ...]) -> Tensor:
    b, z, y, x = coords.long().unbind(1)
    dense = features.new_zeros(2, *shape, features.shape[1]).index_put((b, z, y, x), features)
    return dense.permute(0, 4, 1, 2, 3)


def kernel(layer: nn.Module) -> Tensor:
    """The weight as dense convolution wants it: (out, in, kz, ky, kx)."""
    return layer.weight.permute(0, 4, 1, 2, 3)


def compare(layer: nn.Module, features: Tensor, sparse_rows: Tensor, dense_rows: Tensor, seed: int) -> None:
    """Same rows, and the same gradients at features and weight under a random cotangent."""
    torch.testing.assert_close(sparse_rows, dense_rows, rtol=1e-4, atol=1e-5)
    cotangent = torch.randn(dense_rows.shape, generator=torch.Generator().manual_seed(seed + 1))
    inputs = [features, layer.weight]
    got = torch.autograd.grad(sparse_rows, inputs, cotangent)
    want = torch.autograd.grad(dense_rows, inputs, cotangent)
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_submanifold_matches_dense(seed: int, threads: int) -> None:
    coords, features = random_cloud(seed, 5)
    features.requires_grad_()
    layer = submanifold_conv(5, 7, key="a")
    out = layer(sparse_tensor(features, coords, SHAPE, 2))
    expected = functional.conv3d(densify(features, coords, SHAPE), kernel(layer), padding=1)
    assert torch.equal(out.indices.long(), coords)
    compare(layer, features, out.features, at(expected, coords), seed)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("size", "stride", "padding"), [(2, 2, 0), (3, 2, 1), ((3, 1, 1), (2, 1, 1), 0)])
def test_strided_matches_dense(seed: int, threads: int, size: int, stride: int, padding: int) -> None:
    coords, features = random_cloud(seed, 5)
    features.requires_grad_()
    layer = strided_conv(5, 7, key="a", kernel=size, stride=stride, padding=padding)
    out = layer(sparse_tensor(features, coords, SHAPE, 2))
    expected = functional.conv3d(
        densify(features, coords, SHAPE), kernel(layer), stride=stride, padding=padding
    )
    assert tuple(out.spatial_shape) == tuple(expected.shape[2:])
    inactive = densify(torch.ones(len(out.indices), 1), out.indices, tuple(out.spatial_shape)) == 0
    assert (expected.abs().sum(1, keepdim=True)[inactive] == 0).all()
    compare(layer, features, out.features, at(expected, out.indices), seed)


@pytest.mark.parametrize("seed", range(6))
def test_inverse_matches_dense_transposed(seed: int, threads: int) -> None:
    coords, features = random_cloud(seed, 5)
    down, up = strided_conv(5, 4, key="d"), inverse_conv(4, 6, key="d")
    with torch.no_grad():
        low = down(sparse_tensor(features, coords, SHAPE, 2))
    rows = low.features.clone().requires_grad_()
    out: SparseTensor = up(low.replace_feature(rows))
    assert torch.equal(out.indices.long(), coords)
    expected = functional.conv_transpose3d(
        densify(rows, low.indices, tuple(low.spatial_shape)), kernel(up).transpose(0, 1), stride=2
    )
    compare(up, rows, out.features, at(expected, coords), seed)


def test_layers_of_one_level_share_their_neighbours() -> None:
    coords, features = random_cloud(0, 4)
    first, second = submanifold_conv(4, 4, key="a"), submanifold_conv(4, 4, key="a")
    out = second(first(sparse_tensor(features, coords, SHAPE, 2)))
    assert list(out.indice_dict) == ["a"]


def test_dense_puts_every_row_in_its_place() -> None:
    coords, features = random_cloud(1, 3)
    assert torch.equal(dense(sparse_tensor(features, coords, SHAPE, 2)), densify(features, coords, SHAPE))


def test_no_voxel_is_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match="no active voxel"):
        sparse_tensor(torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.long), SHAPE, 2)
    with pytest.raises(ValueError, match="do not fit"):
        sparse_tensor(torch.zeros(3, 4), torch.zeros(2, 4, dtype=torch.long), SHAPE, 2)
