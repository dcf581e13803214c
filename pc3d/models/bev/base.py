"""What every camera branch gives: a bird's-eye-view map from the images of all cameras."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from pc3d.geometry.grid import BevGrid


class ViewTransform(nn.Module):
    """Base of the view transforms: image features to a BEV map.

    Attributes:
        bev_channels: width of the map.
        grid: its BEV grid.
        reads_depth: whether `forward` needs `depth`.
    """

    bev_channels: int
    grid: BevGrid
    reads_depth: bool = False

    @abstractmethod
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
        """Lift image features into the map.

        Args:
            features: (B * V, C, h, w) image features, image order b * V + v.
            intrinsics: (B, V, 3, 3) of the images, pixel centres at integer + 0.5 (a mirrored image
                has fx < 0).
            cam_SE3_lidar: (B, V, 4, 4) from the frame that the map lies in to the camera; any affine
                map that can be inverted, so that an augmented LiDAR frame will do.
            camera_mask: (B, V) bool, False where the camera is missing: it contributes nothing.
            image_size: (height, width) of the images in pixels.
            depth: (B * V, 1, h, w) metres of the nearest LiDAR point of each cell, 0 where there is
                none; None where the transform reads no depth.
            lens: (B, V, 12) float64 `pc3d.geometry.lens.Lens.row` of each camera, None for pinholes.

        Returns:
            (B, bev_channels, rows, cols) on `grid`.
        """
