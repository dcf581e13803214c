"""How well the edges of scans lie on the edges of images, for a calibration and for turned ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pc3d.data.calibration.edges import FULL_WEIGHT, SECTORS, Scan
from pc3d.data.pairing import cam_SE3_lidar
from pc3d.data.records import Camera, Float64, Sweep
from pc3d.geometry.camera import in_image, project
from pc3d.geometry.rigid import transform_points

YAWS = np.arange(-20.0, 20.25, 0.5)
"""Degrees to the left that a camera is turned by. An edge is about a degree wide in the working image."""
_PEAK = 2.5
"""Degrees within which a turn sees the same edges; farther away they meet by chance."""
_CHANCES = 20
"""Turns that the agreement by chance is taken from, at least."""
MIN_EDGES = 25
"""In the images of all frames together; fewer say nothing."""
_LEVEL_TURNS = 12
BODY_R_OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
"""From a camera frame of x right, y down, z forward to one of x forward, y left, z up."""


@dataclass(frozen=True, eq=False)
class View:
    """One image, as the edges in it, with the scan that was taken with it."""

    sweep: Sweep
    camera: Camera
    scan: Scan
    image: Float64


def turn(axis: Float64, degrees: float) -> Float64:
    """(3, 3) rotation about a unit axis (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def turned(view: View, yaw: float) -> View:
    """The camera turned in its place about the ego's vertical axis, degrees to the left."""
    pose = view.camera.ego_SE3_cam.copy()
    pose[:3, :3] = turn(np.array([0.0, 0, 1]), yaw) @ pose[:3, :3]
    return replace(view, camera=replace(view.camera, ego_SE3_cam=pose))


def _in_reach(xyz: Float64, camera: Camera) -> NDArray[np.bool_]:
    """(N,) which points in the camera frame a turn of `YAWS` may bring into the image."""
    focal = max(1e-6, np.abs(np.diag(camera.intrinsics)[:2]).min())
    reach = min(np.pi, np.arctan(np.hypot(*camera.size) / focal) + np.radians(YAWS[-1] + 5))
    return xyz[:, 2] > np.cos(reach) * np.linalg.norm(xyz, axis=1)


def _seen(xyz: Float64, camera: Camera) -> tuple[Float64, NDArray[np.bool_]]:
    """(P, 2) pixels of points in the camera frame, and (P,) which are in the image."""
    uv, depth = project(xyz, camera.intrinsics, camera.distortion)
    return uv, (depth > 1) & in_image(uv, camera.size)


def _sums(view: View, pitch: float) -> Float64:
    """`Curve.sums` of one view."""
    camera, scan = view.camera, view.scan
    up = camera.ego_SE3_cam[2, :3]  # of the ego frame, in the camera's
    xyz = transform_points(cam_SE3_lidar(view.sweep, camera), scan.edges)
    near = _in_reach(xyz, camera)
    xyz = xyz[near] @ turn(np.array([1.0, 0, 0]), -pitch).T
    uv, seen = _seen(np.concatenate([xyz @ turn(up, -yaw).T for yaw in YAWS]), camera)
    lines, columns = view.image.shape
    x, y = (uv[seen] * np.divide((columns, lines), camera.size)).astype(np.int64).T
    strength = view.image[np.minimum(y, lines - 1), np.minimum(x, columns - 1)]
    weight = np.tile(scan.weight[near], len(YAWS))[seen]
    cell = (np.arange(len(YAWS))[:, None] * SECTORS + scan.sector[near]).reshape(-1)[seen]
    size = len(YAWS) * SECTORS
    sums = [np.bincount(cell, values, minlength=size) for values in (weight * strength, weight)]
    return np.reshape(sums, (2, len(YAWS), SECTORS))


@dataclass(frozen=True)
class Clearness:
    """How clearly the edges of scans and images meet.

    Attributes:
        z: the agreement in standard deviations of that at turns by more than `_PEAK`, where edges meet by
            chance: about 0 for a wrong calibration, and where there is nothing to see.
        sectors: the same evidence by sectors, its sum in units of their spread: low if it is of one thing.
        yaw: degrees to the left that the camera is turned by.
    """

    z: float = 0.0
    sectors: float = 0.0
    yaw: float = 0.0


@dataclass(frozen=True, eq=False)
class Curve:
    """Agreement over `YAWS`.

    Attributes:
        sums: (2, Y, SECTORS) over the scans' edges in the image: weight * strength of the image, and weight.
    """

    sums: Float64

    @property
    def strength(self) -> Float64:
        """(Y,) mean strength of the image at the scans' edges, NaN where too few are in the image."""
        total = self.sums.sum(axis=2)
        enough = total[1] >= MIN_EDGES * FULL_WEIGHT
        return np.where(enough, total[0] / np.where(enough, total[1], 1), np.nan)

    def clearest(self, within: float) -> Clearness:
        """The clearest turn of at most `within` degrees."""
        strength, best = self.strength, Clearness()
        for at, yaw in enumerate(YAWS):
            others = strength[(np.abs(YAWS - yaw) > _PEAK) & ~np.isnan(strength)]
            if abs(yaw) > within or np.isnan(strength[at]) or len(others) < _CHANCES or others.std() < 1e-6:
                continue
            z = float((strength[at] - others.mean()) / others.std())
            if z > best.z:
                more = self.sums[0, at] - others.mean() * self.sums[1, at]
                best = Clearness(z, float(more.sum() / np.sqrt((more**2).sum())), float(yaw))
        return best


def curve(views: Iterable[View], pitch: float = 0.0) -> Curve:
    """Agreement of all views together, the cameras tilted upwards by `pitch` degrees."""
    return Curve(sum((_sums(view, pitch) for view in views), np.zeros((2, len(YAWS), SECTORS))))


def coverage(view: View) -> tuple[float, float]:
    """Share of a scan's points that land in the image, and in that of a level camera in the mean of its turns."""
    camera, pose = view.camera, view.camera.ego_SE3_cam.copy()
    share = [_seen(transform_points(cam_SE3_lidar(view.sweep, camera), view.scan.sample), camera)[1].mean()]
    for step in range(_LEVEL_TURNS):
        ahead = turn(np.array([0.0, 0, 1]), step * 360 / _LEVEL_TURNS)
        pose[:3, :3] = ahead @ BODY_R_OPTICAL
        level = replace(camera, ego_SE3_cam=pose)
        xyz = transform_points(cam_SE3_lidar(view.sweep, level), view.scan.sample)
        share.append(_seen(xyz, camera)[1].mean())
    return float(share[0]), float(np.mean(share[1:]))
