"""ScaLR (Puy et al., "Three pillars improving vision foundation model distillation for lidar", CVPR 2024)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pc3d.contrast.distillation import feature_distance
from pc3d.contrast.monitors import collapse_metrics
from pc3d.data.batch import Needs
from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar.base import LidarEncoder
from pc3d.objectives.base import Objective
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.matches import matched_pixels, pixels_at


class ScaLR(Objective):
    """mean over matched points of || norm(point feature) - norm(image feature) ||_2, without negatives.

    A linear head brings the points to the width of the teacher, whose map is read at the points by
    bilinear interpolation (the authors' code reads the nearest pixel of the upsampled map). No gradient
    reaches the image encoder: without negatives, a teacher that learned would collapse.

    Args:
        lidar: the encoder that is trained. image: the teacher, a frozen DINOv2 ViT-L in the paper.
        num_pairs: random pairs of a batch; None, all of them, is the paper's form.
    """

    needs = Needs(images=True)
    reads_image = True
    learns_from = "point-pixel pair"

    def __init__(self, lidar: LidarEncoder, image: ImageEncoder, num_pairs: int | None = None) -> None:
        super().__init__()
        self.head = nn.Linear(lidar.point_channels, image.channels)
        self.num_pairs = num_pairs

    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        pairs, index = matched_pixels(encodings, self.num_pairs)
        points = F.normalize(self.head(encodings.lidar("a").points[index]).float(), dim=1)
        maps = encodings.image().detach().float()
        pixels = F.normalize(pixels_at(maps, pairs, encodings), dim=1)
        loss = feature_distance(points, pixels)
        share = len(pairs.row.unique()) / max(encodings.batch.now.num_points, 1)
        logged = {"examples": torch.tensor(float(len(points))), "point_share": torch.tensor(share)}
        return {"loss": loss, **logged, **collapse_metrics(points, pixels)}
