"""Semantic ids that some vision foundation model wrote as PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import fail
from pc3d.data.image_file import open_image
from pc3d.data.images import check_aspect
from pc3d.data.records import Sweep

_NONE = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
_AGAIN = "write ids as grey PNG of 8 or 16 bits"


def semantic_ids(sweep: Sweep, folder: str | Path) -> dict[str, NDArray[np.int16]]:
    """FOLDER/CAMERA/IMAGE_NAME.png of each camera of a key frame, see `load_ids`."""
    return {
        camera.name: load_ids(Path(folder) / camera.name / f"{camera.path.stem}.png", camera.size)
        for camera in sweep.cameras
    }


def load_ids(path: Path, size: tuple[int, int] | None = None) -> NDArray[np.int16]:
    """(H, W) int16 ids of a grey PNG of 8 or 16 bits that covers its image; 255 or 65535 (-1 here) is none.

    Args:
        size: (width, height) of its image, whose aspect it has.

    Raises:
        DataError: the file is missing, broken, in colour, of another aspect, or holds an id above 32766.
    """
    if not path.exists():
        fail("an id map is missing", path, "write it, named as its image, or leave the key frame out")
    with open_image(path, remedy="write it again") as image:
        # A palette's indices are ids as well: that is how many tools write label maps.
        if image.mode not in ("L", "P", "I;16", "I"):
            fail(f"the id map is a picture of mode {image.mode}", path, _AGAIN)
        if image.tile[0][3] in ("L;2", "L;4"):
            fail("the id map has less than 8 bits a pixel, which are read as shades", path, _AGAIN)
        if size is not None:
            check_aspect(image.size[::-1], size, "the id map", path)
        pixels = np.asarray(image)
    pixels = pixels.astype(np.uint16) if pixels.dtype != np.uint8 else pixels
    ids = np.where(pixels == _NONE[pixels.dtype], -1, pixels.astype(np.int32))
    if ids.max() >= np.iinfo(np.int16).max:
        fail(f"the id map holds the id {ids.max()}", path, "number the ids from 0 to 32766")
    return ids.astype(np.int16)
