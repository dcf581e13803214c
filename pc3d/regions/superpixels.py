"""Superpixels of an image by SLIC (Achanta et al., PAMI 2012)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class SuperpixelParams:
    """Setting of SLIC; the defaults are SLidR's (Sautier et al., CVPR 2022) [C].

    Attributes:
        segments: number asked for; SLIC gives somewhat fewer or more.
        compactness: weight of closeness against likeness of colour.
        sigma: width of the Gaussian smoothing, in pixels of the full image.
        width: compute on the image reduced to this width (the ids are enlarged again), None for its
            own. Time falls with the square of it; ids at half the width agree with the full ones in 92 %
            of the pixels of a nuScenes image, at 448 pixels in 76 % [O].

    Raises:
        ValueError: a count that is not positive.
    """

    segments: int = 150
    compactness: float = 6.0
    sigma: float = 3.0
    width: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.segments <= np.iinfo(np.int16).max:
            raise ValueError(f"segments is {self.segments}, expected 1 to 32767")
        if self.width is not None and self.width < 1:
            raise ValueError(f"width is {self.width}, expected at least 1 or None")


def superpixels(image: NDArray[np.uint8], params: SuperpixelParams | None = None) -> NDArray[np.int16]:
    """Superpixel of each pixel.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (H, W) int16 ids 0 .. K-1 within this image.

    Raises:
        ValueError: another shape or type.
    """
    from skimage.segmentation import slic

    params = params or SuperpixelParams()
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image is {image.dtype} of shape {image.shape}, expected uint8 (H, W, 3)")
    height, width = image.shape[:2]
    scale = min(1.0, (params.width or width) / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    ids = slic(
        small,
        n_segments=params.segments,
        compactness=params.compactness,
        sigma=params.sigma * scale,
        start_label=0,
    ).astype(np.int16)
    x = ((np.arange(width) + 0.5) * size[0] / width).astype(np.int64)
    y = ((np.arange(height) + 0.5) * size[1] / height).astype(np.int64)
    return ids[y[:, None], x]
