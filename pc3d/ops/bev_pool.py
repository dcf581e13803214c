"""Lift and pool in one: features spread along their viewing rays and summed into the cells of a map."""

from __future__ import annotations

import torch
from torch import Tensor


def bev_pool(depth: Tensor, features: Tensor, cells: Tensor, num_cells: int) -> Tensor:
    """Sum of depth times feature over the frustum points of each cell (Philion and Fidler, ECCV 2020).

        out[k, c] = sum over n, d, y, x with cells[n, d, y, x] = k of depth[n, d, y, x] * features[n, c, y, x]

    Args:
        depth: (N, D, h, w) weight of each depth bin of each pixel.
        features: (N, C, h, w).
        cells: (N, D, h, w) integer cell of each frustum point in 0..num_cells-1, negative for none.
        num_cells: number of cells K.

    Returns:
        (K, C), zeros in empty cells; half precision is accumulated, and returned, in float32.
        Differentiable in `depth` and `features`.
    """
    dtype = torch.promote_types(torch.promote_types(depth.dtype, features.dtype), torch.float32)
    n, d, y, x = (cells >= 0).nonzero(as_tuple=True)
    lifted = depth[n, d, y, x].to(dtype)[:, None] * features[n, :, y, x].to(dtype)
    return lifted.new_zeros(num_cells, features.shape[1]).index_add(0, cells[n, d, y, x].long(), lifted)
