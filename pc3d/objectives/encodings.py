"""The encoder passes of one step, each computed once and shared by all objectives."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from pc3d.data.batch import Batch
from pc3d.geometry.grid import BevGrid
from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar.base import LidarEncoder, LidarFeatures


class Encodings:
    """Lazily computed encoder outputs of a batch.

    Args:
        batch: the training batch.
        lidar_encoder: encodes point views.
        image_encoder: encodes images, or None where no objective reads images.
        want_bev: whether any objective of the step reads the BEV map.
        generator: source of random numbers of the step (CPU).

    Attributes:
        passes: how often each (encoder, frame, view) was computed; never above 1.
    """

    def __init__(
        self,
        batch: Batch,
        lidar_encoder: LidarEncoder,
        image_encoder: ImageEncoder | None = None,
        *,
        want_bev: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        self.batch = batch
        self.generator = generator if generator is not None else torch.Generator().manual_seed(0)
        self.passes: Counter[tuple[str, str, str]] = Counter()
        self._lidar_encoder = lidar_encoder
        self._image_encoder = image_encoder
        self._want_bev = want_bev
        self._lidar: dict[tuple[str, str], LidarFeatures] = {}
        self._images: dict[str, Tensor] = {}

    def lidar(self, view: str = "a", frame: str = "t") -> LidarFeatures:
        """Features of a view of a frame."""
        key = (frame, view)
        if key not in self._lidar:
            self.passes["lidar", frame, view] += 1
            self._lidar[key] = self._lidar_encoder(self.batch.frames[frame].views[view], self._want_bev)
        return self._lidar[key]

    @property
    def grid(self) -> BevGrid:
        """BEV grid of the LiDAR encoder."""
        return self._lidar_encoder.grid

    def image(self, frame: str = "t") -> Tensor:
        """(B * V, C, h, w) dense features of all images of a frame, in the order b * V + v."""
        if self._image_encoder is None:
            raise ValueError("the objective reads images, but the config has no `image` encoder")
        if frame not in self._images:
            images = self.batch.frames[frame].images
            if images is None:
                raise ValueError(f"frame {frame!r} has no images; ask for them in `Objective.needs`")
            self.passes["image", frame, ""] += 1
            self._images[frame] = self._image_encoder(images.flatten(0, 1))
        return self._images[frame]
