"""Semantic ids that some vision foundation model wrote as PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pc3d.data.errors import DataError, fail
from pc3d.data.records import Sweep

_NONE = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}


def semantic_ids(sweep: Sweep, folder: str | Path) -> dict[str, NDArray[np.int16]]:
    """FOLDER/CAMERA/IMAGE_NAME.png of each camera of a key frame, see `load_ids`."""
    return {
        camera.name: load_ids(Path(folder) / camera.name / f"{camera.path.stem}.png")
        for camera in sweep.cameras
    }


def load_ids(path: Path) -> NDArray[np.int16]:
    """(H, W) int16 ids of a grey PNG of 8 or 16 bits that covers its image; 255 or 65535 (-1 here) is none.

    Raises:
        DataError: the file is missing, broken, in colour, or holds an id above 32766.
    """
    try:
        with Image.open(path) as image:
            # A palette's indices are ids as well: that is how many tools write label maps.
            pixels = np.asarray(image)
            grey = image.mode in ("L", "P", "I;16", "I")
    except FileNotFoundError:
        fail("an id map is missing", path, "write it, named as its image, or leave the key frame out")
    except (OSError, SyntaxError) as error:
        raise DataError(
            f"an id map cannot be read: {error}\n  where: {path}\n  remedy: write it again"
        ) from error
    if not grey:
        fail(f"the id map is a picture of mode {image.mode}", path, "write ids as grey PNG of 8 or 16 bits")
    pixels = pixels.astype(np.uint16) if pixels.dtype != np.uint8 else pixels
    ids = np.where(pixels == _NONE[pixels.dtype], -1, pixels.astype(np.int32))
    if ids.max() >= np.iinfo(np.int16).max:
        fail(f"the id map holds the id {ids.max()}", path, "number the ids from 0 to 32766")
    return ids.astype(np.int16)
