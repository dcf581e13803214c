"""The ray casters of the LiDAR, the cameras and the sun.

There is no tree: each caster bounds a solid in its own ray grid (ring and column of the LiDAR,
pixel of a camera, texel of the sun's map) and tries only the rays inside the bounds, near solids
first. All sensors share `hit`, so they see the same surfaces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pc3d.sim.layout import hit_ground
from pc3d.sim.shapes import INF, hit
from pc3d.sim.types import Float
from pc3d.storage.compiled import njit

GROUND = -1
NOTHING = -2


@njit(cache=True, error_model="numpy")
def _corners(pos, rot, half, sensor_rot, sensor_pos, out):
    """The eight corners of a solid's bounding box in the sensor frame (columns of rot are axes)."""
    for n in range(8):
        lx = half[0] if n & 1 else -half[0]
        ly = half[1] if n & 2 else -half[1]
        lz = half[2] if n & 4 else -half[2]
        wx = pos[0] + rot[0, 0] * lx + rot[0, 1] * ly + rot[0, 2] * lz - sensor_pos[0]
        wy = pos[1] + rot[1, 0] * lx + rot[1, 1] * ly + rot[1, 2] * lz - sensor_pos[1]
        wz = pos[2] + rot[2, 0] * lx + rot[2, 1] * ly + rot[2, 2] * lz - sensor_pos[2]
        for a in range(3):
            out[n, a] = sensor_rot[0, a] * wx + sensor_rot[1, a] * wy + sensor_rot[2, a] * wz


@njit(cache=True, error_model="numpy")
def _local(pos, rot, sensor_rot, sensor_pos, origin, turn):
    """Sensor origin and the rotation sensor -> local of one solid."""
    for a in range(3):
        origin[a] = (
            rot[0, a] * (sensor_pos[0] - pos[0])
            + rot[1, a] * (sensor_pos[1] - pos[1])
            + rot[2, a] * (sensor_pos[2] - pos[2])
        )
        for b in range(3):
            turn[a, b] = (
                rot[0, a] * sensor_rot[0, b] + rot[1, a] * sensor_rot[1, b] + rot[2, a] * sensor_rot[2, b]
            )


@njit(cache=True, error_model="numpy")
def _least_distance(half, o):
    """Distance from a local point to the bounding box."""
    total = 0.0
    for a in range(3):
        d = max(abs(o[a]) - half[a], 0.0)
        total += d * d
    return np.sqrt(total)


@njit(cache=True, error_model="numpy")
def near_first(pos, rot, half, eye):
    """Order of the solids by the distance of their bounding boxes, and the distances."""
    n = len(pos)
    distance = np.empty(n)
    o = np.empty(3)
    for i in range(n):
        for a in range(3):
            o[a] = (
                rot[i, 0, a] * (eye[0] - pos[i, 0])
                + rot[i, 1, a] * (eye[1] - pos[i, 1])
                + rot[i, 2, a] * (eye[2] - pos[i, 2])
            )
        distance[i] = _least_distance(half[i], o)
    return np.argsort(distance), distance


@njit(cache=True, error_model="numpy")
def cast_ground(ground, directions, sensor_rot, eye, depth, what, code, kerb):
    """Fill the flat ray buffers with the ground: rays `directions` (N, 3) in the sensor frame."""
    s, cross, parks, lots = ground
    for n in range(len(directions)):
        x, y, z = directions[n]
        dx = sensor_rot[0, 0] * x + sensor_rot[0, 1] * y + sensor_rot[0, 2] * z
        dy = sensor_rot[1, 0] * x + sensor_rot[1, 1] * y + sensor_rot[1, 2] * z
        dz = sensor_rot[2, 0] * x + sensor_rot[2, 1] * y + sensor_rot[2, 2] * z
        t, c, face = hit_ground(s, cross, parks, lots, eye[0], eye[1], eye[2], dx, dy, dz)
        depth[n] = t
        what[n] = NOTHING if t == INF else GROUND
        code[n] = c
        kerb[n] = face


@njit(cache=True, error_model="numpy")
def cast_lidar(
    pos, rot, half, par, shape, seed, sensor_rot, eye, directions, low, step, first, reach, depth, what
):
    """Nearest solid of each LiDAR ray; buffers (columns, rings) hold the ground on entry.

    Rings rise from elevation `low` by `step`; columns turn clockwise from azimuth `first` (rad).
    """
    columns, rings = depth.shape
    turn, origin, corner = np.empty((3, 3)), np.empty(3), np.empty((8, 3))
    order, nearest = near_first(pos, rot, half, eye)
    width = 2.0 * np.pi / columns
    for i in order:
        if nearest[i] > reach:
            break
        _corners(pos[i], rot[i], half[i], sensor_rot, eye, corner)
        top, bottom, far = -INF, INF, 0.0
        mx, my = corner[:, 0].mean(), corner[:, 1].mean()
        middle = np.arctan2(my, mx)
        left, right = 0.0, 0.0
        for n in range(8):
            x, y, z = corner[n]
            top, bottom, far = max(top, z), min(bottom, z), max(far, x * x + y * y + z * z)
            swing = (np.arctan2(y, x) - middle + 3.0 * np.pi) % (2.0 * np.pi) - np.pi
            left, right = max(left, swing), min(right, swing)
        far = np.sqrt(far)
        near = max(nearest[i], 1e-6)
        up = np.arcsin(max(-1.0, min(1.0, top / (near if top > 0.0 else far))))
        down = np.arcsin(max(-1.0, min(1.0, bottom / (near if bottom < 0.0 else far))))
        r0 = max(0, int(np.ceil((down - low) / step)))
        r1 = min(rings - 1, int(np.floor((up - low) / step)))
        if r0 > r1:
            continue
        if left - right >= np.pi:
            c0, count = 0, columns
        else:
            c0 = int(np.ceil((first - middle - left) / width))
            count = int(np.floor((first - middle - right) / width)) - c0 + 1
        _local(pos[i], rot[i], sensor_rot, eye, origin, turn)
        for m in range(count):
            c = (c0 + m) % columns
            for r in range(r0, r1 + 1):
                if depth[c, r] <= nearest[i]:
                    continue
                x, y, z = directions[c * rings + r]
                t = hit(
                    shape[i],
                    half[i],
                    par[i],
                    seed[i],
                    origin[0],
                    origin[1],
                    origin[2],
                    turn[0, 0] * x + turn[0, 1] * y + turn[0, 2] * z,
                    turn[1, 0] * x + turn[1, 1] * y + turn[1, 2] * z,
                    turn[2, 0] * x + turn[2, 1] * y + turn[2, 2] * z,
                    depth[c, r],
                )
                if t < depth[c, r]:
                    depth[c, r] = t
                    what[c, r] = i


@njit(cache=True, error_model="numpy")
def _pixel_bounds(corner, fx, fy, cx, cy, width, height):
    """Columns and rows (first, last) whose pixel centres may see a box; empty if last < first."""
    near = 0.05
    u0, v0, u1, v1 = INF, INF, -INF, -INF
    for n in range(8):
        x, y, z = corner[n]
        if z >= near:
            u, v = fx * x / z + cx, fy * y / z + cy
            u0, u1, v0, v1 = min(u0, u), max(u1, u), min(v0, v), max(v1, v)
        for bit in (1, 2, 4):  # where an edge crosses the near plane
            other = n ^ bit
            if other > n and (z < near) != (corner[other, 2] < near):
                k = (near - z) / (corner[other, 2] - z)
                u = fx * (x + k * (corner[other, 0] - x)) / near + cx
                v = fy * (y + k * (corner[other, 1] - y)) / near + cy
                u0, u1, v0, v1 = min(u0, u), max(u1, u), min(v0, v), max(v1, v)
    if u1 < u0 or u1 < 0.0 or v1 < 0.0 or u0 > width or v0 > height:
        return 0, -1, 0, -1
    return (
        int(max(np.floor(u0 - 0.5), 0.0)),
        int(min(np.ceil(u1 - 0.5), width - 1.0)),
        int(max(np.floor(v0 - 0.5), 0.0)),
        int(min(np.ceil(v1 - 0.5), height - 1.0)),
    )


@njit(cache=True, error_model="numpy")
def cast_camera(pos, rot, half, par, shape, seed, sensor_rot, eye, intrinsics, reach, depth, what):
    """Nearest solid of each pixel; buffers (height, width) hold the ground on entry.

    Rays have z = 1 in the camera frame: depth runs along the optical axis.
    """
    height, width = depth.shape
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    turn, origin, corner = np.empty((3, 3)), np.empty(3), np.empty((8, 3))
    order, nearest = near_first(pos, rot, half, eye)
    for i in order:
        if nearest[i] > reach:
            break
        _corners(pos[i], rot[i], half[i], sensor_rot, eye, corner)
        c0, c1, r0, r1 = _pixel_bounds(corner, fx, fy, cx, cy, width, height)
        closest = max(corner[:, 2].min(), 0.0)
        _local(pos[i], rot[i], sensor_rot, eye, origin, turn)
        for r in range(r0, r1 + 1):
            y = (r + 0.5 - cy) / fy
            for c in range(c0, c1 + 1):
                if depth[r, c] <= closest:
                    continue
                x = (c + 0.5 - cx) / fx
                t = hit(
                    shape[i],
                    half[i],
                    par[i],
                    seed[i],
                    origin[0],
                    origin[1],
                    origin[2],
                    turn[0, 0] * x + turn[0, 1] * y + turn[0, 2],
                    turn[1, 0] * x + turn[1, 1] * y + turn[1, 2],
                    turn[2, 0] * x + turn[2, 1] * y + turn[2, 2],
                    depth[r, c],
                )
                if t < depth[r, c]:
                    depth[r, c] = t
                    what[r, c] = i


@njit(cache=True, error_model="numpy")
def cast_sun(pos, rot, half, par, shape, seed, axes, start, cell, height):
    """Raise `height` (rows, columns): distance towards the sun of the solid nearest to it.

    Texel (r, c) is the line through start + cell * (c axes[:, 0] + r axes[:, 1]) along axes[:, 2],
    the direction to the sun; heights count from `start` along it.
    """
    rows, columns = height.shape
    turn, origin, corner = np.empty((3, 3)), np.empty(3), np.empty((8, 3))
    for i in range(len(pos)):
        _corners(pos[i], rot[i], half[i], axes, start, corner)
        c0 = max(0, int(np.ceil(corner[:, 0].min() / cell)))
        c1 = min(columns - 1, int(np.floor(corner[:, 0].max() / cell)))
        r0 = max(0, int(np.ceil(corner[:, 1].min() / cell)))
        r1 = min(rows - 1, int(np.floor(corner[:, 1].max() / cell)))
        top = corner[:, 2].max() + 1.0
        _local(pos[i], rot[i], axes, start, origin, turn)
        for r in range(r0, r1 + 1):
            for c in range(c0, c1 + 1):
                if height[r, c] >= top - 1.0:
                    continue
                x, y = c * cell, r * cell
                t = hit(
                    shape[i],
                    half[i],
                    par[i],
                    seed[i],
                    origin[0] + turn[0, 0] * x + turn[0, 1] * y + turn[0, 2] * top,
                    origin[1] + turn[1, 0] * x + turn[1, 1] * y + turn[1, 2] * top,
                    origin[2] + turn[2, 0] * x + turn[2, 1] * y + turn[2, 2] * top,
                    -turn[0, 2],
                    -turn[1, 2],
                    -turn[2, 2],
                    INF,
                )
                if top - t > height[r, c]:
                    height[r, c] = top - t


@dataclass(frozen=True, eq=False)
class Hits:
    """What N rays of a sensor meet; made with the ground, the casters add the solids.

    Attributes:
        turn, eye: rotation (3, 3) and position (3,) of the sensor in the world.
        depth: (N,) distance along each ray in units of its direction, inf for none.
        what: (N,) index of the solid, `GROUND` or `NOTHING`.
        code: (N,) ground code below. kerb: (N,) whether the ground is hit on a kerb's face.
    """

    turn: Float
    eye: Float
    depth: Float
    what: NDArray[np.int64]
    code: NDArray[np.int64]
    kerb: NDArray[np.bool_]

    @staticmethod
    def of_ground(ground: tuple[Float, ...], directions: Float, pose: Float) -> Hits:
        """Hits of rays (N, 3) of a sensor at `pose` ((4, 4) to the world) with the ground alone."""
        n = len(directions)
        hits = Hits(
            np.ascontiguousarray(pose[:3, :3]),
            pose[:3, 3].copy(),
            np.empty(n),
            np.empty(n, np.int64),
            np.empty(n, np.int64),
            np.empty(n, np.bool_),
        )
        cast_ground(ground, directions, hits.turn, hits.eye, hits.depth, hits.what, hits.code, hits.kerb)
        return hits
