"""Where the frustum of a camera lies in the map: a point for each feature cell and depth."""

from __future__ import annotations

import torch
from torch import Tensor

from pc3d.geometry.grid import BevGrid
from pc3d.ops.bev import bev_cells
from pc3d.ops.precision import full_precision


@full_precision
def frustum_points(
    intrinsics: Tensor,
    cam_SE3_lidar: Tensor,
    depths: Tensor,
    size: tuple[int, int],
    image_size: tuple[int, int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Unproject the centre of each feature cell to each depth.

    Args:
        intrinsics: (N, 3, 3), pixel centres at integer + 0.5.
        cam_SE3_lidar: (N, 4, 4), any affine map that can be inverted.
        depths: (D,) metres along the optical axis.
        size: (h, w) of the feature maps, which cover images of `image_size` (height, width) pixels.

    Returns:
        x, y, z (N, D, h, w) of the dtype of `depths`, metres in the LiDAR frame.
    """
    # Matrices in double precision, which TF32 does not round.
    v, u = (
        (torch.arange(cells, dtype=torch.float64, device=depths.device) + 0.5) * (pixels / cells)
        for cells, pixels in zip(size, image_size, strict=True)
    )
    u, v = u.expand(size), v[:, None].expand(size)
    pixel = torch.stack((u, v, torch.ones_like(u)))
    lidar_SE3_cam = torch.linalg.inv(cam_SE3_lidar.double())
    lidar_from_pixel = lidar_SE3_cam[:, :3, :3] @ torch.linalg.inv(intrinsics.double())
    rays = torch.einsum("nij,jyx->inyx", lidar_from_pixel, pixel).to(depths.dtype)
    origins = lidar_SE3_cam[:, :3, 3].T.to(depths.dtype)
    x, y, z = (
        torch.addcmul(origin[:, None, None, None], ray[:, None], depths[:, None, None])
        for ray, origin in zip(rays, origins, strict=True)
    )
    return x, y, z


@full_precision
def frustum_cells(
    points: tuple[Tensor, Tensor, Tensor], grid: BevGrid, z_range: tuple[float, float]
) -> Tensor:
    """(N, D, h, w) int64 flat cell row * cols + col of `frustum_points`, -1 outside the grid or `z_range`."""
    x, y, z = points
    cell, valid = bev_cells(torch.stack((x.flatten(), y.flatten()), dim=1), grid)
    inside = valid.view(z.shape) & (z >= z_range[0]) & (z < z_range[1])
    return torch.where(inside, cell.view(z.shape), -1)
