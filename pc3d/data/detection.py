"""Boxes as a detector is trained on them: which of them count, and tensors in the frame of a view."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pc3d.data.records import Boxes, Float64

BOX_VALUES = ("x", "y", "z", "l", "w", "h", "yaw", "vx", "vy")
"""Columns of a box tensor: metres, radians, m/s; x y z is the centre."""


def counted_boxes(boxes: Boxes, labels: NDArray[np.int64], min_points: int = 1) -> NDArray[np.bool_]:
    """(N,) which boxes are objects: of a class, with `min_points` LiDAR points or an unknown number (-1).

    Args:
        labels: (N,) class of each box, -1 for none (`ClassSet.box_labels`).
    """
    enough = (boxes.num_lidar_pts < 0) | (boxes.num_lidar_pts >= min_points)
    return (labels >= 0) & enough


def box_rows(boxes: Boxes) -> Float64:
    """(N, 9) float64 `BOX_VALUES` of boxes, velocity NaN where unknown."""
    return np.column_stack([boxes.centers, boxes.sizes, boxes.yaws, boxes.velocities])


def moved_boxes(rows: Float64, dst_T_src: Float64, plane: Float64) -> Float64:
    """Boxes under an affine map, their sizes as they are.

    Args:
        rows: (N, 9) `BOX_VALUES`.
        dst_T_src: (4, 4), of the centres.
        plane: (2, 2), of the headings and velocities seen from above.

    Returns:
        (N, 9) float64, yaw in (-pi, pi].
    """
    heading = np.column_stack([np.cos(rows[:, 6]), np.sin(rows[:, 6])]) @ plane.T
    moved = rows.copy()
    moved[:, :3] = rows[:, :3] @ dst_T_src[:3, :3].T + dst_T_src[:3, 3]
    moved[:, 6] = np.arctan2(heading[:, 1], heading[:, 0])
    moved[:, 7:] = rows[:, 7:] @ plane.T
    return moved


def view_boxes(
    boxes: Boxes, labels: NDArray[np.int64], view_T_lidar: Tensor | ArrayLike, min_points: int = 1
) -> tuple[Tensor, Tensor]:
    """Boxes of the detection classes in the frame of a view.

    A mirror turns a box into one of the same size with the mirrored heading, because boxes are
    symmetric about their own axes: so the yaw is that of the mapped heading vector.

    Args:
        boxes: in the LiDAR frame. labels: (N,) class of each, -1 for none: such boxes are left out.
        view_T_lidar: (4, 4) affine map of the view: a rotation about z, a uniform scale, mirrors of x
            and y, a translation. `PointView.lidar_SE3[b]` is one.
        min_points: boxes that are known to hold fewer LiDAR points are left out (0: none is). Boxes
            whose number is unknown (-1) stay.

    Returns:
        (M, 9) float32 `BOX_VALUES`, yaw in (-pi, pi], velocity NaN where unknown; and their (M,) int64
        labels. On the device of `view_T_lidar`.

    Raises:
        ValueError: the map is none of those (it tilts, shears or stretches).
    """
    device = view_T_lidar.device if isinstance(view_T_lidar, Tensor) else torch.device("cpu")
    host = view_T_lidar.detach().cpu().numpy() if isinstance(view_T_lidar, Tensor) else view_T_lidar
    matrix = np.asarray(host, dtype=np.float64)
    scale = _uniform_scale(matrix)
    kept = counted_boxes(boxes, labels, min_points)
    rows = moved_boxes(box_rows(boxes)[kept], matrix, matrix[:2, :2])
    rows[:, 3:6] *= scale
    return torch.from_numpy(rows).float().to(device), torch.from_numpy(labels[kept]).to(device)


def _uniform_scale(matrix: Float64) -> float:
    """The factor by which the map stretches every direction."""
    if matrix.shape != (4, 4):
        raise ValueError(f"view_T_lidar has shape {matrix.shape}, expected (4, 4)")
    linear = matrix[:3, :3]
    scale = float(linear[2, 2])
    # Float32 maps are off by 1e-7 of their entries.
    if scale <= 0 or not np.allclose(linear.T @ linear, scale**2 * np.eye(3), atol=1e-4 * scale**2):
        raise ValueError(
            "boxes with a yaw only can be mapped by a rotation about z, a uniform scale and mirrors of x "
            f"and y, not by {linear.tolist()}"
        )
    return scale
