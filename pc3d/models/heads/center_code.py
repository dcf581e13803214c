"""A box as the numbers that a centre-based head predicts in the cell of its centre, and back."""

from __future__ import annotations

import torch
from torch import Tensor

from pc3d.geometry.grid import BevGrid
from pc3d.ops.device import constant
from pc3d.ops.precision import full_precision

BRANCHES: dict[str, int] = {"reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}
"""Branches of box numbers and their widths, in the order of a code: offset in the cell along x and y (cells),
z (m), log of length, width, height (m), sine and cosine of the yaw, velocity along x and y (m/s)."""

CODE_SIZE = sum(BRANCHES.values())
CODE_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 0.2)
"""Of an L1 loss of codes: the velocity counts a fifth."""

BOX_SIZE = 9
_LARGEST_LOG_SIZE = 5.0
"""7 mm to 148 m: an untrained head must give neither infinite nor flat boxes, which no evaluator takes."""


@full_precision
def cells_of(boxes: Tensor, grid: BevGrid) -> tuple[Tensor, Tensor]:
    """(N,) int64 row and column of the cells of box centres, and whether each lies on the grid.

    Args:
        boxes: (N, 9), frame of the grid, x and y finite.

    Returns:
        (N, 2) int64 row and column, meaningless where outside; (N,) bool.
    """
    cells = _cell_coordinates(boxes, grid).floor()
    size = constant([grid.cols, grid.rows], cells)
    # Compared as floats: a coordinate too large for an integer must not wrap into the grid.
    inside = ((cells >= 0) & (cells < size)).all(dim=1)
    return torch.where(inside[:, None], cells, 0).long().flip(1), inside


def _cell_coordinates(boxes: Tensor, grid: BevGrid) -> Tensor:
    """(N, 2) x and y of the centres in cells from the corner of the grid."""
    return (boxes[:, :2] - constant([grid.x_min, grid.y_min], boxes)) / grid.cell


@full_precision
def encode_boxes(boxes: Tensor, grid: BevGrid) -> tuple[Tensor, Tensor]:
    """Codes of boxes, and which of their numbers are known.

    Args:
        boxes: (N, 9) `x y z l w h yaw vx vy`, metres, radians, m/s, x y z the centre; sizes positive;
            velocity NaN where unknown. All centres on the grid.

    Returns:
        (N, 10) codes in the order of `BRANCHES`, 0 where unknown; (N, 10) bool.

    Source: Yin et al., CVPR 2021, section 4 (regression heads).
    """
    coordinates = _cell_coordinates(boxes, grid)
    yaw = boxes[:, 6:7]
    code = torch.cat(
        [
            coordinates - coordinates.floor(),
            boxes[:, 2:3],
            boxes[:, 3:6].log(),
            yaw.sin(),
            yaw.cos(),
            boxes[:, 7:9],
        ],
        dim=1,
    )
    known = ~code.isnan()
    return torch.where(known, code, 0), known


@full_precision
def decode_boxes(code: Tensor, cells: Tensor, grid: BevGrid) -> Tensor:
    """Boxes of codes, the inverse of `encode_boxes`.

    Args:
        code: (N, 10). cells: (N, 2) int64 row and column.

    Returns:
        (N, 9) boxes, yaw in [-pi, pi], sizes between 7 mm and 148 m.
    """
    corner = constant([grid.x_min, grid.y_min], code)
    centre = (cells.flip(1).to(code.dtype) + code[:, 0:2]) * grid.cell + corner
    size = code[:, 3:6].clamp(-_LARGEST_LOG_SIZE, _LARGEST_LOG_SIZE).exp()
    yaw = torch.atan2(code[:, 6:7], code[:, 7:8])
    return torch.cat([centre, code[:, 2:3], size, yaw, code[:, 8:10]], dim=1)
