"""The cameras: one exact ray per pixel centre, sun, shadow, sky and textures."""

from __future__ import annotations

import numpy as np

from pc3d.sim import primitives as p
from pc3d.sim.categories import SKY
from pc3d.sim.ground_paint import paint_ground, paint_sky
from pc3d.sim.layout import GROUND_LABELS, to_street
from pc3d.sim.raycast import GROUND, NOTHING, Hits, cast_camera
from pc3d.sim.shapes import hash3, normal_at
from pc3d.sim.sun import CELL
from pc3d.sim.textures import paint_solid
from pc3d.sim.types import CameraShot, Float, SimScene
from pc3d.sim.world import World
from pc3d.storage.compiled import njit

REACH = 400.0


def palette(seed: int) -> Float:
    """(8, 3) ground colours of a scene, in the row order of `pc3d.sim.ground_paint`."""
    rng = np.random.default_rng([seed, 0xC0105])
    grey = rng.uniform(0.36, 0.56)
    warm = rng.normal(0.008, 0.01)
    paving = np.array([[0.62, 0.60, 0.56], [0.55, 0.44, 0.36], [0.50, 0.50, 0.51], [0.66, 0.55, 0.42]])
    grass = np.array([[0.28, 0.38, 0.14], [0.36, 0.42, 0.16], [0.22, 0.32, 0.13], [0.45, 0.42, 0.20]])
    return np.array(
        [
            [grey + warm, grey, grey - warm],
            paving[rng.integers(4)] * rng.uniform(0.75, 1.15),
            grass[rng.integers(4)] * rng.uniform(0.8, 1.2),
            np.array([0.55, 0.46, 0.30]) * rng.uniform(0.7, 1.1),
            np.array([[0.60, 0.36, 0.28], [0.55, 0.53, 0.50], [0.62, 0.56, 0.44]])[rng.integers(3)],
            np.array([0.88, 0.88, 0.85]),
            np.array([0.85, 0.66, 0.16]),
            np.array([0.68, 0.67, 0.64]),
        ]
    )


@njit(cache=True, error_model="numpy")
def _sunlit(axes, start, height, x, y, z):
    """Share of the sun that reaches a world point, from the four texels round it."""
    dx, dy, dz = x - start[0], y - start[1], z - start[2]
    u = (axes[0, 0] * dx + axes[1, 0] * dy + axes[2, 0] * dz) / CELL
    v = (axes[0, 1] * dx + axes[1, 1] * dy + axes[2, 1] * dz) / CELL
    w = axes[0, 2] * dx + axes[1, 2] * dy + axes[2, 2] * dz + 0.12
    i, j = int(np.floor(v)), int(np.floor(u))
    if i < 0 or j < 0 or i + 1 >= height.shape[0] or j + 1 >= height.shape[1]:
        return 1.0
    fv, fu = v - i, u - j
    light = (1 - fv) * ((1 - fu) * (height[i, j] < w) + fu * (height[i, j + 1] < w))
    return light + fv * ((1 - fu) * (height[i + 1, j] < w) + fu * (height[i + 1, j + 1] < w))


@njit(cache=True, error_model="numpy")
def _shade(
    depth, what, code, kerb, directions, turn, eye, focal, solids, ground, bays, colours,
    sky, sun_axes, sun_start, sun_height, clouds, seed, linear, labels, instances,
):  # fmt: skip
    """Fill the linear image, labels and instances (flat pixel buffers)."""
    pos, rot, half, par, shape, seeds, material, colour, colour2, label, instance, ground_labels = solids
    s, cross = ground[0], ground[1]
    sun_colour, sky_colour, horizon, zenith = sky[0], sky[1], sky[2], sky[3]
    out, glow = np.empty(3), np.empty(3)
    for n in range(len(depth)):
        x, y, z = directions[n]
        dx = turn[0, 0] * x + turn[0, 1] * y + turn[0, 2] * z
        dy = turn[1, 0] * x + turn[1, 1] * y + turn[1, 2] * z
        dz = turn[2, 0] * x + turn[2, 1] * y + turn[2, 2] * z
        length = np.sqrt(dx * dx + dy * dy + dz * dz)
        t, h = depth[n], what[n]
        instances[n] = -1
        if h == NOTHING:
            labels[n] = SKY
            paint_sky(
                dx / length,
                dy / length,
                dz / length,
                sun_axes[:, 2],
                sun_colour,
                horizon,
                zenith,
                clouds,
                seed,
                out,
            )
            for a in range(3):
                linear[n, a] = out[a] * out[a]
            continue
        px, py, pz = eye[0] + t * dx, eye[1] + t * dy, eye[2] + t * dz
        pixel = max(t * length / focal, 0.004)
        glass, bright = 0.0, 0.0
        if h == GROUND:
            labels[n] = ground_labels[code[n]]
            nx, ny, nz = 0.0, 0.0, 1.0
            sx, sy = to_street(s, px, py)
            slant = min(6.0, length / max(0.02, -dz))
            paint_ground(
                s, cross, bays, colours, code[n], kerb[n], sx, sy, pz, pixel * np.sqrt(slant), seed, out
            )
            if kerb[n]:
                flat = np.sqrt(dx * dx + dy * dy)
                nx, ny, nz = -dx / flat, -dy / flat, 0.0
        else:
            labels[n] = label[h]
            instances[n] = instance[h]
            r = rot[h]
            gx, gy, gz = px - pos[h, 0], py - pos[h, 1], pz - pos[h, 2]
            lx = r[0, 0] * gx + r[1, 0] * gy + r[2, 0] * gz
            ly = r[0, 1] * gx + r[1, 1] * gy + r[2, 1] * gz
            lz = r[0, 2] * gx + r[1, 2] * gy + r[2, 2] * gz
            mx, my, mz = normal_at(shape[h], half[h], par[h], seeds[h], lx, ly, lz)
            glass = paint_solid(
                material[h], shape[h], half[h], par[h], seeds[h], colour[h], colour2[h],
                lx, ly, lz, mx, my, mz, pz, pixel, out,
            )  # fmt: skip
            nx = r[0, 0] * mx + r[0, 1] * my + r[0, 2] * mz
            ny = r[1, 0] * mx + r[1, 1] * my + r[1, 2] * mz
            nz = r[2, 0] * mx + r[2, 1] * my + r[2, 2] * mz
            if material[h] == p.LEAVES:  # a crown is lit as a whole, not ball by ball
                mx, my, mz = (
                    0.3 * mx + lx / half[h, 0],
                    0.3 * my + ly / half[h, 1],
                    0.3 * mz + lz / half[h, 2],
                )
                size = max(np.sqrt(mx * mx + my * my + mz * mz), 1e-6)
                nx = (r[0, 0] * mx + r[0, 1] * my + r[0, 2] * mz) / size
                ny = (r[1, 0] * mx + r[1, 1] * my + r[1, 2] * mz) / size
                nz = (r[2, 0] * mx + r[2, 1] * my + r[2, 2] * mz) / size
            elif material[h] == p.HEADLIGHT or material[h] == p.TAILLIGHT:
                bright = 0.5
        facing = nx * sun_axes[0, 2] + ny * sun_axes[1, 2] + nz * sun_axes[2, 2]
        direct = 0.0
        if facing > 0.0:
            direct = facing * _sunlit(
                sun_axes, sun_start, sun_height, px + 0.15 * nx, py + 0.15 * ny, pz + 0.15 * nz
            )
        if glass > 0.0:
            along = 2.0 * (dx * nx + dy * ny + dz * nz)
            rx, ry, rz = (dx - along * nx) / length, (dy - along * ny) / length, (dz - along * nz) / length
            fresnel = glass * (0.12 + 0.7 * (1.0 - min(1.0, abs(along / (2.0 * length)))) ** 3)
            if rz > 0.0:
                paint_sky(rx, ry, rz, sun_axes[:, 2], sun_colour, horizon, zenith, clouds, seed, glow)
            else:
                for a in range(3):
                    glow[a] = 0.25
            shine = max(0.0, rx * sun_axes[0, 2] + ry * sun_axes[1, 2] + rz * sun_axes[2, 2]) ** 60
        ambient = 0.42 * (0.62 + 0.38 * nz) * (0.75 + 0.25 * min(1.0, pz / 1.5) if nz < 0.5 else 1.0)
        haze = 1.0 - np.exp(-t * length / 600.0)
        for a in range(3):
            light = ambient * sky_colour[a] * 1.6 + direct * sun_colour[a] * 1.15
            value = out[a] * out[a] * (light + bright)
            if glass > 0.0:
                value += fresnel * glow[a] * glow[a] + 0.5 * glass * shine * (direct > 0.0)
            linear[n, a] = value + haze * (horizon[a] * horizon[a] - value)


@njit(cache=True, error_model="numpy")
def _develop(linear, exposure, seed, rgb):
    """Linear light to 8 bits: a slight blur as of a lens, tone curve, vignette, sensor noise."""
    rows, columns, _ = linear.shape
    for r in range(rows):
        up, down = max(r - 1, 0), min(r + 1, rows - 1)
        for c in range(columns):
            left, right = max(c - 1, 0), min(c + 1, columns - 1)
            off = ((r / rows - 0.5) ** 2 + (c / columns - 0.5) ** 2) * 0.35
            h = hash3(r, c, 3, seed)
            dither = ((h & 255) + ((h >> 8) & 255) - 255) / 255.0
            for a in range(3):
                near = linear[up, c, a] + linear[down, c, a] + linear[r, left, a] + linear[r, right, a]
                value = (0.52 * linear[r, c, a] + 0.12 * near) * exposure * (1.0 - off)
                value = np.sqrt(value / (1.0 + 0.18 * value) * 1.12)
                rgb[r, c, a] = np.uint8(min(255.0, max(0.0, 255.0 * value + 2.2 * dither + 0.5)))


def rays(intrinsics: Float, size: tuple[int, int]) -> Float:
    """(H * W, 3) directions of the pixel centres (integer + 0.5) in the camera frame, z = 1."""
    width, height = size
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x = (u - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (v - intrinsics[1, 2]) / intrinsics[1, 1]
    return np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3)


def trace(
    world: World, pose: Float, intrinsics: Float, size: tuple[int, int], time: float
) -> tuple[Hits, p.Primitives]:
    """What each pixel of a camera at `pose` ((4, 4) world_SE3_cam) meets, and the solids at `time`."""
    width, height = size
    hits = Hits.of_ground(world.ground, rays(intrinsics, size), pose)
    solids = world.solids(time)
    cast_camera(
        *solids.geometry(), hits.turn, hits.eye, intrinsics, REACH,
        hits.depth.reshape(height, width), hits.what.reshape(height, width),
    )  # fmt: skip
    return hits, solids


def shoot(scene: SimScene, time: float, camera: str) -> CameraShot:
    """One image of the scene's `camera` at `time` (s), with per-pixel truth.

    Raises:
        KeyError: if the rig has no such camera; names the ones it has.
    """
    if camera not in scene.rig.cameras:
        raise KeyError(f"no camera {camera!r}; the rig has {', '.join(scene.rig.cameras)}")
    world: World = scene.world  # type: ignore[assignment]
    ego_SE3_cam, intrinsics = scene.rig.cameras[camera]
    width, height = size = scene.rig.image_size
    hits, solids = trace(world, world.ego_pose(time) @ ego_SE3_cam, intrinsics, size, time)
    shadows, light = world.sun_map.with_solids(world.movers(time)), world.light
    linear = np.empty((height * width, 3), np.float32)
    labels, instances = np.empty(height * width, np.uint8), np.empty(height * width, np.int32)
    look = (*solids.geometry(), solids.material, solids.colour, solids.colour2, solids.label, solids.instance)
    _shade(
        hits.depth, hits.what, hits.code, hits.kerb, rays(intrinsics, size), hits.turn, hits.eye,
        intrinsics[0, 0], (*look, GROUND_LABELS), world.ground, world.plan.bays, palette(world.seed),
        np.stack([light.sun_colour, light.sky_colour, light.horizon, light.zenith]),
        shadows.axes, shadows.start, shadows.height, light.clouds, int(world.seed), linear, labels, instances,
    )  # fmt: skip
    rgb = np.empty((height, width, 3), np.uint8)
    noise_seed = int(world.seed * 7919 + round(time * 1000) + sum(map(ord, camera)))
    _develop(linear.reshape(height, width, 3), light.exposure, noise_seed, rgb)
    return CameraShot(
        rgb,
        labels.reshape(height, width),
        instances.reshape(height, width),
        hits.depth.reshape(height, width).astype(np.float32),
    )
