"""The semantic prior of a simulated town: a PNG of drivable surface and walkways, 10 px/m."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pc3d.sim.types import Float

PIXELS_PER_METRE = 10
_BAND = 1000
"""Rows that are drawn and compressed at a time: a town has 10^8 pixels and more."""


def write_semantic_prior(path: Path, canvas: tuple[float, float], rings: Sequence[Float]) -> None:
    """Writes 255 where a (K, 2) ring covers the ground, 0 elsewhere.

    Pixel (column u, row v) stands for the world point x = u / 10, y = (height - v) / 10, the convention of
    the devkit's `MapMask`. The file has two bits per pixel, a quarter of the bytes to compress, which
    Pillow opens as eight.

    Args:
        canvas: (width, height) of the town in metres; its lower left corner is the world's origin.
    """
    width, height = (round(edge * PIXELS_PER_METRE) for edge in canvas)
    pixels = [ring * [1, -1] * PIXELS_PER_METRE + [0, height] for ring in rings]
    deflate = zlib.compressobj(level=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.write(_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 2, 0, 0, 0, 0)))
        for top in range(0, height, _BAND):
            rows = min(_BAND, height - top)
            data = deflate.compress(_draw_band(pixels, width, rows, top).tobytes())
            file.write(_chunk(b"IDAT", data))
        file.write(_chunk(b"IDAT", deflate.flush()))
        file.write(_chunk(b"IEND", b""))


def _draw_band(rings: Sequence[Float], width: int, rows: int, top: int) -> NDArray[np.uint8]:
    """PNG scan lines (a filter byte of 0, then four pixels per byte) of the rows from `top` on."""
    image = Image.new("L", (-(-width // 4) * 4, rows))
    draw = ImageDraw.Draw(image)
    for ring in rings:
        low, high = ring[:, 1].min() - top, ring[:, 1].max() - top
        if high >= 0 and low < rows:
            draw.polygon([(x, y - top) for x, y in ring.tolist()], fill=3)
    quads = np.asarray(image).reshape(rows, -1, 4)
    lines = np.zeros((rows, quads.shape[1] + 1), dtype=np.uint8)
    lines[:, 1:] = quads @ np.array([64, 16, 4, 1], dtype=np.uint8)
    return lines


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
