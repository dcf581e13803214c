"""Point-pixel pairs of a sweep with its cameras, without the points that a camera cannot see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pc3d.data.records import Camera, Float32, Float64, Sweep
from pc3d.geometry.lens import bent
from pc3d.geometry.rigid import compose_SE3, invert_SE3, transform_points
from pc3d.storage.compiled import njit


@dataclass(frozen=True)
class PairingConfig:
    """How pairs are made.

    Attributes:
        occlusion: drop points that a nearer point hides from the camera (z-buffer).
        window: half-width of the z-buffer's window as a share of the image width. It bridges the gaps
            between neighbouring columns of the LiDAR.
        tall: how many times higher than wide the window of a point above the ground is: it bridges the
            gaps between the LiDAR's rings. On the ground the next ring is much farther and not hidden.
        ground: height in metres above the ego frame's z = 0 up to which a point may be the ground.
        tolerance: a point is hidden if something in its window is nearer than `depth * (1 - tolerance)`.
        min_depth: metres in front of the camera.
        ego_x, ego_y: points with |x| < ego_x and |y| < ego_y (m, LiDAR frame) are the ego vehicle's.
    """

    occlusion: bool = True
    window: float = 0.004
    tall: float = 4.0
    ground: float = 0.4
    tolerance: float = 0.15
    min_depth: float = 0.5
    ego_x: float = 1.5
    ego_y: float = 2.5

    def __post_init__(self) -> None:
        if not (0 < self.window < 0.5 and 0 < self.tolerance < 1 and self.tall >= 1):
            raise ValueError(f"window must be in (0, 0.5), tolerance in (0, 1), tall at least 1: {self}")


@dataclass(frozen=True, eq=False)
class CameraPairs:
    """Pairs of one camera: point `row[m]` is seen at `uv[m]` (pixels) in `depth[m]` metres."""

    row: NDArray[np.int64]
    uv: Float64
    depth: Float64


def cam_SE3_lidar(sweep: Sweep, camera: Camera) -> Float64:
    """(4, 4) from the LiDAR frame at the sweep's time to the camera at its own: the ego moves between."""
    world_SE3_lidar = compose_SE3(sweep.world_SE3_ego, sweep.ego_SE3_lidar)
    return compose_SE3(invert_SE3(compose_SE3(camera.world_SE3_ego, camera.ego_SE3_cam)), world_SE3_lidar)


@njit(cache=True)
def _project(xyz, transform, K, lens, max_radius2, size, min_depth, ego, rows, uv, depth):  # type: ignore[no-untyped-def]
    """Fill rows, uv, depth with the points that land in the image; give their number."""
    width, height = size
    count = 0
    for p in range(len(xyz)):
        x, y, z = float(xyz[p, 0]), float(xyz[p, 1]), float(xyz[p, 2])
        if abs(x) < ego[0] and abs(y) < ego[1]:
            continue
        d = transform[2, 0] * x + transform[2, 1] * y + transform[2, 2] * z + transform[2, 3]
        if not d > min_depth:
            continue
        a = (transform[0, 0] * x + transform[0, 1] * y + transform[0, 2] * z + transform[0, 3]) / d
        b = (transform[1, 0] * x + transform[1, 1] * y + transform[1, 2] * z + transform[1, 3]) / d
        if a * a + b * b > max_radius2:
            continue
        bent_a, bent_b = bent(a, b, lens)
        u = K[0, 0] * bent_a + K[0, 1] * bent_b + K[0, 2]
        v = K[1, 0] * bent_a + K[1, 1] * bent_b + K[1, 2]
        if 0 <= u < width and 0 <= v < height:
            rows[count], uv[count, 0], uv[count, 1], depth[count] = p, u, v, d
            count += 1
    return count


@njit(cache=True)
def visible(uv, depth, reach, cell, cols, lines, tolerance):  # type: ignore[no-untyped-def]
    """Which of M projected points no nearer point hides: a z-buffer of the points themselves.

    Args:
        uv: (M, 2) pixels. depth: (M,) metres.
        reach: (M, 2) int64; each point covers the cells within so many columns and rows of its own.
        cell: pixels per z-buffer cell; the buffer has (lines, cols) cells.
        tolerance: hidden if the least depth over the point's cell is below depth * (1 - tolerance).

    Returns:
        (M,) bool.
    """
    nearest = np.full((lines, cols), np.inf)
    for m in range(len(depth)):
        row, col = int(uv[m, 1] / cell), int(uv[m, 0] / cell)
        for i in range(max(0, row - reach[m, 1]), min(lines, row + reach[m, 1] + 1)):
            for j in range(max(0, col - reach[m, 0]), min(cols, col + reach[m, 0] + 1)):
                if depth[m] < nearest[i, j]:
                    nearest[i, j] = depth[m]
    seen = np.empty(len(depth), dtype=np.bool_)
    for m in range(len(depth)):
        row, col = int(uv[m, 1] / cell), int(uv[m, 0] / cell)
        seen[m] = nearest[row, col] >= depth[m] * (1 - tolerance)
    return seen


_REACH = 1
"""Cells from the middle of the z-buffer's window to its side: the window is resolved this finely."""


def _unhidden(
    points: Float32, uv: Float64, depth: Float64, sweep: Sweep, camera: Camera, config: PairingConfig
) -> NDArray[np.bool_]:
    """(M,) which of the points in the image the camera sees."""
    width, height = camera.size
    cell = config.window * width / (_REACH + 0.5)
    above = transform_points(sweep.ego_SE3_lidar, points[:, :3].astype(np.float64))[:, 2] > config.ground
    reach = np.full((len(points), 2), _REACH)
    reach[above, 1] = round((_REACH + 0.5) * config.tall - 0.5)
    return visible(uv, depth, reach, cell, int(width / cell) + 1, int(height / cell) + 1, config.tolerance)


def pair_camera(
    points: Float32,
    sweep: Sweep,
    camera: Camera,
    config: PairingConfig | None = None,
    ego_mask: NDArray[np.bool_] | None = None,
) -> CameraPairs:
    """Pairs of one camera, rows ascending.

    Args:
        points: (P, C >= 3) of the sweep, LiDAR frame.
        sweep, camera: poses and calibration.
        config: see `PairingConfig`.
        ego_mask: (H, W) bool at any resolution, True where the image shows the ego vehicle.
    """
    config = config or PairingConfig()
    transform = cam_SE3_lidar(sweep, camera)
    rows, uv, depth = np.empty(len(points), np.int64), np.empty((len(points), 2)), np.empty(len(points))
    count = _project(
        np.ascontiguousarray(points[:, :3]),
        transform,
        camera.intrinsics,
        camera.lens.row,
        camera.lens.radius**2,
        camera.size,
        config.min_depth,
        (config.ego_x, config.ego_y),
        rows,
        uv,
        depth,
    )
    rows, uv, depth = rows[:count], uv[:count], depth[:count]
    keep = np.ones(count, dtype=np.bool_)
    if config.occlusion:
        keep = _unhidden(points[rows], uv, depth, sweep, camera, config)
    if ego_mask is not None:
        size = np.array(ego_mask.shape[::-1])
        x, y = np.minimum((uv * (size / camera.size)).astype(np.int64), size - 1).T
        keep &= ~ego_mask[y, x]
    return CameraPairs(rows[keep], uv[keep], depth[keep])


def pair_points(
    points: Float32,
    sweep: Sweep,
    config: PairingConfig | None = None,
    ego_masks: dict[str, NDArray[np.bool_]] | None = None,
) -> dict[str, CameraPairs]:
    """Point-pixel pairs of a sweep with each of its cameras, by camera name.

    A point is paired with a pixel if it projects into the image in front of the camera (both moved to
    the world with the ego pose of their own time), is not the ego vehicle, and no nearer point within
    a small window of the image hides it. A point seen by two cameras is paired twice.
    """
    masks = ego_masks or {}
    return {
        camera.name: pair_camera(points, sweep, camera, config, masks.get(camera.name))
        for camera in sweep.cameras
    }
