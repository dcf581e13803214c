"""Points painted into an image: crisp discs with smooth edges, drawn in the order that they are given."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pc3d.viz.colours import Rgb

#: Discs are drawn at this multiple of the resolution and averaged down.
_OVERSAMPLING = 2


def paint_discs(canvas: Rgb, uv: NDArray[np.floating], colours: Rgb, radius: float) -> Rgb:
    """Paint points as discs over an image; later points cover earlier ones.

    Args:
        canvas: (H, W, 3) uint8, not changed.
        uv: (P, 2) pixel coordinates, x right, y down, pixel centres at integer + 0.5; what falls
            outside is left out.
        colours: (P, 3) uint8.
        radius: of the discs, in pixels.
    Returns:
        (H, W, 3) uint8.
    """
    height, width = canvas.shape[:2]
    inside = (uv > -radius).all(axis=1) & (uv < np.array([width, height]) + radius).all(axis=1)
    s = _OVERSAMPLING
    fine = canvas.repeat(s, axis=0).repeat(s, axis=1)
    reach = int(np.ceil(radius * s))
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.hypot(dx, dy) <= max(radius * s - 0.25, 0.5)
    cell = np.floor(uv[inside] * s).astype(np.int64)
    # Point-major order: numpy lets the last of repeated indices win, which is the nearer point.
    x = (cell[:, :1] + dx[disc]).ravel()
    y = (cell[:, 1:] + dy[disc]).ravel()
    ink = np.repeat(colours[inside], int(disc.sum()), axis=0)
    drawn = (x >= 0) & (x < width * s) & (y >= 0) & (y < height * s)
    fine[y[drawn], x[drawn]] = ink[drawn]
    blocks = fine.reshape(height, s, width, s, 3)
    return blocks.mean(axis=(1, 3), dtype=np.float32).round().astype(np.uint8)


def resize_nearest(array: NDArray, size: tuple[int, int]) -> NDArray:
    """(H', W', ...) of (H, W, ...) by nearest neighbour; `size` is (width, height). For ids and masks."""
    rows = (np.arange(size[1]) + 0.5) * array.shape[0] / size[1]
    cols = (np.arange(size[0]) + 0.5) * array.shape[1] / size[0]
    return array[rows.astype(int)[:, None], cols.astype(int)[None, :]]
