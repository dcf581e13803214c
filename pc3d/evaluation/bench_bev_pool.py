"""Time and memory of the fused lift and pool, beside the outer product of all frustum features."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pc3d.evaluation.memory import peak_memory
from pc3d.geometry.grid import BevGrid
from pc3d.geometry.rigid import make_SE3, yaw_matrix
from pc3d.models.bev.frustum import frustum_cells, frustum_points
from pc3d.ops.bev_pool import bev_pool
from pc3d.processes import worker_pool

_GRID = BevGrid(cell=0.3)
_IMAGE, _STRIDE, _CAMERAS, _DEPTH = (256, 704), 8, 6, (1.0, 60.0, 0.5)
_FORWARD = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # a camera that looks along +x


def run(channels: int = 80, repeats: int = 5) -> dict[str, Any]:
    """Measure forward and backward at the size of BEVFusion on nuScenes.

    Six cameras around the car, 118 depth bins, features of 32 x 88, a map of 360 x 360 cells, on the CPU
    with `torch.get_num_threads()` threads.

    Args:
        channels: width of the features.
        repeats: the best of so many is given; the two take turns, so that a busy machine slows both.

    Returns:
        Seconds, and peak memory in MiB beyond the inputs, of both, with their ratios.
    """
    depth, features, cells, weights = _inputs(channels)
    times: dict[str, list[float]] = {name: [] for name in _POOLS}
    for _ in range(repeats + 1):  # the first one compiles
        for name, pool in _POOLS.items():
            start = time.perf_counter()
            _step(pool, depth, features, cells, weights)
            times[name].append(time.perf_counter() - start)
    seconds = {name: min(values[1:]) for name, values in times.items()}
    memory = {name: _in_a_fresh_process(name, channels) for name in _POOLS}
    ours, plain = _POOLS
    return {
        "frustum points": cells.numel(),
        "threads": torch.get_num_threads(),
        **{f"{name} (s)": value for name, value in seconds.items()},
        **{f"{name}, extra memory (MiB)": value for name, value in memory.items()},
        "speed-up": seconds[plain] / seconds[ours],
        "share of the memory": memory[ours] / memory[plain],
    }


def _outer_product(depth: Tensor, features: Tensor, cells: Tensor, num_cells: int) -> Tensor:
    lifted = (depth[..., None] * features.permute(0, 2, 3, 1)[:, None]).flatten(0, 3)
    index = torch.where(cells < 0, num_cells, cells).flatten()
    return lifted.new_zeros(num_cells + 1, lifted.shape[1]).index_add(0, index, lifted)[:-1]


_POOLS: dict[str, Callable[[Tensor, Tensor, Tensor, int], Tensor]] = {
    "bev_pool": bev_pool,
    "outer product": _outer_product,
}


def _inputs(channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Depth, features, cells, and weights of the map that stand for the gradient."""
    generator = torch.Generator().manual_seed(0)
    size = (_IMAGE[0] // _STRIDE, _IMAGE[1] // _STRIDE)
    poses = [make_SE3(_FORWARD @ yaw_matrix(i * np.pi / 3), [0, -0.3, -0.7]) for i in range(_CAMERAS)]
    K = torch.tensor([[560.0, 0, 352], [0, 560, 128], [0, 0, 1]]).expand(_CAMERAS, 3, 3)
    near, far, step = _DEPTH
    bins = torch.arange(near + step / 2, far, step)
    points = frustum_points(K, torch.from_numpy(np.stack(poses)), bins, size, _IMAGE)
    cells = frustum_cells(points, _GRID, (-10.0, 10.0))
    depth = torch.randn(cells.shape, generator=generator).softmax(dim=1).requires_grad_()
    features = torch.randn(_CAMERAS, channels, *size, generator=generator, requires_grad=True)
    return depth, features, cells, torch.randn(_GRID.rows * _GRID.cols, channels, generator=generator)


def _step(
    pool: Callable[..., Tensor], depth: Tensor, features: Tensor, cells: Tensor, weights: Tensor
) -> None:
    depth.grad = features.grad = None
    pool(depth, features, cells, _GRID.rows * _GRID.cols).backward(weights)


def _in_a_fresh_process(name: str, channels: int) -> float:
    with worker_pool(1) as pool:
        return pool.submit(_extra_memory, name, channels).result()


def _extra_memory(name: str, channels: int) -> float:
    """Peak resident memory of a step in MiB beyond what was there before."""
    inputs = _inputs(channels)
    depth, features, cells, weights = inputs
    tiny = [x.detach()[..., :1, :1].requires_grad_() for x in (depth, features)]
    _step(_POOLS[name], tiny[0], tiny[1], cells[..., :1, :1], weights)  # compiles
    return peak_memory(lambda: _step(_POOLS[name], *inputs))
