"""How well depth edges lie on image edges, for a calibration and for ones that are turned a little."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from pc3d.data.calibration.edges import DepthEdges
from pc3d.data.pairing import cam_SE3_lidar
from pc3d.data.records import Camera, Float64, Sweep
from pc3d.geometry.camera import in_image, project
from pc3d.geometry.rigid import transform_points

YAWS = np.arange(-20.0, 20.25, 0.5)
"""Degrees that a camera is turned by. An edge is about a degree wide in the working image."""
PEAK = 2.5
"""Degrees beside a turn that still see the same edges: what is farther away is by chance."""
MIN_EDGES = 25
"""In the images of all frames together; fewer say nothing."""


@dataclass(frozen=True, eq=False)
class View:
    """One image with the scan that was taken with it."""

    sweep: Sweep
    camera: Camera
    depth: DepthEdges
    image: Float64


def turn(axis: Float64, degrees: float) -> Float64:
    """(3, 3) rotation about a unit axis (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _in_reach(xyz: Float64, camera: Camera) -> np.ndarray:
    """(N,) which points in the camera frame a turn of `YAWS` may bring into the image."""
    half = np.hypot(*camera.size) / 2 / min(abs(camera.intrinsics[0, 0]), abs(camera.intrinsics[1, 1]))
    reach = min(np.pi, np.arctan(half) + np.radians(YAWS[-1] + 5))
    return xyz[:, 2] > np.cos(reach) * np.linalg.norm(xyz, axis=1)


def _sums(view: View, pitch: float) -> Float64:
    """`Curve.sums` of one view."""
    camera = view.camera
    up = camera.ego_SE3_cam[2, :3]  # of the ego frame, in the camera's
    xyz = transform_points(cam_SE3_lidar(view.sweep, camera), view.depth.xyz)
    near = _in_reach(xyz, camera)
    xyz, weight = xyz[near] @ turn(np.array([1.0, 0, 0]), pitch).T, view.depth.weight[near]
    turned = np.concatenate([xyz @ turn(up, -yaw).T for yaw in YAWS])
    uv, depth = project(turned, camera.intrinsics, camera.distortion)
    seen = (depth > 1) & in_image(uv, camera.size)
    lines, columns = view.image.shape
    x, y = (uv[seen] * np.divide((columns, lines), camera.size)).astype(np.int64).T
    value = np.zeros((2, len(turned)))
    value[0, seen] = view.image[np.minimum(y, lines - 1), np.minimum(x, columns - 1)]
    value[1, seen] = 1
    value = value.reshape(2, len(YAWS), -1) * view.depth.weight[near]
    block = np.unique(view.depth.block[near], return_inverse=True)[1]
    first = np.flatnonzero(np.diff(block, prepend=-1))
    return np.add.reduceat(value, first, axis=2) if len(first) else np.zeros((2, len(YAWS), 0))


@dataclass(frozen=True, eq=False)
class Curve:
    """Agreement over `YAWS`.

    Attributes:
        sums: (2, Y, B) weight * strength of image edge and weight, summed over the depth edges in the image;
            B blocks: what one thing in the scene may be, in one frame.
    """

    sums: Float64

    @property
    def edges(self) -> Float64:
        """(Y,) about how many depth edges are in the images."""
        return self.sums[1].sum(axis=1) / 0.2

    @property
    def strength(self) -> Float64:
        """(Y,) mean image edge at the depth edges, NaN where too few are in the image."""
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = self.sums[0].sum(axis=1) / self.sums[1].sum(axis=1)
        return np.where(self.edges >= MIN_EDGES, mean, np.nan)

    def clear(self, at: float, within: float = 0.5) -> tuple[float, float, float]:
        """(z, t, yaw) of the clearest turn within some degrees of `at`.

        z is the agreement in standard deviations of that at turns of another `PEAK` degrees and more,
        which no edge can know of: it is about 0 for a wrong calibration. 0 if there is nothing to see.
        """
        best, strength = (0.0, 0.0, at), self.strength
        for y, (yaw, value) in enumerate(zip(YAWS, strength, strict=True)):
            if abs(yaw - at) > within or np.isnan(value):
                continue
            chance = strength[(np.abs(YAWS - yaw) > PEAK) & ~np.isnan(strength)]
            if len(chance) >= 20 and chance.std() > 0:
                more = self.sums[0, y] - chance.mean() * self.sums[1, y]
                t = float(more.sum() / np.sqrt((more**2).sum()))
                best = max(best, (float((value - chance.mean()) / chance.std()), t, float(yaw)))
        return best


def curve(views: Iterable[View], pitch: float = 0.0) -> Curve:
    """Agreement of all views together, the cameras tilted upwards by `pitch` degrees."""
    sums = [_sums(view, pitch) for view in views]
    return Curve(np.concatenate(sums, axis=2))


def turned(view: View, yaw: float) -> View:
    """The camera turned in its place about the ego's vertical axis, degrees to the left."""
    pose = view.camera.ego_SE3_cam.copy()
    pose[:3, :3] = turn(np.array([0.0, 0, 1]), yaw) @ pose[:3, :3]
    return replace(view, camera=replace(view.camera, ego_SE3_cam=pose))
