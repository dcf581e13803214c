"""Random resized crops of images, which keep enough of the point-pixel pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from pc3d.data.records import Float64

Box: TypeAlias = tuple[int, int, int, int]
"""left, top, width and height in pixels of the source image."""
ATTEMPTS = 10
"""Draws of a size until one fits into the image, then the middle is taken (torchvision)."""


@dataclass(frozen=True)
class ImageCrop:
    """A random part of each image instead of the whole of it, by the rules of SLidR's public code.

    Attributes:
        scale: (low, high) share of the image's area.
        ratio: (low, high) width over height, drawn evenly in its logarithm.
        min_pairs, min_share: a part is good if it keeps more than so many of the image's pairs, or more than
            this share of them; else another one is drawn.
        tries: parts drawn until the whole image is taken (SLidR draws on without end).
    """

    scale: tuple[float, float] = (0.3, 1.0)
    ratio: tuple[float, float] = (14 / 9, 17 / 9)
    min_pairs: int = 1024
    min_share: float = 0.75
    tries: int = 50

    def __post_init__(self) -> None:
        if not (0 < self.scale[0] <= self.scale[1] <= 1 and 0 < self.ratio[0] <= self.ratio[1]):
            raise ValueError(f"scale must be in (0, 1] and ratio positive, low before high: {self}")
        if self.min_pairs < 0 or not 0 <= self.min_share <= 1 or self.tries < 1:
            raise ValueError(f"min_pairs must be at least 0, min_share in [0, 1], tries at least 1: {self}")

    def draw(self, size: tuple[int, int], uv: Float64, rng: np.random.Generator) -> Box:
        """A part of an image.

        Args:
            size: (width, height) of the image.
            uv: (M, 2) pixels of its pairs.
        """
        for _ in range(self.tries):
            box = self._box(size, rng)
            inside = ((uv >= box[:2]) & (uv < np.add(box[:2], box[2:]))).all(axis=1)
            if inside.sum() > self.min_pairs or inside.sum() > self.min_share * len(uv):
                return box
        return (0, 0, *size)

    def _box(self, size: tuple[int, int], rng: np.random.Generator) -> Box:
        """As `RandomResizedCrop` of torchvision draws it."""
        width, height = size
        for _ in range(ATTEMPTS):
            area = width * height * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1)), w, h
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        w, h = min(width, round(height * ratio)), min(height, round(width / ratio))
        return (width - w) // 2, (height - h) // 2, w, h
