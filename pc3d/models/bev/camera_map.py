"""The cameras' BEV map of a loaded frame, in the frame of one of its LiDAR views."""

from __future__ import annotations

from torch import Tensor

from pc3d.data.batch import FrameBatch
from pc3d.models.bev.base import ViewTransform
from pc3d.models.bev.depth import cameras_from_view, lidar_depth


def camera_map(transform: ViewTransform, features: Tensor, frame: FrameBatch, view: str = "a") -> Tensor:
    """Lift the image features of a frame into a BEV map.

    Args:
        transform: the view transform.
        features: (B * V, C, h, w) image features of `frame.images`, in the order b * V + v.
        frame: loaded with images.
        view: whose frame, augmentation included, the map lies in.

    Returns:
        (B, bev_channels, rows, cols) on `transform.grid`.

    Raises:
        ValueError: the frame was loaded without images.
    """
    cameras = (frame.image_size, frame.intrinsics, frame.cam_SE3_lidar, frame.camera_mask)
    image_size, intrinsics, cam_SE3_lidar, mask = cameras
    if image_size is None or intrinsics is None or cam_SE3_lidar is None or mask is None:
        raise ValueError("a camera map needs the images of the frame: ask for them in `Needs(images=True)`")
    size = (features.shape[-2], features.shape[-1])
    depth = lidar_depth(frame, size, view) if transform.reads_depth else None
    cam_SE3_view = cameras_from_view(cam_SE3_lidar, frame.views[view].lidar_SE3)
    return transform(features, intrinsics, cam_SE3_view, mask, image_size, depth, frame.lens)
