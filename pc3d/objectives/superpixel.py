"""Superpixel-driven image-to-LiDAR contrast (SLidR, CVPR 2022, arXiv 2203.16258)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pc3d.contrast.monitors import collapse_metrics
from pc3d.contrast.nce import info_nce
from pc3d.data.batch import Needs
from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar.base import LidarEncoder
from pc3d.objectives.base import Objective
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.groups import pool_pixels, pool_points, superpixel_groups


class SuperpixelContrast(Objective):
    """NCE of superpoints Q against superpixels K, both means of normalised features.

    A superpixel of one image is a negative of every other superpixel of the batch.

    Args:
        lidar, image: the encoders; the image encoder is a frozen teacher in SLidR.
        dim: width of the common space, 64 (SLidR).
        temperature: 0.07 (SLidR).
        renormalise: normalise Q and K once more after pooling (SLidR's code does not).
        pixel_stride: read every n-th pixel; 1 is SLidR's form, larger is quicker.
    """

    needs = Needs(images=True, superpixels=True)
    reads_image = True

    def __init__(
        self,
        lidar: LidarEncoder,
        image: ImageEncoder,
        dim: int = 64,
        temperature: float = 0.07,
        renormalise: bool = False,
        pixel_stride: int = 1,
    ) -> None:
        super().__init__()
        self.point_head = nn.Linear(lidar.point_channels, dim)
        self.pixel_head = nn.Conv2d(image.channels, dim, kernel_size=1)
        self.temperature = temperature
        self.renormalise = renormalise
        self.pixel_stride = pixel_stride

    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        frame = encodings.batch.now
        lidar = encodings.lidar("a")
        view = frame.views["a"]
        index = view.index_of_row(frame.num_points)
        usable = torch.zeros_like(index, dtype=torch.bool)
        usable[view.row] = lidar.valid
        groups = superpixel_groups(frame, usable, self.pixel_stride)

        points = F.normalize(self.point_head(lidar.points).float(), dim=1)
        superpoints = pool_points(points, groups, index)
        superpixels = pool_pixels(self.pixel_head(encodings.image()).float(), groups)
        if self.renormalise:
            superpoints, superpixels = F.normalize(superpoints, dim=1), F.normalize(superpixels, dim=1)
        loss = info_nce(superpoints, superpixels, self.temperature)
        logged = {
            "groups": torch.tensor(float(groups.count)),
            "point_share": torch.tensor(len(groups.rows.unique()) / max(frame.num_points, 1)),
        }
        return {"loss": loss, **logged, **collapse_metrics(superpoints, superpixels)}
