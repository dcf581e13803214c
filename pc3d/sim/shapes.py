"""Solids under rays: exact intersections and normals, in the local frame of each solid."""

from __future__ import annotations

import numpy as np

from pc3d.sim.primitives import BOX, ELLIPSOID, FOLIAGE, FRUSTUM
from pc3d.storage.compiled import njit

INF = np.inf


@njit(cache=True, error_model="numpy")
def hash3(i: int, j: int, k: int, seed: int) -> int:
    """A well-mixed 32-bit hash of three integers and a seed."""
    h = (i * 0x8DA6B343 + j * 0xD8163841 + k * 0xCB1AB31F + seed * 0x9E3779B1) & 0xFFFFFFFF
    h ^= h >> 15
    h = (h * 0x2C1B3C6D) & 0xFFFFFFFF
    h ^= h >> 12
    h = (h * 0x297A2D39) & 0xFFFFFFFF
    return h ^ (h >> 15)


@njit(cache=True, error_model="numpy")
def _box(a, b, c, front, back, side, ox, oy, oz, dx, dy, dz):
    """Convex clip against six planes; the upright ones may lean inwards towards the top."""
    near, far = -INF, INF
    for face in range(6):
        if face == 0:
            nx, ny, nz, w = 1.0, 0.0, 0.5 * front / c, a - 0.5 * front
        elif face == 1:
            nx, ny, nz, w = -1.0, 0.0, 0.5 * back / c, a - 0.5 * back
        elif face == 2:
            nx, ny, nz, w = 0.0, 1.0, 0.5 * side / c, b - 0.5 * side
        elif face == 3:
            nx, ny, nz, w = 0.0, -1.0, 0.5 * side / c, b - 0.5 * side
        elif face == 4:
            nx, ny, nz, w = 0.0, 0.0, 1.0, c
        else:
            nx, ny, nz, w = 0.0, 0.0, -1.0, c
        gap = w - (nx * ox + ny * oy + nz * oz)
        slope = nx * dx + ny * dy + nz * dz
        if slope < 0.0:
            near = max(near, gap / slope)
        elif slope > 0.0:
            far = min(far, gap / slope)
        elif gap < 0.0:
            return INF
        if near > far:
            return INF
    return near if near > 0.0 else INF


@njit(cache=True, error_model="numpy")
def _frustum(a, b, c, top, ox, oy, oz, dx, dy, dz):
    """Radius 1 at z = -c and `top` at z = c, in units of (a, b), with flat ends."""
    ux, uy, vx, vy = ox / a, oy / b, dx / a, dy / b
    slope = (1.0 - top) / (2.0 * c)
    r0, r1 = 1.0 - slope * (oz + c), -slope * dz
    qa = vx * vx + vy * vy - r1 * r1
    qb = ux * vx + uy * vy - r0 * r1
    qc = ux * ux + uy * uy - r0 * r0
    best = INF
    if qa != 0.0:
        disc = qb * qb - qa * qc
        if disc >= 0.0:
            root = np.sqrt(disc)
            for t in ((-qb - root) / qa, (-qb + root) / qa):
                z = oz + t * dz
                if 0.0 < t < best and -c <= z <= c and r0 + t * r1 >= 0.0:
                    best = t
    if dz != 0.0:
        for z, r in ((-c, 1.0), (c, top)):
            t = (z - oz) / dz
            if 0.0 < t < best and (ux + t * vx) ** 2 + (uy + t * vy) ** 2 <= r * r:
                best = t
    return best


@njit(cache=True, error_model="numpy")
def _ellipsoid(a, b, c, ox, oy, oz, dx, dy, dz):
    """Entry and exit of the ellipsoid with half axes a, b, c; (inf, -inf) where it is missed."""
    ux, uy, uz, vx, vy, vz = ox / a, oy / b, oz / c, dx / a, dy / b, dz / c
    qa = vx * vx + vy * vy + vz * vz
    qb = ux * vx + uy * vy + uz * vz
    disc = qb * qb - qa * (ux * ux + uy * uy + uz * uz - 1.0)
    if disc < 0.0:
        return INF, -INF
    root = np.sqrt(disc)
    return (-qb - root) / qa, (-qb + root) / qa


@njit(cache=True, error_model="numpy")
def leaf_ball(i, j, k, a, b, c, cell, density, boxy, seed):
    """Centre and radius of the leaf ball of a foliage cell; radius 0 where the cell is empty."""
    x, y, z = (i + 0.5) * cell, (j + 0.5) * cell, (k + 0.5) * cell
    h = hash3(i, j, k, seed)
    if (h & 1023) > density * 1024.0:
        return x, y, z, 0.0
    if boxy > 0.0:
        if max(abs(x) - a, abs(y) - b, abs(z) - c) > -0.5 * cell:
            return x, y, z, 0.0
    else:
        ragged = 0.72 + 0.28 * ((hash3(i >> 1, j >> 1, k >> 1, seed + 7) & 255) / 255.0)
        rim = 0.87 * cell  # keeps every ball inside the ellipsoid
        if (x / (a - rim)) ** 2 + (y / (b - rim)) ** 2 + (z / (c - rim)) ** 2 > ragged * ragged:
            return x, y, z, 0.0
    radius = cell * (0.40 + 0.10 * ((h >> 10) & 15) / 15.0)
    slack = 0.5 * cell - radius
    x += slack * (((h >> 14) & 63) / 31.5 - 1.0)
    y += slack * (((h >> 20) & 63) / 31.5 - 1.0)
    z += slack * (((h >> 26) & 63) / 31.5 - 1.0)
    return x, y, z, radius


@njit(cache=True, error_model="numpy")
def _is_leaf(x, y, z, seed):
    """Whether a point of a ball's surface is leaf or a gap, in patches of 8 cm."""
    h = hash3(int(np.floor(x * 12.5)), int(np.floor(y * 12.5)), int(np.floor(z * 12.5)), seed + 3)
    return (h & 255) > 80


@njit(cache=True, error_model="numpy")
def _foliage(a, b, c, cell, density, boxy, seed, ox, oy, oz, dx, dy, dz, limit):
    """First leaf ball along the ray: a walk through the cells (Amanatides and Woo, 1987)."""
    if boxy > 0.0:
        start, end = 0.0, INF
        for o, d, h in ((ox, dx, a), (oy, dy, b), (oz, dz, c)):
            if d == 0.0:
                if abs(o) > h:
                    return INF
            else:
                t0, t1 = (-h - o) / d, (h - o) / d
                start, end = max(start, min(t0, t1)), min(end, max(t0, t1))
    else:
        start, end = _ellipsoid(a, b, c, ox, oy, oz, dx, dy, dz)
        start = max(start, 0.0)
    end = min(end, limit)
    if start >= end:
        return INF
    i = int(np.floor((ox + start * dx) / cell))
    j = int(np.floor((oy + start * dy) / cell))
    k = int(np.floor((oz + start * dz) / cell))
    si, sj, sk = (1 if dx > 0 else -1), (1 if dy > 0 else -1), (1 if dz > 0 else -1)
    ti = ((i + (dx > 0)) * cell - ox) / dx if dx != 0.0 else INF
    tj = ((j + (dy > 0)) * cell - oy) / dy if dy != 0.0 else INF
    tk = ((k + (dz > 0)) * cell - oz) / dz if dz != 0.0 else INF
    wi = cell / abs(dx) if dx != 0.0 else INF
    wj = cell / abs(dy) if dy != 0.0 else INF
    wk = cell / abs(dz) if dz != 0.0 else INF
    qa = dx * dx + dy * dy + dz * dz
    for _ in range(400):
        x, y, z, r = leaf_ball(i, j, k, a, b, c, cell, density, boxy, seed)
        if r > 0.0:
            ex, ey, ez = ox - x, oy - y, oz - z
            qb = ex * dx + ey * dy + ez * dz
            disc = qb * qb - qa * (ex * ex + ey * ey + ez * ez - r * r)
            if disc >= 0.0:
                t = (-qb - np.sqrt(disc)) / qa
                if t > 0.0 and _is_leaf(ox + t * dx, oy + t * dy, oz + t * dz, seed):
                    return t
        if ti <= tj and ti <= tk:
            reached, ti, i = ti, ti + wi, i + si
        elif tj <= tk:
            reached, tj, j = tj, tj + wj, j + sj
        else:
            reached, tk, k = tk, tk + wk, k + sk
        if reached > end:
            return INF
    return INF


@njit(cache=True, error_model="numpy")
def hit(shape, half, par, seed, ox, oy, oz, dx, dy, dz, limit):
    """Distance (in units of |d|) to the solid along a ray in its local frame, inf for a miss.

    A ray that begins inside a closed solid does not see it.
    """
    if shape == BOX:
        return _box(half[0], half[1], half[2], par[0], par[1], par[2], ox, oy, oz, dx, dy, dz)
    if shape == FRUSTUM:
        return _frustum(half[0], half[1], half[2], par[0], ox, oy, oz, dx, dy, dz)
    if shape == ELLIPSOID:
        near, _ = _ellipsoid(half[0], half[1], half[2], ox, oy, oz, dx, dy, dz)
        return near if near > 0.0 else INF
    if shape == FOLIAGE:
        return _foliage(
            half[0], half[1], half[2], par[0], par[1], par[2], seed, ox, oy, oz, dx, dy, dz, limit
        )
    return INF


@njit(cache=True, error_model="numpy")
def normal_at(shape, half, par, seed, x, y, z):
    """Outward unit normal at a point (x, y, z) on the surface of a solid."""
    a, b, c = half[0], half[1], half[2]
    if shape == BOX:
        height = (z + c) / (2.0 * c)
        ends = np.array(
            [
                abs(a - par[0] * height - x),
                abs(a - par[1] * height + x),
                abs(b - par[2] * height - y),
                abs(b - par[2] * height + y),
                abs(c - z),
                abs(c + z),
            ]
        )
        face = np.argmin(ends)
        if face >= 4:
            return 0.0, 0.0, 1.0 if face == 4 else -1.0
        lean = 0.5 * (par[face] if face < 2 else par[2]) / c
        scale = 1.0 / np.sqrt(1.0 + lean * lean)
        side = scale if face % 2 == 0 else -scale
        return (side, 0.0, lean * scale) if face < 2 else (0.0, side, lean * scale)
    if shape == FRUSTUM:
        radius = np.sqrt((x / a) ** 2 + (y / b) ** 2)
        slope = (1.0 - par[0]) / (2.0 * c)
        if abs(abs(z) - c) < abs(radius - (1.0 - slope * (z + c))) * a:
            return 0.0, 0.0, 1.0 if z > 0 else -1.0
        nx, ny, nz = x / (a * a), y / (b * b), radius * slope
    elif shape == ELLIPSOID:
        nx, ny, nz = x / (a * a), y / (b * b), z / (c * c)
    else:
        cell = par[0]
        i, j, k = int(np.floor(x / cell)), int(np.floor(y / cell)), int(np.floor(z / cell))
        bx, by, bz, _ = leaf_ball(i, j, k, a, b, c, cell, par[1], par[2], seed)
        nx, ny, nz = x - bx, y - by, z - bz
    scale = 1.0 / max(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-12)
    return nx * scale, ny * scale, nz * scale
