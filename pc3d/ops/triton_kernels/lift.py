"""Lift and pool (Philion and Fidler, ECCV 2020): forward by atomics, backward with one owner for each sum."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _forward(depth, rows, cells, out, bins, pixels, channels, C: tl.constexpr):  # type: ignore[no-untyped-def]
    """A program for each pixel: its feature, times the weight of each bin, into the cell of the bin."""
    pixel = tl.program_id(0)
    c = tl.arange(0, C)
    inside = c < channels
    row = tl.load(rows + pixel * channels + c, mask=inside, other=0.0)
    first = pixel // pixels * bins * pixels + pixel % pixels
    for d in range(bins):
        cell = tl.load(cells + first + d * pixels)
        weight = tl.load(depth + first + d * pixels)
        if cell >= 0:
            tl.atomic_add(out + cell * channels + c, row * weight, mask=inside)


@triton.jit
def _backward(depth, rows, cells, grad, grad_depth, grad_rows, bins, pixels, channels, C: tl.constexpr):  # type: ignore[no-untyped-def]
    """A program for each pixel: it reads the gradients of its cells, and writes its own."""
    pixel = tl.program_id(0)
    c = tl.arange(0, C)
    inside = c < channels
    row = tl.load(rows + pixel * channels + c, mask=inside, other=0.0)
    total = tl.zeros((C,), dtype=tl.float32)
    first = pixel // pixels * bins * pixels + pixel % pixels
    for d in range(bins):
        cell = tl.load(cells + first + d * pixels)
        weight = tl.load(depth + first + d * pixels)
        if cell >= 0:  # the gradient of a weight without a cell stays zero
            of_cell = tl.load(grad + cell * channels + c, mask=inside, other=0.0)
            tl.store(grad_depth + first + d * pixels, tl.sum(of_cell * row, axis=0))
            total += of_cell * weight
    tl.store(grad_rows + pixel * channels + c, total, mask=inside)


def forward(depth: Tensor, rows: Tensor, cells: Tensor, out: Tensor) -> None:
    """As `pc3d.ops.bev_pool` has them: (N, D, h, w), (N * h * w, C), (N, D, h, w), (K, C) zeros, float32."""
    if len(rows) and len(out):
        _forward[(len(rows),)](*_arguments(depth, rows, cells), out, *_sizes(depth, rows))


def backward(
    depth: Tensor, rows: Tensor, cells: Tensor, grad: Tensor, grad_depth: Tensor, grad_rows: Tensor
) -> None:
    """Fill the gradients of `depth` and `rows`."""
    if len(rows) and len(grad):
        arguments = (*_arguments(depth, rows, cells), grad.contiguous(), grad_depth, grad_rows)
        _backward[(len(rows),)](*arguments, *_sizes(depth, rows))


def _arguments(depth: Tensor, rows: Tensor, cells: Tensor) -> tuple[Tensor, ...]:
    return depth.contiguous(), rows.contiguous(), cells.to(torch.int64).contiguous()


def _sizes(depth: Tensor, rows: Tensor) -> tuple[int, int, int, int]:
    channels = rows.shape[1]
    return depth.shape[1], depth.shape[2] * depth.shape[3], channels, triton.next_power_of_2(channels)
