"""Sums over groups of pixels of normalised bilinear samples, without the resampled map (SLidR's pool)."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable


@triton.jit
def _corners(pixel, height, width, rows, cols):  # type: ignore[no-untyped-def]
    """Cells of the four corners of a pixel's sample in its own map, and their weights.

    Lengths below 1e-12 count as that, as in `torch.nn.functional.normalize`.
    """
    image = pixel // (height * width)
    y, x = pixel // width % height, pixel % width
    v = tl.maximum((y + 0.5) * (rows / height) - 0.5, 0.0)
    u = tl.maximum((x + 0.5) * (cols / width) - 0.5, 0.0)
    y0, x0 = tl.floor(v).to(tl.int32), tl.floor(u).to(tl.int32)
    y1, x1 = tl.minimum(y0 + 1, rows - 1), tl.minimum(x0 + 1, cols - 1)
    wy, wx = v - y0, u - x0
    top, bottom = (image * rows + y0) * cols, (image * rows + y1) * cols
    return (
        top + x0,
        top + x1,
        bottom + x0,
        bottom + x1,
        (1 - wy) * (1 - wx),
        (1 - wy) * wx,
        wy * (1 - wx),
        wy * wx,
    )


@triton.jit
def _sample(maps, pixel, height, width, rows, cols, channels, c, inside):  # type: ignore[no-untyped-def]
    """A pixel's sample, and its corners with their weights."""
    a, b, d, e, wa, wb, wd, we = _corners(pixel, height, width, rows, cols)
    value = tl.load(maps + a * channels + c, mask=inside, other=0.0) * wa
    value += tl.load(maps + b * channels + c, mask=inside, other=0.0) * wb
    value += tl.load(maps + d * channels + c, mask=inside, other=0.0) * wd
    value += tl.load(maps + e * channels + c, mask=inside, other=0.0) * we
    return value, a, b, d, e, wa, wb, wd, we


@triton.jit
def _forward(maps, group, out, height, width, rows, cols, channels, C: tl.constexpr):  # type: ignore[no-untyped-def]
    pixel = tl.program_id(0)
    g = tl.load(group + pixel)
    if g >= 0:
        c = tl.arange(0, C)
        inside = c < channels
        value, _, _, _, _, _, _, _, _ = _sample(maps, pixel, height, width, rows, cols, channels, c, inside)
        length = tl.maximum(tl.sqrt(tl.sum(value * value, axis=0)), 1e-12)
        tl.atomic_add(out + g * channels + c, value / length, mask=inside)


@triton.jit
def _backward(maps, group, grad, grad_maps, height, width, rows, cols, channels, C: tl.constexpr):  # type: ignore[no-untyped-def]
    pixel = tl.program_id(0)
    g = tl.load(group + pixel)
    if g >= 0:
        c = tl.arange(0, C)
        inside = c < channels
        value, a, b, d, e, wa, wb, wd, we = _sample(
            maps, pixel, height, width, rows, cols, channels, c, inside
        )
        length = tl.sqrt(tl.sum(value * value, axis=0))
        own = tl.load(grad + g * channels + c, mask=inside, other=0.0)
        # Below the smallest length the sample is divided by a constant.
        along = tl.where(
            length > 1e-12, tl.sum(value * own, axis=0) / tl.maximum(length * length, 1e-24), 0.0
        )
        own = (own - value * along) / tl.maximum(length, 1e-12)
        tl.atomic_add(grad_maps + a * channels + c, own * wa, mask=inside)
        tl.atomic_add(grad_maps + b * channels + c, own * wb, mask=inside)
        tl.atomic_add(grad_maps + d * channels + c, own * wd, mask=inside)
        tl.atomic_add(grad_maps + e * channels + c, own * we, mask=inside)


class _PixelSums(torch.autograd.Function):
    """Sums over groups of maps (N, h, w, C) at pixels whose group (N, H, W) is given, -1 for none."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, group: Tensor, count: int) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(maps, group)
        out = maps.new_zeros(count, maps.shape[3])
        if group.numel() and count:
            _forward[(group.numel(),)](maps, group, out, *_sizes(maps, group))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        maps, group = ctx.saved_tensors
        grad_maps = torch.zeros_like(maps)
        if group.numel() and len(grad):
            _backward[(group.numel(),)](maps, group, grad.contiguous(), grad_maps, *_sizes(maps, group))
        return grad_maps, None, None


def _sizes(maps: Tensor, group: Tensor) -> tuple[int, ...]:
    channels = maps.shape[3]
    return (*group.shape[1:], *maps.shape[1:3], channels, triton.next_power_of_2(channels))


def pixel_sums(maps: Tensor, group: Tensor, count: int) -> Tensor:
    """(count, C) sums over each group's pixels of maps (N, C, h, w), resampled to them and L2-normalised.

    Args:
        maps: float32. group: (N, H, W) int64 group of each pixel, -1 for none.
    """
    return _PixelSums.apply(maps.permute(0, 2, 3, 1).contiguous(), group.contiguous(), count)
