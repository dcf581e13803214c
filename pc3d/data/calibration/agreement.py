"""How well the edges of scans lie on the edges of images, for a calibration and for turned ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pc3d.data.calibration.edges import FULL_WEIGHT, SECTORS, Scan
from pc3d.data.pairing import cam_SE3_lidar
from pc3d.data.records import Camera, Float64, Sweep
from pc3d.geometry.camera import in_image, project
from pc3d.geometry.lens import bent
from pc3d.geometry.rigid import transform_points
from pc3d.storage.compiled import njit

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


def turn(axis: Float64, degrees: float | Float64) -> Float64:
    """(..., 3, 3) rotations about a unit axis (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)[..., None, None]
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


@njit(cache=True)
def _accumulate(xyz, turns, K, lens, max_radius2, size, image, weight, sector, sums):  # type: ignore[no-untyped-def]
    """Add what (N, 3) edges in the camera frame see under each of (Y, 3, 3) turns to (2, Y, SECTORS) sums."""
    lines, columns = image.shape
    for t in range(len(turns)):
        for n in range(len(xyz)):
            z = turns[t, 2, 0] * xyz[n, 0] + turns[t, 2, 1] * xyz[n, 1] + turns[t, 2, 2] * xyz[n, 2]
            if z < 1:
                continue
            a = (turns[t, 0, 0] * xyz[n, 0] + turns[t, 0, 1] * xyz[n, 1] + turns[t, 0, 2] * xyz[n, 2]) / z
            b = (turns[t, 1, 0] * xyz[n, 0] + turns[t, 1, 1] * xyz[n, 1] + turns[t, 1, 2] * xyz[n, 2]) / z
            if a * a + b * b > max_radius2:
                continue
            bent_a, bent_b = bent(a, b, lens)
            u = (K[0, 0] * bent_a + K[0, 1] * bent_b + K[0, 2]) / size[0] * columns
            v = (K[1, 0] * bent_a + K[1, 1] * bent_b + K[1, 2]) / size[1] * lines
            if 0 <= u < columns and 0 <= v < lines:
                sums[0, t, sector[n]] += weight[n] * image[int(v), int(u)]
                sums[1, t, sector[n]] += weight[n]


def _reach(camera: Camera) -> float:
    """Radians from the optical axis beyond which no turn brings a point into the image."""
    if not camera.lens.is_pinhole:
        return float(np.pi)
    corner = np.maximum(camera.intrinsics[:2, 2], camera.size - camera.intrinsics[:2, 2])
    half = np.arctan(np.linalg.norm(corner / np.diag(camera.intrinsics)[:2]))
    return float(min(np.pi, half + np.radians(YAWS[-1] + 1)))


def edge_sums(view: View) -> Float64:
    """(2, Y, SECTORS) of a view under the turns of `YAWS`, over the scan's edges in the image.

    Weight * strength of the image there, and weight. Sums of several views can be added.
    """
    camera, scan = view.camera, view.scan
    up = camera.ego_SE3_cam[2, :3]  # of the ego frame, in the camera's
    turns = turn(up, -YAWS)
    sums = np.zeros((2, len(YAWS), SECTORS))
    xyz = transform_points(cam_SE3_lidar(view.sweep, camera), scan.edges)
    near = xyz[:, 2] > np.cos(_reach(camera)) * np.linalg.norm(xyz, axis=1)
    optics = (camera.intrinsics, camera.lens.row, camera.lens.radius**2, camera.size)
    _accumulate(xyz[near], turns, *optics, view.image, scan.weight[near], scan.sector[near], sums)
    return sums


@dataclass(frozen=True)
class Clearness:
    """How clearly the edges of scans and images meet.

    Attributes:
        z: the agreement in standard deviations of that at turns by more than `_PEAK`, where edges meet by
            chance: about 0 for a wrong calibration, and where there is nothing to see.
        sectors: the same evidence by sectors, its sum in units of their spread: low if it is of one thing.
        yaw: degrees to the left that the camera is turned by.
        edges: of scans in the images, at most turns.
        strength: of the images there, in the mean: low where they are dark or blank.
    """

    z: float = 0.0
    sectors: float = 0.0
    yaw: float = 0.0
    edges: float = 0.0
    strength: float = 0.0


def clearest(sums: Float64, within: float) -> Clearness:
    """The clearest turn of at most `within` degrees, of (2, Y, SECTORS) `edge_sums`."""
    strength, weight = sums.sum(axis=2)
    enough = weight >= MIN_EDGES * FULL_WEIGHT
    mean = strength / np.where(enough, weight, 1)
    seen = float(np.median(weight)) / FULL_WEIGHT, float(strength.sum() / max(weight.sum(), 1e-6))
    best = Clearness(0.0, 0.0, 0.0, *seen)
    for at in np.flatnonzero(enough & (np.abs(YAWS) <= within)):
        others = enough & (np.abs(YAWS - YAWS[at]) > _PEAK)
        if others.sum() < _CHANCES:
            continue
        chance = np.average(mean[others], weights=weight[others])
        spread = np.sqrt(np.mean((mean[others] - chance) ** 2 * weight[others]))
        z = float((mean[at] - chance) * np.sqrt(weight[at]) / max(spread, 1e-6))
        if z > best.z:
            more = sums[0, at] - chance * sums[1, at]
            best = Clearness(z, float(more.sum() / np.sqrt((more**2).sum())), float(YAWS[at]), *seen)
    return best


def _seen(view: View, camera: Camera) -> float:
    if not len(view.scan.sample):
        return 0.0
    xyz = transform_points(cam_SE3_lidar(view.sweep, camera), view.scan.sample)
    uv, depth = project(xyz, camera.intrinsics, camera.lens)
    return float(((depth > 0) & in_image(uv, camera.size)).mean())


def coverage(view: View) -> tuple[float, float]:
    """Share of the points that land in the image, and in a level one in the mean of all directions."""
    camera, pose = view.camera, view.camera.ego_SE3_cam.copy()
    share = [_seen(view, camera)]
    for step in range(_LEVEL_TURNS):
        ahead = turn(np.array([0.0, 0, 1]), step * 360 / _LEVEL_TURNS)
        pose[:3, :3] = ahead @ BODY_R_OPTICAL
        level = replace(camera, ego_SE3_cam=pose)
        share.append(_seen(view, level))
    return share[0], float(np.mean(share[1:]))
