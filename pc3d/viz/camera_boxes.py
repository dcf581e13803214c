"""Boxes in the picture of a camera: their edges, cut before the lens and bent by it."""

from __future__ import annotations

import numpy as np

from pc3d.data.detection import box_rows
from pc3d.data.records import Boxes, Camera, Float64
from pc3d.evaluation.detection_frames import boxes_to_world
from pc3d.geometry.boxes import corners
from pc3d.geometry.camera import project
from pc3d.geometry.rigid import invert_SE3, transform_points

_EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))
_NOSE = ((0, 5), (1, 4))  # a cross on the front face says where a box points
NEAR = 0.3
"""Metres before the camera where lines are cut."""
STEPS = 33
"""Points of a line, so that it can be bent by the lens."""


def box_wires(boxes: Boxes, camera: Camera, world_SE3_lidar: Float64) -> list[Float64]:
    """For each box (14, `STEPS`, 2) pixels of its edges and the cross on its front, NaN where not seen.

    Boxes are upright in the world and not in the LiDAR frame, whose tilt a camera would show.

    Args:
        boxes: in the LiDAR frame. world_SE3_lidar: (4, 4) at the time of the boxes.
    """
    world = boxes_to_world(box_rows(boxes), world_SE3_lidar)
    cam_SE3_world = invert_SE3(camera.world_SE3_ego @ camera.ego_SE3_cam)
    ends = np.array([*_EDGES, *_NOSE])
    wires = []
    for eight in corners(world[:, :3], world[:, 3:6], world[:, 6]):
        seen = transform_points(cam_SE3_world, eight)
        points = clipped(seen[ends[:, 0]], seen[ends[:, 1]])
        uv, _ = project(points.reshape(-1, 3), camera.intrinsics, camera.lens)
        wires.append(uv.reshape(len(ends), STEPS, 2))
    return wires


def clipped(start: Float64, stop: Float64, near: float = NEAR) -> Float64:
    """(N, STEPS, 3) points along the parts of N lines that lie at z >= `near`; NaN for lines that do not.

    Args:
        start, stop: (N, 3) ends in the camera frame, metres.
    """
    along = np.linspace(0.0, 1.0, STEPS)[None, :, None]
    low, high = start[:, 2:] < near, stop[:, 2:] < near
    crosses = low != high
    share = np.divide(near - start[:, 2:], stop[:, 2:] - start[:, 2:], where=crosses, out=np.zeros(low.shape))
    where = start + (stop - start) * share
    first, last = np.where(crosses & low, where, start), np.where(crosses & high, where, stop)
    points = first[:, None] + (last - first)[:, None] * along
    points[(low & high)[:, 0]] = np.nan
    return points
