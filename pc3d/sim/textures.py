"""Colours of solids: what a material looks like at a point of a solid's surface.

Colours of objects vary freely, and the pattern, not the colour, tells what a thing is.
"""

from __future__ import annotations

import numpy as np

from pc3d.sim import primitives as p
from pc3d.sim.noise import band, fade, grain, speck
from pc3d.storage.compiled import njit


@njit(cache=True, error_model="numpy")
def _mix(out, colour, k):
    for a in range(3):
        out[a] += k * (colour[a] - out[a])


@njit(cache=True, error_model="numpy")
def _grey(out, value, k):
    for a in range(3):
        out[a] += k * (value - out[a])


@njit(cache=True, error_model="numpy")
def _scale(out, k):
    for a in range(3):
        out[a] *= k


@njit(cache=True, error_model="numpy")
def _glass(out, tone):
    out[0], out[1], out[2] = 0.10 + 0.10 * tone, 0.13 + 0.12 * tone, 0.16 + 0.14 * tone


@njit(cache=True, error_model="numpy")
def _wall(u, v, brick, pixel, seed, out):
    """Masonry, or stained render."""
    stain = 0.88 + 0.2 * grain(u * 0.35, v * 0.9, seed) + 0.08 * (grain(u * 3.0, v * 3.0, seed + 1) - 0.5)
    if brick:
        row = int(np.floor(v / 0.14))
        x = u + 0.19 * (row % 2)
        column = int(np.floor(x / 0.38))
        detail = fade(0.14, pixel)
        stain *= 1.0 + detail * 0.4 * (speck(column, row, 3, seed) - 0.5)
        joint = min(
            min(x - column * 0.38, (column + 1) * 0.38 - x), min(v - row * 0.14, (row + 1) * 0.14 - v)
        )
        _grey(out, 0.72, 0.55 * detail * band(joint, 0.014, pixel))
    else:
        stain += fade(0.05, pixel) * 0.10 * (speck(int(u * 30), int(v * 30), 2, seed) - 0.5)
        panel = min(u % 2.4, v % 1.6)
        stain *= 1.0 - 0.18 * band(panel, 0.02, pixel)
    _scale(out, stain)


@njit(cache=True, error_model="numpy")
def _facade(u, v, brick, pixel, seed, colour2, out):
    """Wall with windows; returns how much of the point is glass."""
    storey = 3.0 + 0.6 * speck(1, 0, 0, seed)
    bay = 1.7 + 1.8 * speck(2, 0, 0, seed)
    style = speck(3, 0, 0, seed)
    wide, tall = (0.30, 0.29) if brick else ((0.46, 0.30) if style < 0.4 else (0.36, 0.34 + 0.1 * style))
    i, j = int(np.floor(u / bay)), int(np.floor(v / storey))
    x, y = u / bay - i - 0.5, v / storey - j - 0.55
    edge = min((wide - abs(x)) * bay, (tall - abs(y)) * storey)
    _wall(u, v, brick, pixel, seed, out)
    if edge < -0.16:
        if not brick and y < -0.42:
            _scale(out, 0.85)
        return 0.0
    if edge < 0.0:  # surround and sill
        _mix(out, colour2, 0.8)
        return 0.0
    cross_bar = min(abs(x) * bay, abs(y + 0.08) * storey)
    if edge < 0.06 or band(cross_bar, 0.03, pixel) > 0.5:
        _grey(out, 0.85 if style > 0.5 else 0.2, 0.85)
        return 0.0
    room = speck(i, j, 5, seed)
    _glass(out, room)
    if room > 0.55 and y > 0.30 - 0.5 * speck(i, j, 6, seed):  # blind
        _grey(out, 0.65 + 0.2 * room, 0.8)
        _scale(out, 0.85 + 0.15 * (1.0 if (v * 12.0) % 1.0 > 0.4 else 0.0))
        return 0.2
    return 1.0


@njit(cache=True, error_model="numpy")
def _shopfront(u, v, pixel, seed, colour2, out):
    bay = 2.2 + 1.5 * speck(4, 0, 0, seed)
    i = int(np.floor(u / bay))
    x = u - i * bay
    if v > 2.9:  # name board with blocks like letters
        shop = int(np.floor(u / (2 * bay)))
        for a in range(3):
            out[a] = 0.15 + 0.7 * speck(shop, a, 9, seed)
        lettered = 3.05 < v < 3.55 and 0.6 < u - shop * 2 * bay < 2 * bay - 0.6
        if lettered and speck(int(u * 9.0), int(v * 9.0), 10, seed) > 0.45:
            _grey(out, 0.95, 0.85)
        return 0.0
    if v < 0.5 or min(x, bay - x) < 0.12:
        _mix(out, colour2, 0.6)
        return 0.0
    goods = speck(int(u * 3.0), int(v * 2.0), i, seed)
    _glass(out, goods)
    if goods > 0.6 and v < 2.0:
        for a in range(3):
            out[a] = 0.25 + 0.5 * speck(int(u * 3.0), int(v * 2.0), a + 20, seed)
    return 0.7


@njit(cache=True, error_model="numpy")
def _vehicle(material, x, y, z, nx, ny, nz, half, colour, colour2, pixel, seed, out):
    """Paintwork, cabins and bus windows; returns how glassy the point is."""
    a, b, c = half[0], half[1], half[2]
    if material == p.PAINT:
        if colour2[0] != colour[0] and z < -0.2 * c and abs(ny) > 0.5:
            _mix(out, colour2, 1.0)
        if abs(ny) > 0.6 and a > 1.0:  # door gaps and handles
            gap = min(abs(x - 0.28 * a), min(abs(x + 0.12 * a), abs(x + 0.5 * a)))
            _scale(out, 1.0 - 0.6 * band(gap, 0.012, pixel))
            if abs(z - 0.55 * c) < 0.02 and min(abs(x + 0.02 * a), abs(x + 0.4 * a)) < 0.09:
                _grey(out, 0.75, 0.7)
            if z < -0.75 * c:
                _grey(out, 0.1, 0.7)
        return 0.25
    up = z / c
    if material == p.CABIN:
        if abs(ny) > 0.6:
            frame = min(abs(x - 0.1 * a), abs(x + 0.42 * a))
            body = up > 0.82 or up < -0.9 or abs(x) > 0.88 * a or frame < 0.05
        else:
            body = abs(nz) > 0.93 or up > 0.85 or up < -0.92 or abs(y) > 0.9 * b
        if body:
            return 0.25
        _glass(out, 0.25 * grain(x * 2.0, y * 2.0 + z, seed))
        return 1.0
    if abs(ny) > 0.6:  # bus side
        pane = (x + a) % 1.45
        if pane < 0.12 or abs(up) > 0.92:
            _grey(out, 0.08, 0.9)
            return 0.2
        _glass(out, 0.6 * speck(int((x + a) / 1.45), 0, 3, seed))
        if up < -0.2 and speck(int((x + a) / 0.7), 1, 3, seed) > 0.6:
            _grey(out, 0.3, 0.5)  # a passenger
        return 0.8
    if abs(nx) > 0.5 and abs(y) < 0.9 * b:
        _glass(out, 0.2)
        return 0.8
    return 0.25


@njit(cache=True, error_model="numpy")
def _cargo(u, v, height, colour2, pixel, seed, out):
    """Ribbed box body, often with a printed panel."""
    rib = u % 0.5
    _scale(out, 1.0 - 0.35 * band(rib - 0.25, 0.03, pixel) * fade(0.2, pixel))
    _scale(out, 0.92 + 0.12 * grain(u * 0.8, v * 2.0, seed))
    if speck(7, 0, 0, seed) > 0.4 and abs(v) < 0.4 * height:
        x = u % 4.5
        if 0.6 < x < 3.6:
            _mix(out, colour2, 0.9)
            if abs(v) < 0.14 * height and speck(int(u * 4.0), int(v * 6.0 + 50), 8, seed) > 0.42:
                _grey(out, 0.95, 0.9)
    if height > 0.0 and abs(v) > 0.93 * height:
        _grey(out, 0.45, 0.7)


@njit(cache=True, error_model="numpy")
def _tyre(x, y, z, nz, radius, colour2, seed, out):
    """Tread, and on the flat sides a rim with spokes."""
    if abs(nz) < 0.5:
        if int(np.floor(np.arctan2(y, x) * 12.0)) % 2:
            _scale(out, 0.6)
        return
    r = np.sqrt(x * x + y * y) / radius
    if r < 0.66:
        spokes = int(5 + 3 * speck(1, 1, 1, seed))
        angle = np.arctan2(y, x) / (2.0 * np.pi) * spokes
        open_part = r > 0.22 and r < 0.58 and angle - np.floor(angle) > 0.45
        _mix(out, colour2, 0.15 if open_part else 0.95)


@njit(cache=True, error_model="numpy")
def _cloth(x, y, z, half, colour2, pixel, seed, out):
    style = seed % 4
    if style == 0 and (z * 9.0) % 1.0 < 0.5:
        _mix(out, colour2, 0.7)
    elif style == 1 and z > 0.3 * half[2]:
        _mix(out, colour2, 0.8)
    angle = np.arctan2(y, x)
    folds = grain(angle * 2.5, z * 5.0, seed)
    _scale(out, 0.72 + 0.5 * folds)


@njit(cache=True, error_model="numpy")
def _sign(u, v, wide, tall, colour2, seed, out):
    if abs(u) > 0.86 * wide or abs(v) > 0.86 * tall:
        _mix(out, colour2, 0.9)
    else:
        block = speck(int(np.floor(u / wide * 3.5)), int(np.floor(v / tall * 3.0)), 11, seed)
        if abs(v) < 0.5 * tall and abs(u) < 0.7 * wide and block > 0.5:
            _mix(out, colour2, 0.95)


@njit(cache=True, error_model="numpy")
def _leaves(x, y, z, nz, half, cell, colour2, pixel, seed, out):
    i, j, k = int(np.floor(x / cell)), int(np.floor(y / cell)), int(np.floor(z / cell))
    _mix(out, colour2, speck(i, j, k, seed + 1))
    depth = (x / half[0]) ** 2 + (y / half[1]) ** 2 + (z / half[2]) ** 2
    _scale(out, 0.6 + 0.5 * min(1.0, depth) + 0.15 * nz)
    fine = fade(0.06, pixel)
    leaf = speck(int(np.floor(x * 22.0)), int(np.floor(y * 22.0)), int(np.floor(z * 22.0)), seed + 2)
    _scale(out, 1.0 + (0.35 + 0.5 * fine) * (leaf - 0.5))


@njit(cache=True, error_model="numpy")
def paint_solid(material, shape, half, par, seed, colour, colour2, x, y, z, nx, ny, nz, foot, pixel, out):
    """Albedo (3,) of a solid at a local point with local normal; returns how glassy it is, 0..1.

    `foot` is the world height of the point, `pixel` the width of a pixel there, both in metres.
    """
    for a in range(3):
        out[a] = colour[a]
    u = y if abs(nx) > abs(ny) else x
    across = half[1] if abs(nx) > abs(ny) else half[0]
    if material == p.WINDOWS or material == p.BRICK:
        if abs(nz) > 0.6:
            _scale(out, 0.75 + 0.2 * grain(x, y, seed))
            return 0.0
        return _facade(u + 60.0, foot, material == p.BRICK, pixel, seed, colour2, out)
    if material == p.SHOPFRONT:
        return _shopfront(u + 60.0, foot, pixel, seed, colour2, out)
    if material == p.PAINT or material == p.CABIN or material == p.BUS_SIDE:
        return _vehicle(material, x, y, z, nx, ny, nz, half, colour, colour2, pixel, seed, out)
    if material == p.LEAVES:
        _leaves(x, y, z, nz, half, par[0], colour2, pixel, seed, out)
    elif material == p.CARGO:
        _cargo(u, z, half[2], colour2, pixel, seed, out)
    elif material == p.TYRE:
        _tyre(x, y, z, nz, half[0], colour2, seed, out)
    elif material == p.CLOTH:
        _cloth(x, y, z, half, colour2, pixel, seed, out)
    elif material == p.SIGN:
        _sign(u, z, across, half[2], colour2, seed, out)
    elif material == p.CONE:
        if 0.25 < (z / half[2] * 1.2) % 1.0 < 0.7:
            _mix(out, colour2, 0.95)
    elif material == p.HAZARD:
        if (u + z) / 0.36 % 1.0 < 0.5:
            _mix(out, colour2, 0.95)
    elif material == p.BARRIER:
        _scale(out, 1.0 - 0.35 * band(u % 0.66 - 0.33, 0.05, pixel))
        _scale(out, 0.82 + 0.3 * grain(u * 2.0, z * 6.0, seed))
        if z < -0.4 * half[2]:
            _scale(out, 0.75)
    elif material == p.BARK:
        angle = np.arctan2(y, x)
        _scale(out, 0.55 + 0.8 * grain(angle * 6.0, z * 1.6, seed))
        _scale(out, 0.85 + 0.3 * grain(angle * 17.0, z * 6.0, seed + 1))
    elif material == p.PLASTER:
        _wall(u, foot, False, pixel, seed, out)
    elif material == p.METAL:
        _scale(out, 0.85 + 0.25 * grain(x * 9.0, z * 1.5, seed))
        return 0.15
    elif material == p.SKIN:
        if nx > 0.55 and abs(y) < 0.6 * half[1] and 0.0 < z < 0.25 * half[2]:
            _scale(out, 0.6)
    elif material == p.GLASS:
        return 1.0
    return 0.0
