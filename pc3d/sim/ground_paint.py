"""Colours of the ground and the sky: asphalt, markings, paving, grass, kerbs, clouds."""

from __future__ import annotations

import numpy as np

from pc3d.sim.layout import CROSSING, LANE, LAWN, MEDIAN, PARK, PLAZA, ROAD, STOP_LINE, cross_distance
from pc3d.sim.noise import band, fade, grain, speck
from pc3d.storage.compiled import njit

# Rows of the palette that a scene draws (see `cameras.palette`).
ASPHALT, PAVING, GRASS, DRY, SLABS, LINE_WHITE, LINE_YELLOW, KERBSTONE = range(8)


@njit(cache=True, error_model="numpy")
def _lines(s, y, x, edge, pixel):
    """Marking of a street along x with lanes: +white coverage, or -yellow."""
    away = abs(y)
    if s[1] == 0.0:
        yellow = band(away - 0.16, 0.06, pixel)
        if yellow > 0.0:
            return -yellow
    for n in range(1, int(s[2])):
        offset = away - (s[1] + n * LANE)
        if abs(offset) < 0.4 and x % 9.0 < 3.5:
            return band(offset, 0.07, pixel)
    return band(away - edge, 0.06, pixel) if s[3] > 0.0 else band(away - edge + 0.25, 0.05, pixel)


@njit(cache=True, error_model="numpy")
def marking(s, cross, x, y, pixel):
    """Road marking at a point of the street frame: white coverage > 0, yellow < 0."""
    side, k = cross_distance(cross, x)
    main = abs(y) - s[0]
    if main < 0.0 and side > 0.0:
        out = side - s[4]
        if CROSSING[0] < out < CROSSING[1]:
            return band((y % 1.0) - 0.5, 0.27, pixel)
        if STOP_LINE[0] < out < STOP_LINE[1] and (x - cross[k, 0]) * y > 0.0:
            return 1.0
        return _lines(s, y, x, s[1] + s[2] * LANE, pixel) if out > 6.0 else 0.0
    if side < 0.0 and main > 0.0:
        out, offset = main - s[4], x - cross[k, 0]
        if CROSSING[0] < out < CROSSING[1]:
            return band((x % 1.0) - 0.5, 0.27, pixel)
        if STOP_LINE[0] < out < STOP_LINE[1] and offset * y < 0.0:
            return 1.0
        if out > 6.0:
            return -band(abs(offset) - 0.14, 0.06, pixel)
    return 0.0


@njit(cache=True, error_model="numpy")
def _asphalt(palette, x, y, pixel, seed, out):
    tone = 0.86 + 0.22 * grain(x * 0.23, y * 0.4, seed) + 0.10 * (grain(x * 1.7, y * 1.7, seed) - 0.5)
    fine = fade(0.05, pixel)
    if fine > 0.0:
        tone += fine * 0.30 * (speck(int(x * 40.0), int(y * 40.0), 1, seed) - 0.5)
    patch = speck(int(np.floor(x / 7.0)), int(np.floor(y / 3.0)), 2, seed)
    if patch > 0.86 and 0.8 < x % 7.0 < 5.0:
        tone *= 0.84
    crack = abs(grain(x * 0.45, y * 0.45, seed + 5) + 0.12 * grain(x * 5.0, y * 5.0, seed + 6) - 0.62)
    if crack < 0.004:
        tone *= 1.0 - 0.3 * fade(0.04, pixel)
    for a in range(3):
        out[a] = palette[ASPHALT, a] * tone


@njit(cache=True, error_model="numpy")
def _grass(palette, x, y, pixel, seed, out):
    dry = min(1.0, max(0.0, 2.2 * grain(x * 0.35, y * 0.35, seed + 3) - 0.7))
    tone = 0.8 + 0.35 * grain(x * 1.3, y * 1.3, seed)
    fine = fade(0.08, pixel)
    blade = (
        0.6 * grain(x * 14.0, y * 23.0, seed + 4) + 0.5 * speck(int(x * 30.0), int(y * 30.0), 5, seed) - 0.55
    )
    tone *= 1.0 + 0.95 * fine * blade + 0.3 * (1.0 - fine) * (grain(x * 4.0, y * 4.0, seed + 9) - 0.5)
    for a in range(3):
        out[a] = (palette[GRASS, a] * (1.0 - dry) + palette[DRY, a] * dry) * tone


@njit(cache=True, error_model="numpy")
def _slabs(colour, x, y, wide, tall, shift, pixel, seed, out):
    """Paving: slabs `wide` x `tall`, every other row shifted, with dark joints."""
    row = int(np.floor(y / tall))
    x += shift * wide * (row % 2)
    column = int(np.floor(x / wide))
    u, v = x - column * wide, y - row * tall
    joint = min(min(u, wide - u), min(v, tall - v))
    tone = 0.88 + 0.22 * speck(column, row, 6, seed) + 0.12 * (grain(x * 2.0, y * 2.0, seed) - 0.5)
    tone += 0.12 * fade(0.06, pixel) * (speck(int(x * 35.0), int(y * 35.0), 7, seed) - 0.5)
    tone *= 1.0 - 0.42 * band(joint, 0.018, pixel)
    for a in range(3):
        out[a] = colour[a] * tone


@njit(cache=True, error_model="numpy")
def paint_ground(s, cross, bays, palette, code, kerb, x, y, z, pixel, seed, out):
    """Colour (3,) of the ground at (x, y) of the street frame, seen by a pixel `pixel` m wide."""
    if kerb:
        along = x + y
        tone = 0.9 if int(np.floor(along / 1.0)) % 2 else (0.22 if seed % 3 == 0 else 0.75)
        tone *= 0.9 + 0.2 * grain(along * 6.0, z * 20.0, seed)
        for a in range(3):
            out[a] = palette[KERBSTONE, a] * tone
        return
    if code in (ROAD, PARK):
        _asphalt(palette, x, y, pixel, seed, out)
        white = 0.0
        if code == ROAD:
            white = marking(s, cross, x, y, pixel)
        elif bays[0, 0] < x < bays[0, 2] and bays[0, 1] < y < bays[0, 3]:
            depth = min(y - bays[0, 1], bays[0, 3] - y)
            if depth < 5.4:
                white = band((x - bays[0, 0] - 0.25) % 2.7 - 1.35, 0.06, pixel)
        worn = abs(white) * (0.72 + 0.28 * grain(x * 5.0, y * 5.0, seed + 8))
        row = LINE_WHITE if white > 0.0 else LINE_YELLOW
        for a in range(3):
            out[a] += worn * (palette[row, a] - out[a])
    elif code == LAWN:
        _grass(palette, x, y, pixel, seed, out)
    elif code == PLAZA:
        _slabs(palette[SLABS], x, y, 0.42, 0.21, 0.5, pixel, seed + 1, out)
    elif code == MEDIAN:
        if seed % 2:
            _grass(palette, x, y, pixel, seed, out)
        else:
            _slabs(palette[PAVING], x, y, 0.3, 0.3, 0.0, pixel, seed + 1, out)
    else:
        _slabs(palette[PAVING], x, y, 1.2 if seed % 2 else 0.6, 0.6, 0.0, pixel, seed, out)


@njit(cache=True, error_model="numpy")
def paint_sky(dx, dy, dz, sun, sun_colour, horizon, zenith, clouds, seed, out):
    """Colour of the sky in a unit direction."""
    up = max(dz, 0.0)
    k = min(1.0, np.sqrt(up) * 1.15)
    cover = 0.0
    if dz > 0.01:
        x, y = dx / (up + 0.25), dy / (up + 0.25)
        cover = 0.55 * grain(x * 3, y * 3, seed) + 0.28 * grain(x * 7, y * 7, seed + 1)
        cover += 0.12 * grain(x * 16, y * 16, seed + 2) + 0.05 * grain(x * 37, y * 37, seed + 3)
        cover = max(0.0, min(1.0, (cover - 0.72 + 0.45 * clouds) * 3.5)) * min(1.0, dz * 8.0)
    glow = max(0.0, dx * sun[0] + dy * sun[1] + dz * sun[2]) ** 24
    for a in range(3):
        clear = horizon[a] + k * (zenith[a] - horizon[a]) + 0.35 * glow * sun_colour[a]
        out[a] = clear + cover * (0.92 - clear)
