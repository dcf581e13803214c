"""Where the frustum of a camera lies in the map: a point for each feature cell and depth."""

from __future__ import annotations

import torch
from torch import Tensor

from pc3d.geometry.grid import BevGrid
from pc3d.geometry.lens import straightened
from pc3d.ops.bev import bev_cells
from pc3d.ops.device import inverse
from pc3d.ops.precision import full_precision

_WIDEST = 11.4
"""Radius at depth 1 (85 degrees from the axis) beyond which the cells of a bent image are left out: a step in
depth moves their points more than eleven steps aside."""


@full_precision
def frustum_points(
    intrinsics: Tensor,
    cam_SE3_lidar: Tensor,
    depths: Tensor,
    size: tuple[int, int],
    image_size: tuple[int, int],
    lens: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Unproject the centre of each feature cell to each depth.

    Args:
        intrinsics: (N, 3, 3), pixel centres at integer + 0.5.
        cam_SE3_lidar: (N, 4, 4), any affine map that can be inverted.
        depths: (D,) metres along the optical axis.
        size: (h, w) of the feature maps, which cover images of `image_size` (height, width) pixels.
        lens: (N, 12) `pc3d.geometry.lens.Lens.row` of each image, None for pinholes.

    Returns:
        x, y, z (N, D, h, w) of the dtype of `depths`, metres in the LiDAR frame; NaN where a lens shows no
        ray, or one more than 85 degrees from the axis.
    """
    # Matrices in double precision, which TF32 does not round.
    v, u = (
        (torch.arange(cells, dtype=torch.float64, device=depths.device) + 0.5) * (pixels / cells)
        for cells, pixels in zip(size, image_size, strict=True)
    )
    u, v = u.expand(size), v[:, None].expand(size)
    pixel = torch.stack((u, v, torch.ones_like(u)))
    lidar_SE3_cam = inverse(cam_SE3_lidar.double())
    cam_from_pixel = inverse(intrinsics.double())
    if lens is None:
        rays = torch.einsum("nij,jyx->inyx", lidar_SE3_cam[:, :3, :3] @ cam_from_pixel, pixel)
    else:
        bent = torch.einsum("nij,jyx->inyx", cam_from_pixel, pixel)
        rays = torch.einsum("nij,jnyx->inyx", lidar_SE3_cam[:, :3, :3], _straight(bent, lens))
    rays = rays.to(depths.dtype)
    origins = lidar_SE3_cam[:, :3, 3].T.to(depths.dtype)
    x, y, z = (
        torch.addcmul(origin[:, None, None, None], ray[:, None], depths[:, None, None])
        for ray, origin in zip(rays, origins, strict=True)
    )
    return x, y, z


def _straight(bent: Tensor, lens: Tensor) -> Tensor:
    """(3, N, h, w) rays at depth 1 of bent ones; NaN where there is none that is near enough to the axis."""
    columns = lens.double().T[..., None, None]
    x, y = straightened(bent[0], bent[1], columns, torch)
    seen = (x * x + y * y <= _WIDEST**2) | (columns[0] == 0)
    return torch.stack((x, y, bent[2])).where(seen, torch.nan)


@full_precision
def frustum_cells(
    points: tuple[Tensor, Tensor, Tensor], grid: BevGrid, z_range: tuple[float, float]
) -> Tensor:
    """(N, D, h, w) int64 flat cell row * cols + col of `frustum_points`, -1 outside the grid or `z_range`."""
    x, y, z = points
    cell, valid = bev_cells(torch.stack((x.flatten(), y.flatten()), dim=1), grid)
    inside = valid.view(z.shape) & (z >= z_range[0]) & (z < z_range[1])
    return torch.where(inside, cell.view(z.shape), -1)
