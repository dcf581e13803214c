"""BEVDistill's dense distillation (Chen et al., ICLR 2023, arXiv 2211.09386), without labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pc3d.contrast.distillation import DISTANCES, weighted_distance
from pc3d.data.batch import FrameBatch, Needs
from pc3d.geometry.grid import BevGrid
from pc3d.models.bev.base import ViewTransform
from pc3d.models.lidar.base import LidarEncoder
from pc3d.objectives.base import Objective
from pc3d.objectives.encodings import Encodings
from pc3d.ops.bev import bev_cells, blur_bev, scatter_bev
from pc3d.ops.interpolate import on_grid, sample_bev


class BEVDistill(Objective):
    """The camera's BEV map, adapted by a 1x1 convolution, against the LiDAR's, where the foreground is.

    sum_ij w_ij d( adapt(BEV_camera)_ij, stopgrad(BEV_lidar_ij / |BEV_lidar_ij|) ) / sum_ij w_ij, in the
    frame of LiDAR view "a" and on the LiDAR's grid, at whose cell centres the camera's map is read. The
    authors weigh by a heat map of annotated boxes; here w marks the cells that hold a point of a region, the
    label-free stand-in (our choice). Their distillation of sparse instances needs a detector and is left out.

    Args:
        lidar: the teacher. camera: the view transform, which is trained with the image encoder behind it.
        distance: `l2` or `cosine`, see `weighted_distance`.
        smooth: standard deviation in metres of a Gaussian that spreads the mask around the regions; 0
            keeps their cells alone (our choice).
    """

    needs = Needs(images=True, regions=True)
    reads_bev = True
    reads_image = True
    reads_camera_bev = True
    learns_from = "cell of both maps that holds a point of a region"

    def __init__(
        self, lidar: LidarEncoder, camera: ViewTransform, distance: str = "l2", smooth: float = 0.0
    ) -> None:
        super().__init__()
        if distance not in DISTANCES:
            raise ValueError(f"unknown distance {distance!r}; known: {', '.join(DISTANCES)}")
        if smooth < 0:
            raise ValueError(f"smooth must not be negative, got {smooth}")
        self.adapter = nn.Conv2d(camera.bev_channels, lidar.bev_channels, kernel_size=1)
        self.camera_grid = camera.grid
        self.distance, self.smooth = distance, smooth

    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        grid = encodings.grid
        lidar_bev = encodings.lidar("a").bev
        assert lidar_bev is not None
        weights, point_share = self._foreground(encodings.host.now, grid)
        sample, row, col = torch.nonzero(weights, as_tuple=True)
        xy = torch.stack([grid.x_min + (col + 0.5) * grid.cell, grid.y_min + (row + 0.5) * grid.cell], dim=1)
        inside = on_grid(self.camera_grid, xy)
        weight = encodings.here(weights[sample, row, col][inside])
        xy, sample, row, col = (encodings.here(part[inside]) for part in (xy, sample, row, col))
        adapted = self.adapter(encodings.camera_bev("a"))
        students, _ = sample_bev(adapted.float(), self.camera_grid, xy, sample)
        teachers = lidar_bev.detach().float().permute(0, 2, 3, 1)[sample, row, col]
        loss = weighted_distance(students, teachers, weight, self.distance)
        cells = torch.tensor(float(len(students)))
        logged = {"examples": cells, "cells": cells, "point_share": point_share}
        return {"loss": loss, **logged, **encodings.collapse(students, teachers)}

    def _foreground(self, frame: FrameBatch, grid: BevGrid) -> tuple[Tensor, Tensor]:
        """(B, rows, cols) weights of the cells, and the share of points that make them."""
        if frame.regions is None:
            raise ValueError("BEVDistill needs region ids; run `pc3d regions` and set `data.regions`")
        view = frame.views["a"]
        of_region = frame.regions[view.row] >= 0
        xy, batch = view.points[of_region, :2], view.batch[of_region]
        mask = scatter_bev(torch.ones_like(xy[:, :1]), xy, batch, view.size, grid)
        if self.smooth:
            mask = blur_bev(mask, self.smooth / grid.cell)
        return mask[:, 0], bev_cells(xy, grid)[1].sum() / max(frame.num_points, 1)
