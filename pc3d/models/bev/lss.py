"""Lift, splat: image features lifted by a predicted distribution over depth, summed into BEV cells."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pc3d.geometry.grid import BevGrid
from pc3d.models.bev.base import ViewTransform
from pc3d.models.bev.frustum import frustum_cells, frustum_points
from pc3d.models.image.base import ImageEncoder
from pc3d.ops.bev_pool import bev_pool
from pc3d.ops.precision import full_precision, layer_in_full

_DEPTH_CHANNELS = 32


class LSS(ViewTransform):
    """Lift-splat view transform (Philion and Fidler, ECCV 2020), as in BEVFusion (Liu et al., ICRA 2023).

    A small network gives each feature cell a softmax over depth bins and a context vector. The context,
    weighted by the bin's probability, is added to the BEV cell that the centre of the cell and of the bin
    lies in; two convolutions follow. (The public codes take the bin's near edge and spread the cells from the
    first pixel to the last: 0.28 m elsewhere in the mean over nuScenes' cameras.)

    Args:
        image: the encoder whose features are lifted; only its width is read.
        grid: grid of the map.
        bev_channels: width of the context and of the map.
        depth: (nearest, farthest, step) in metres of the depth bins, along the optical axis.
        z_range: (low, high) metres in the frame of the map; what lies outside is left out.
        downsample: pool into cells that are so many times smaller, which the convolutions join.
        lidar_depth: read the depth of LiDAR points as a further input of the network. BEVFusion does it
            at the resolution of the image; here it is at the feature cells (our choice).

    Raises:
        ValueError: no depth bin, an empty `z_range`, or `downsample` below 1.
    """

    def __init__(
        self,
        image: ImageEncoder,
        grid: BevGrid | None = None,
        bev_channels: int = 80,
        depth: tuple[float, float, float] = (1.0, 60.0, 0.5),
        z_range: tuple[float, float] = (-10.0, 10.0),
        downsample: int = 1,
        lidar_depth: bool = False,
    ) -> None:
        super().__init__()
        near, far, step = depth
        if not (0 < near < far and 0 < step <= far - near) or z_range[0] >= z_range[1] or downsample < 1:
            raise ValueError(
                f"depth {tuple(depth)} must be (near, far, step) with 0 < near < far, z_range "
                f"{tuple(z_range)} ascending, downsample {downsample} at least 1"
            )
        self.grid = grid or BevGrid()
        self.bev_channels, self.z_range, self.reads_depth = bev_channels, z_range, lidar_depth
        self._pool_grid = _refined(self.grid, downsample)
        bins = near + step * (torch.arange(round((far - near) / step)) + 0.5)
        self.register_buffer("bins", bins, persistent=False)
        self.bins: Tensor
        self.embed_depth = nn.Sequential(*_conv(2, _DEPTH_CHANNELS)) if lidar_depth else None
        width = image.channels + (_DEPTH_CHANNELS if lidar_depth else 0)
        self.lift = nn.Sequential(
            *_conv(width, image.channels), nn.Conv2d(image.channels, len(bins) + bev_channels, 1)
        )
        self.convolutions = nn.Sequential(
            *_conv(bev_channels, bev_channels, downsample), *_conv(bev_channels, bev_channels)
        )

    def forward(
        self,
        features: Tensor,
        intrinsics: Tensor,
        cam_SE3_lidar: Tensor,
        camera_mask: Tensor,
        image_size: tuple[int, int],
        depth: Tensor | None = None,
        lens: Tensor | None = None,
    ) -> Tensor:
        if self.embed_depth is not None:
            if depth is None:
                raise ValueError(
                    "LSS with lidar_depth=True reads `depth`: give it pc3d.models.bev.lidar_depth(...)"
                )
            known = torch.cat((depth / self.bins[-1], (depth > 0).to(depth.dtype)), dim=1)
            features = torch.cat((features, layer_in_full(self.embed_depth, known)), dim=1)
        scores, context = self.lift(features).split([len(self.bins), self.bev_channels], dim=1)
        cells = self.cells(intrinsics, cam_SE3_lidar, camera_mask, scores.shape[2:], image_size, lens)
        return self.convolutions(self.pool(scores.softmax(dim=1), context, cells))

    @torch.no_grad()
    @full_precision
    def cells(
        self,
        intrinsics: Tensor,
        cam_SE3_lidar: Tensor,
        camera_mask: Tensor,
        size: tuple[int, int],
        image_size: tuple[int, int],
        lens: Tensor | None = None,
    ) -> Tensor:
        """Cells of the frustum points; arguments as in `forward`, and the `size` (h, w) of the features.

        Returns:
            (B, V, depth bins, h, w) int64 flat cell of each sample's own map, -1 for none, which is also
            where a lens shows nothing or looks too far aside.
        """
        # A missing camera may come with any matrices.
        present = camera_mask[..., None, None]
        K = torch.where(present, intrinsics, torch.eye(3, device=intrinsics.device))
        cam_SE3_lidar = torch.where(present, cam_SE3_lidar, torch.eye(4, device=intrinsics.device))
        lenses = [None] * len(K) if lens is None else lens.where(camera_mask[..., None], 0.0)
        samples = [
            frustum_cells(
                frustum_points(K[b], cam_SE3_lidar[b], self.bins, size, image_size, lenses[b]),
                self._pool_grid,
                self.z_range,
            )
            for b in range(len(K))  # one by one: a batch of frustum coordinates is large
        ]
        return torch.where(present[..., None], torch.stack(samples), -1)

    def pool(self, depth: Tensor, context: Tensor, cells: Tensor) -> Tensor:
        """Lift and pool.

        Args:
            depth: (B * V, depth bins, h, w) probabilities.
            context: (B * V, C, h, w).
            cells: of `cells`.

        Returns:
            (B, C, rows, cols) on the pooled grid, `downsample` times finer than `grid`.
        """
        batch, rows, cols = len(cells), self._pool_grid.rows, self._pool_grid.cols
        first = torch.arange(batch, device=cells.device).view(-1, 1, 1, 1, 1) * (rows * cols)
        index = torch.where(cells < 0, cells, cells + first).flatten(0, 1)
        pooled = bev_pool(depth, context, index, batch * rows * cols)
        return pooled.view(batch, rows, cols, -1).permute(0, 3, 1, 2).contiguous()


def _refined(grid: BevGrid, factor: int) -> BevGrid:
    """The grid of `factor` x `factor` cells for each cell of `grid`."""
    x_max, y_max = grid.x_min + grid.cols * grid.cell, grid.y_min + grid.rows * grid.cell
    return BevGrid(grid.x_min, x_max, grid.y_min, y_max, grid.cell / factor)


def _conv(in_channels: int, channels: int, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
