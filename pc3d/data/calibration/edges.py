"""Where something ends: in a LiDAR scan, and in an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, uniform_filter

from pc3d.data.images import load_image
from pc3d.data.records import Camera, Float32, Float64

SECTORS = 90
"""Parts of the LiDAR's turn, 4 degrees each: one piece of evidence, whatever stands there."""
_AZIMUTH, _ELEVATION = 0.35, 0.5
"""Degrees per cell of the range image: about a LiDAR's step in azimuth, below its step in elevation."""
_GAP = 3
"""Cells within which the next return of a ring lies; where there is none, the ray met nothing at all."""
_EDGE, FULL_WEIGHT = 0.05, 0.2
"""Of the range: so much farther away is the next return at an edge; from the second on, all count alike."""
NEAR = 3.0
"""Metres; what is nearer is the vehicle, or shows where the camera sits more than where it looks."""
_PIXELS_PER_RADIAN = 330.0
"""Working size of images: 0.17 degrees per pixel, half a LiDAR's step in azimuth."""
_SMOOTH, _AROUND, _FLAT = 1.0, 41, 1.0
"""Pixels that an edge is widened by, pixels of the surroundings that it is compared with, and gray levels
per pixel below which there is no edge but noise."""
_SAMPLE = 4000


@dataclass(frozen=True, eq=False)
class Scan:
    """What of a scan is compared with images; all in the LiDAR frame.

    Attributes:
        edges: (N, 3) float64 points beside which their ring goes on farther away.
        weight: (N,) up to `FULL_WEIGHT`.
        sector: (N,) int64 below `SECTORS`.
        sample: (S, 3) float64 some of all points.
    """

    edges: Float64
    weight: Float64
    sector: NDArray[np.int64]
    sample: Float64


def _beside(ranges: Float64, step: int) -> Float64:
    """The next range along each ring in one direction, inf where there is none."""
    found = np.full_like(ranges, np.nan)
    for cells in range(1, _GAP + 1):
        found = np.where(np.isnan(found), np.roll(ranges, -step * cells, axis=1), found)
    return np.where(np.isnan(found), np.inf, found)


def scan_edges(points: Float32) -> Scan:
    """The upright edges of what stands in front of something, of (P, C >= 3) points in the LiDAR frame."""
    xyz = points[:, :3].astype(np.float64)
    ranges = np.linalg.norm(xyz, axis=1)
    xyz, ranges = xyz[ranges > NEAR], ranges[ranges > NEAR]
    azimuth = np.degrees(np.arctan2(xyz[:, 1], xyz[:, 0])) + 180
    elevation = np.degrees(np.arcsin(np.clip(xyz[:, 2] / ranges, -1, 1))) + 90
    shape = (int(180 / _ELEVATION) + 1, int(360 / _AZIMUTH))
    column = (azimuth / _AZIMUTH).astype(np.int64) % shape[1]
    line = (elevation / _ELEVATION).astype(np.int64)
    index = np.full(shape, -1)
    far_first = np.argsort(-ranges, kind="stable")
    index[line[far_first], column[far_first]] = far_first
    image = np.where(index >= 0, np.append(ranges, np.nan)[index], np.nan)
    jump = np.maximum(_beside(image, 1), _beside(image, -1)) / image - 1  # NaN in empty cells
    found = jump > _EDGE
    rows = index[found]
    sector = (azimuth[rows] * (SECTORS / 360)).astype(np.int64) % SECTORS
    sample = xyz[:: max(1, len(xyz) // _SAMPLE)]
    return Scan(xyz[rows], np.minimum(jump[found], FULL_WEIGHT), sector, sample)


def edge_map(camera: Camera, token: str = "") -> Float64:
    """(h, w) strength of the upright edges of a camera's image, compared with its surroundings.

    Raises:
        DataError: the image is missing or broken.
    """
    focal = abs(camera.intrinsics[0, 0]) * camera.lens.magnification
    scale = min(1.0, _PIXELS_PER_RADIAN / max(focal, 1e-6))
    size = (max(16, round(camera.size[0] * scale)), max(9, round(camera.size[1] * scale)))
    picture = Image.fromarray(load_image(camera.path, token, at_least=size, size=camera.size, key=camera.key))
    rgb = np.asarray(picture.resize(size, Image.Resampling.BOX), dtype=np.float64)
    slope = np.abs(np.gradient(gaussian_filter(rgb, (0.7, 0.7, 0)), axis=1)).max(axis=2)
    strength = gaussian_filter(slope, _SMOOTH)
    around = np.sqrt(np.maximum(uniform_filter(strength**2, _AROUND), 0))
    return strength / (around + _FLAT)
