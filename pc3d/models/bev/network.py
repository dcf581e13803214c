"""The BEVFusion layout: one BEV map from LiDAR, cameras, or both, for the heads of downstream tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pc3d.data.batch import FrameBatch
from pc3d.geometry.grid import BevGrid
from pc3d.models.bev import build_view_transform
from pc3d.models.bev.base import ViewTransform
from pc3d.models.bev.camera_map import camera_map
from pc3d.models.image import build_image_encoder
from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar import LidarEncoder, build_lidar_encoder
from pc3d.models.lidar.bev_backbone import BevBackbone


def shared_grid(grids: Sequence[BevGrid]) -> BevGrid:
    """The one grid of all branches.

    Raises:
        ValueError: they differ.
    """
    if any(grid != grids[0] for grid in grids):
        raise ValueError(
            f"LiDAR and camera maps lie on different grids, which cannot be fused: {list(grids)}; set "
            "`camera.grid` to the LiDAR encoder's"
        )
    return grids[0]


def _fuser(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class BevNetwork(nn.Module):
    """LiDAR branch, camera branch, convolutional fuser, BEV backbone and neck (Liu et al., ICRA 2023).

    The maps of the branches are concatenated and fused by one 3x3 convolution; a BEV backbone with its neck
    may follow. A single branch is fused, too, so that every model has the same layers above its encoders,
    unless `fused_channels` is None.

    Args:
        lidar: config of the LiDAR encoder, or None for cameras only.
        image: config of the image encoder, or None for LiDAR only.
        camera: config of the view transform over it, with the grid of the LiDAR encoder. Each of the three
            may be the module itself.
        fused_channels: width of the fused map; None: no fuser, for the map of a single branch, so that the
            layers are those of a CenterPoint.
        widths, layers: of the BEV backbone, see `BevBackbone`; none where empty.
        channels: width of the output map where there is a backbone; the widths' number divides it.

    Attributes:
        lidar, image, camera: the branches, which pretraining gives weights to; None where left out.
        channels, grid: of the output map.

    Raises:
        ValueError: no branch, half a camera branch, branches on different grids, or several and no fuser.
    """

    def __init__(
        self,
        lidar: Mapping[str, Any] | LidarEncoder | None,
        image: Mapping[str, Any] | ImageEncoder | None = None,
        camera: Mapping[str, Any] | ViewTransform | None = None,
        fused_channels: int | None = 256,
        widths: Sequence[int] = (),
        layers: Sequence[int] = (),
        channels: int = 512,
    ) -> None:
        super().__init__()
        if (image is None) != (camera is None):
            raise ValueError("a camera branch is an `image` encoder and a `camera` view transform: set both")
        if lidar is None and image is None:
            raise ValueError("the model has no branch: set `lidar`, or `image` and `camera`, or all three")
        self.lidar = build_lidar_encoder(lidar) if isinstance(lidar, Mapping) else lidar
        self.image = build_image_encoder(image) if isinstance(image, Mapping) else image
        if isinstance(camera, Mapping) and self.image is not None:
            camera = build_view_transform(camera, self.image)
        self.camera: ViewTransform | None = camera  # type: ignore[assignment]
        branches = [branch for branch in (self.lidar, self.camera) if branch is not None]
        self.grid = shared_grid([branch.grid for branch in branches])
        width = sum(branch.bev_channels for branch in branches)
        if fused_channels is None and len(branches) > 1:
            raise ValueError(f"{len(branches)} branches need a fuser: set `fused_channels`")
        fused = width if fused_channels is None else fused_channels
        self.fuser = nn.Identity() if fused_channels is None else _fuser(width, fused)
        self.backbone = BevBackbone(fused, widths, layers, channels) if widths else nn.Identity()
        self.channels = channels if widths else fused

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The pretrained parts that the network has, by the name of their config section."""
        named = {"lidar": self.lidar, "image": self.image, "camera": self.camera}
        return {name: module for name, module in named.items() if module is not None}

    def forward(self, frame: FrameBatch, view: str = "a") -> Tensor:
        """(B, channels, rows, cols) map of a frame on `grid`, in the frame of one of its views."""
        maps = []
        if self.lidar is not None:
            bev = self.lidar(frame.views[view], want_bev=True).bev
            assert bev is not None
            maps.append(bev)
        if self.image is not None and self.camera is not None:
            features = self.image(frame.pictures())
            maps.append(camera_map(self.camera, features, frame, view))
        return self.backbone(self.fuser(torch.cat(maps, dim=1)))
