"""Depth maps of the cameras from the LiDAR points that they see."""

from __future__ import annotations

from torch import Tensor

from pc3d.data.batch import FrameBatch
from pc3d.ops.device import inverse
from pc3d.ops.precision import full_precision


@full_precision
def cameras_from_view(cam_SE3_lidar: Tensor, view_SE3_lidar: Tensor) -> Tensor:
    """(B, V, 4, 4) from the frame of an augmented view to each camera.

    Args:
        cam_SE3_lidar: (B, V, 4, 4) from the loaded sweep. view_SE3_lidar: (B, 4, 4), that of the view.
    """
    return cam_SE3_lidar @ inverse(view_SE3_lidar)[:, None]


@full_precision
def lidar_depth(frame: FrameBatch, size: tuple[int, int], view: str = "a") -> Tensor:
    """Depth of the nearest LiDAR point in each cell of the feature maps, the input `depth` of LSS.

    Args:
        frame: with `pairs`, `images` and `cam_SE3_lidar`.
        size: (h, w) of the feature maps, which cover the images.
        view: the view whose points count; a point that it dropped has no depth. Depths are metres
            along the optical axis before augmentation, whatever the view's own map.

    Returns:
        (B * V, 1, h, w) float32 metres, 0 where no point falls.

    Raises:
        ValueError: the frame was loaded without images.
    """
    if frame.pairs is None or frame.image_size is None or frame.cam_SE3_lidar is None:
        raise ValueError(
            "LiDAR depth needs images and pairs of the frame; ask for them in `Needs(images=True)`"
        )
    pairs, cloud, cameras = frame.pairs, frame.views[view], frame.cam_SE3_lidar.shape[1]
    index = cloud.index_of_row(frame.num_points)[pairs.row]
    kept = index >= 0
    index, image, uv = index[kept], pairs.camera[kept], pairs.uv[kept]
    axis = cameras_from_view(frame.cam_SE3_lidar, cloud.lidar_SE3).flatten(0, 1)[image, 2]
    depth = (axis[:, :3] * cloud.points[index, :3]).sum(dim=1) + axis[:, 3]
    rows, cols = size
    height, width = frame.image_size
    row = (uv[:, 1] * (rows / height)).long().clamp_(0, rows - 1)
    col = (uv[:, 0] * (cols / width)).long().clamp_(0, cols - 1)
    count = len(frame.cam_SE3_lidar) * cameras
    nearest = depth.new_zeros(count * rows * cols)
    nearest.scatter_reduce_(0, (image * rows + row) * cols + col, depth, "amin", include_self=False)
    return nearest.view(count, 1, rows, cols)
