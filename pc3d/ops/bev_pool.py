"""Lift and pool in one: features spread along their viewing rays and summed into the cells of a map.

The frustum features (frustum points x channels: 0.6 GB for the six cameras of a nuScenes sample) never
exist. On the CPU compiled loops walk the cells forward and the pixels backward, so that each sum has one
owner and the result does not depend on the number of threads. Elsewhere torch adds a few depth bins at a
time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from pc3d.ops import triton_kernels
from pc3d.storage.compiled import njit

_BINS = 8  # depth bins that torch lifts at a time


def bev_pool(
    depth: Tensor, features: Tensor, cells: Tensor, num_cells: int, compiled: bool | None = None
) -> Tensor:
    """Sum of depth times feature over the frustum points of each cell (Philion and Fidler, ECCV 2020).

        out[k, c] = sum over n, d, y, x with cells[n, d, y, x] = k of depth[n, d, y, x] * features[n, c, y, x]

    Args:
        depth: (N, D, h, w) weight of each depth bin of each pixel.
        features: (N, C, h, w).
        cells: (N, D, h, w) integer cell of each frustum point in 0..num_cells-1, negative for none.
        num_cells: number of cells K.
        compiled: compiled loops (CPU only) or torch; None: the loops where the tensors are on the CPU, and
            Triton where `runtime.triton` asks for it.

    Returns:
        (K, C), zeros in empty cells; half precision is accumulated, and returned, in float32.
        Differentiable, once, in `depth` and `features`.

    Raises:
        ValueError: shapes that do not fit, or a cell beyond `num_cells`.
    """
    n, _, h, w = depth.shape
    if cells.shape != depth.shape or features.shape != (n, features.shape[1], h, w):
        raise ValueError(
            f"depth {tuple(depth.shape)}, features {tuple(features.shape)} and cells {tuple(cells.shape)}: "
            "expected (N, D, h, w), (N, C, h, w) and (N, D, h, w)"
        )
    compiled = depth.device.type == "cpu" if compiled is None else compiled
    # A loop would write anywhere; on CUDA index_add_ has its own check.
    if cells.device.type == "cpu" and cells.numel() and int(cells.max()) >= num_cells:
        raise ValueError(f"cell {int(cells.max())} is beyond the {num_cells} cells")
    dtype = torch.promote_types(torch.promote_types(depth.dtype, features.dtype), torch.float32)
    rows = features.to(dtype).permute(0, 2, 3, 1).reshape(n * h * w, features.shape[1])
    return _BevPool.apply(depth.to(dtype), rows, cells, num_cells, compiled)


class _BevPool(torch.autograd.Function):
    """`bev_pool` of features as rows (N * h * w, C)."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, depth: Tensor, rows: Tensor, cells: Tensor, num_cells: int, compiled: bool
    ) -> Tensor:
        ctx.save_for_backward(depth, rows, cells)
        ctx.steps = _steps(depth, compiled)
        out = rows.new_zeros(num_cells, rows.shape[1])
        ctx.steps[0](depth, rows, cells, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        depth, rows, cells = ctx.saved_tensors
        grad_depth, grad_rows = torch.zeros_like(depth), torch.zeros_like(rows)
        ctx.steps[1](depth, rows, cells, grad.contiguous(), grad_depth, grad_rows)
        return grad_depth, grad_rows, None, None, None


def _steps(depth: Tensor, compiled: bool) -> tuple[Callable[..., None], Callable[..., None]]:
    if compiled:
        return _forward_loops, _backward_loops
    if depth.dtype == torch.float32 and triton_kernels.chosen(depth):
        from pc3d.ops.triton_kernels import lift

        return lift.forward, lift.backward
    return _forward_torch, _backward_torch


# ---------------------------------------------------------------- any device: torch, a few bins at a time


def _chunks(cells: Tensor, num_cells: int) -> Iterator[tuple[slice, Tensor]]:
    """A few depth bins and the (N, bins, h, w) cells of their frustum points, one more for those of none.

    To leave these out, a GPU's host would wait for their number.
    """
    for first in range(0, cells.shape[1], _BINS):
        bins = slice(first, first + _BINS)
        cell = cells[:, bins].long()
        yield bins, torch.where(cell < 0, num_cells, cell)


def _forward_torch(depth: Tensor, rows: Tensor, cells: Tensor, out: Tensor) -> None:
    n, _, h, w = depth.shape
    features, padded = rows.view(n, 1, h, w, rows.shape[1]), F.pad(out, (0, 0, 0, 1))
    for bins, cell in _chunks(cells, len(out)):
        lifted = features * depth[:, bins, :, :, None]
        padded.index_add_(0, cell.flatten(), lifted.flatten(0, 3))
    out.copy_(padded[:-1])


def _backward_torch(
    depth: Tensor, rows: Tensor, cells: Tensor, grad: Tensor, grad_depth: Tensor, grad_rows: Tensor
) -> None:
    n, _, h, w = depth.shape
    features, padded = rows.view(n, 1, h, w, rows.shape[1]), F.pad(grad, (0, 0, 0, 1))
    total = grad_rows.view(n, h, w, rows.shape[1])
    for bins, cell in _chunks(cells, len(grad)):
        of_cell = padded[cell]
        grad_depth[:, bins] = (of_cell * features).sum(dim=4)
        total += of_cell.mul_(depth[:, bins, :, :, None]).sum(dim=1)


# ---------------------------------------------------------------- CPU: compiled loops, one owner for each sum


@njit(cache=True, nogil=True)
def _sort_by_cell(cells, starts, order):  # type: ignore[no-untyped-def]
    """Counting sort: `order[starts[k] : starts[k + 1]]` are the frustum points of cell k."""
    for m in range(len(cells)):
        if cells[m] >= 0:
            starts[cells[m] + 1] += 1
    for k in range(1, len(starts)):
        starts[k] += starts[k - 1]
    # Filling from the end of each cell backwards leaves the starts where they belong.
    position = starts[1:].copy()
    for m in range(len(cells) - 1, -1, -1):
        if cells[m] >= 0:
            position[cells[m]] -= 1
            order[position[cells[m]]] = m


@njit(cache=True, nogil=True, fastmath={"contract"})
def _pool_cells(first, last, starts, order, depth, rows, pixels, bins, out):  # type: ignore[no-untyped-def]
    for k in range(first, last):
        for position in range(starts[k], starts[k + 1]):
            m = order[position]
            pixel = m // (bins * pixels) * pixels + m % pixels
            weight = depth[m]
            for c in range(rows.shape[1]):
                out[k, c] += weight * rows[pixel, c]


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _spread_to_pixels(first, last, cells, depth, rows, pixels, bins, grad, grad_depth, grad_rows):  # type: ignore[no-untyped-def]
    for row in range(first, last):
        start = row // pixels * bins * pixels + row % pixels
        for m in range(start, start + bins * pixels, pixels):
            k = cells[m]
            if k < 0:
                continue
            weight, total = depth[m], depth.dtype.type(0)
            for c in range(rows.shape[1]):
                total += grad[k, c] * rows[row, c]
                grad_rows[row, c] += weight * grad[k, c]
            grad_depth[m] = total


def _forward_loops(depth: Tensor, rows: Tensor, cells: Tensor, out: Tensor) -> None:
    flat = cells.contiguous().view(-1).numpy()
    starts = np.zeros(len(out) + 1, np.int64)
    order = np.empty(len(flat), np.int32 if len(flat) < 2**31 else np.int64)
    _sort_by_cell(flat, starts, order)
    # Equal numbers of frustum points, not of cells, for each thread.
    shares = np.linspace(0, starts[-1], torch.get_num_threads() + 1)
    bounds = np.searchsorted(starts[:-1], shares)
    bounds[0], bounds[-1] = 0, len(out)
    weights = depth.contiguous().view(-1).numpy()
    pixels, bins = depth.shape[2] * depth.shape[3], depth.shape[1]
    _in_threads(_pool_cells, bounds, starts, order, weights, rows.numpy(), pixels, bins, out.numpy())


def _backward_loops(
    depth: Tensor, rows: Tensor, cells: Tensor, grad: Tensor, grad_depth: Tensor, grad_rows: Tensor
) -> None:
    flat = cells.contiguous().view(-1).numpy()
    bounds = np.linspace(0, len(rows), torch.get_num_threads() + 1).astype(np.int64)
    weights = depth.contiguous().view(-1).numpy()
    pixels, bins = depth.shape[2] * depth.shape[3], depth.shape[1]
    fixed = (flat, weights, rows.numpy(), pixels, bins, grad.numpy())
    _in_threads(_spread_to_pixels, bounds, *fixed, grad_depth.view(-1).numpy(), grad_rows.numpy())


def _in_threads(kernel: Callable[..., None], bounds: NDArray[np.int64], *args: Any) -> None:
    """`kernel(bounds[i], bounds[i + 1], *args)` of all i at once; the kernels release the interpreter lock.

    Plain threads rather than numba's: those neither survive a fork nor, in part, a second caller.
    """
    spans = list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))
    if len(spans) == 1:
        kernel(*spans[0], *args)
        return
    with ThreadPoolExecutor(len(spans)) as pool:
        for done in [pool.submit(kernel, *span, *args) for span in spans]:
            done.result()
