"""The common space of points and pixels, and its pools over superpixels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar.base import LidarEncoder
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.groups import IDS, SuperpixelGroups, pool_pixels, pool_points, superpixel_groups
from pc3d.objectives.matches import feature_index


class SuperpixelHeads(nn.Module):
    """A linear point head and a 1x1 pixel head (SLidR, SuperFlow), and the means over groups.

    Args:
        lidar, image: the encoders.
        dim: width of the common space.
        ids: `superpixels` (SLIC, unique to their image) or `semantics` (the same in all cameras and times).
        renormalise: normalise the means once more (the public codes do not).
        pixel_stride: read every n-th pixel of every n-th line; 1 is the papers' form.
    """

    def __init__(
        self,
        lidar: LidarEncoder,
        image: ImageEncoder,
        dim: int = 64,
        ids: str = "superpixels",
        renormalise: bool = False,
        pixel_stride: int = 1,
    ) -> None:
        super().__init__()
        if ids not in IDS:
            raise ValueError(f"unknown ids {ids!r}; known: {', '.join(IDS)}")
        self.point_head = nn.Linear(lidar.point_channels, dim)
        self.pixel_head = nn.Conv2d(image.channels, dim, kernel_size=1)
        self.ids, self.renormalise, self.pixel_stride = ids, renormalise, pixel_stride

    def groups(
        self, encodings: Encodings, name: str = "t", leave_out: Tensor | None = None
    ) -> SuperpixelGroups:
        """Groups of the points of frame `name` that have a feature, without the rows `leave_out`.

        Args:
            leave_out: (num_points,) bool in the host's memory.
        """
        usable = feature_index(encodings, "a", name) >= 0
        if leave_out is not None:
            usable &= ~leave_out
        frame, host = encodings.batch.frames[name], encodings.host.frames[name]
        return superpixel_groups(frame, usable, self.pixel_stride, self.ids, host)

    def superpoints(self, encodings: Encodings, name: str, groups: SuperpixelGroups) -> Tensor:
        """(G, dim) mean of the normalised point features of each group."""
        frame = encodings.batch.frames[name]
        points = F.normalize(self.point_head(encodings.lidar("a", name).points).float(), dim=1)
        return self._pooled(pool_points(points, groups, frame.views["a"].index_of_row(frame.num_points)))

    def superpixels(self, encodings: Encodings, name: str, groups: SuperpixelGroups) -> Tensor:
        """(G, dim) mean of the normalised pixel features of each group."""
        return self._pooled(pool_pixels(self.pixel_head(encodings.image(name)).float(), groups))

    def _pooled(self, means: Tensor) -> Tensor:
        return F.normalize(means, dim=1) if self.renormalise else means
