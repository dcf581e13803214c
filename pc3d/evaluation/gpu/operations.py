"""Each operation with kernels of its own on a GPU, forward and backward, beside the same on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pc3d.geometry.grid import BevGrid
from pc3d.ops.ball_query import ball_query
from pc3d.ops.bev import scatter_bev
from pc3d.ops.bev_pool import bev_pool
from pc3d.ops.farthest_point import farthest_points
from pc3d.ops.interpolate import sample_bev, sample_images, sample_voxels
from pc3d.ops.segment import segment_max, segment_mean
from pc3d.ops.sparse import ConvNormReLU, inverse_conv, sparse_tensor, strided_conv, submanifold_conv
from pc3d.ops.voxelize import VoxelGrid, voxelize

Made = tuple[Mapping[str, Tensor], Callable[..., Tensor] | nn.Module]
GRID = BevGrid(-20.0, 20.0, -20.0, 20.0, 0.5)
TOLERANCE = 1e-3
"""Of the largest entry: sums in another order, and products on tensor cores where they are allowed."""


@dataclass(frozen=True)
class Agreement:
    """How far an operation on a device is from the CPU's, as shares of the largest entry.

    Attributes:
        forward, backward: of the output, and of the worst gradient; None where there is none.
        error: what it raised, empty where it ran.
    """

    forward: float | None = None
    backward: float | None = None
    error: str = ""

    @property
    def good(self) -> bool:
        found = [value for value in (self.forward, self.backward) if value is not None]
        return not self.error and bool(found) and max(found) <= TOLERANCE


class _SparseStack(nn.Module):
    """A submanifold, a strided and an inverse convolution, each with its batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.same = ConvNormReLU(submanifold_conv(16, 32, "a"), 32)
        self.down = ConvNormReLU(strided_conv(32, 48, "b"), 48)
        self.deep = ConvNormReLU(submanifold_conv(48, 48, "c"), 48)
        self.up = ConvNormReLU(inverse_conv(48, 16, "b"), 16)

    def forward(self, features: Tensor, coords: Tensor) -> Tensor:
        x = sparse_tensor(features, coords, (16, 64, 64), 2)
        return self.up(self.deep(self.down(self.same(x)))).features


def _points(generator: torch.Generator, count: int = 4000) -> tuple[Tensor, Tensor]:
    """(P, 3) places within 20 m and (P,) samples, ascending."""
    xyz = (torch.rand(count, 3, generator=generator) - 0.5) * torch.tensor([40.0, 40.0, 4.0])
    return xyz, torch.arange(count) * 2 // count


def _coords(generator: torch.Generator) -> Tensor:
    cells = torch.randint(0, 2 * 16 * 64 * 64, (6000,), generator=generator).unique()
    sample, rest = cells // (16 * 64 * 64), cells % (16 * 64 * 64)
    return torch.stack([sample, rest // 4096, rest // 64 % 64, rest % 64], dim=1)


def _made() -> dict[str, Made]:
    """Inputs of each operation, and its call; the same numbers every time."""
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    coords = _coords(g)
    xyz, batch = _points(g)
    rows, index = torch.randn(4000, 32, generator=g), torch.randint(-1, 300, (4000,), generator=g)
    maps = torch.randn(2, 32, 80, 80, generator=g)
    return {
        "sparse convolutions": (
            {"features": torch.randn(len(coords), 16, generator=g), "coords": coords},
            _SparseStack(),
        ),
        "voxelize": (
            {"xyz": xyz, "batch": batch},
            lambda xyz, batch: voxelize(
                xyz, batch, 2, VoxelGrid((0.2, 0.2, 0.2), (-18, -18, -2, 18, 18, 2))
            ).index.double(),
        ),
        "segment mean": (
            {"rows": rows, "index": index},
            lambda rows, index: segment_mean(rows, index, 300)[0],
        ),
        "segment max": ({"rows": rows, "index": index}, lambda rows, index: segment_max(rows, index, 300)),
        "scatter to a map": (
            {"rows": rows, "xy": xyz[:, :2], "batch": batch},
            lambda rows, xy, batch: scatter_bev(rows, xy.detach(), batch, 2, GRID),
        ),
        "samples of a map": (
            {"maps": maps, "xy": xyz[:, :2], "batch": batch},
            lambda maps, xy, batch: sample_bev(maps, GRID, xy.detach(), batch)[0],
        ),
        "samples of images": (
            {"maps": maps, "batch": batch, "uv": xyz[:, :2] + 20},
            lambda maps, batch, uv: sample_images(maps, batch, uv.detach(), (40, 40)),
        ),
        "samples of voxels": (
            {"rows": rows[:1000], "xyz": (xyz + 20) / 2, "batch": batch, "coords": coords[:1000]},
            lambda rows, xyz, batch, coords: sample_voxels(
                rows[: len(coords)], coords, (16, 64, 64), xyz.detach(), batch
            ),
        ),
        "lift and pool": (
            {
                "depth": torch.rand(2, 20, 8, 16, generator=g),
                "features": torch.randn(2, 24, 8, 16, generator=g),
                "cells": torch.randint(-1, 500, (2, 20, 8, 16), generator=g),
            },
            lambda depth, features, cells: bev_pool(depth, features, cells, 500),
        ),
        "farthest points": (
            {"xyz": xyz, "batch": batch},
            lambda xyz, batch: farthest_points(xyz, batch, 2, 64).double(),
        ),
        "ball query": (
            {"xyz": xyz, "batch": batch, "centres": torch.arange(0, 4000, 40)},
            lambda xyz, batch, centres: ball_query(xyz, batch, centres, 1.0, 16).double(),
        ),
    }


NAMES = tuple(_made())


def _run(name: str, device: torch.device) -> tuple[Tensor, list[Tensor]]:
    """The output of an operation on a device, and the gradients of its inputs and weights, all on the CPU."""
    inputs, call = _made()[name]
    moved = {key: value.to(device) for key, value in inputs.items()}
    leaves = [value.requires_grad_() for value in moved.values() if value.is_floating_point()]
    if isinstance(call, nn.Module):
        leaves += list(call.to(device).train().parameters())
    out = call(**moved)
    if not out.requires_grad:
        return out.cpu(), []
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out)
    (out * weights).sum().backward()
    return out.detach().cpu(), [leaf.grad.cpu() for leaf in leaves if leaf.grad is not None]


def _apart(found: Tensor, expected: Tensor) -> float:
    if found.shape != expected.shape:
        return float("inf")
    scale = float(expected.abs().max()) if expected.numel() else 1.0
    return (
        float((found.double() - expected.double()).abs().max()) / max(scale, 1e-12) if found.numel() else 0.0
    )


def compare(name: str, device: torch.device) -> Agreement:
    """An operation of `NAMES` on a device beside the CPU; what it raises is a part of the answer."""
    expected, gradients = _run(name, torch.device("cpu"))
    try:
        found, others = _run(name, device)
    except Exception as error:  # the next one may well run
        return Agreement(error=f"{type(error).__name__}: {error}".split("\n")[0])
    if len(gradients) != len(others):
        return Agreement(error=f"{len(others)} gradients, on the CPU {len(gradients)}")
    worst = max((_apart(a, b) for a, b in zip(others, gradients, strict=True)), default=None)
    return Agreement(_apart(found, expected), worst)
