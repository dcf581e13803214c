"""The simulator's truth of every pixel as semantic ids: labels, for experiments that say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.classes import load_class_set
from pc3d.data.errors import fail
from pc3d.data.image_file import open_image
from pc3d.data.records import Camera, Sweep
from pc3d.regions.semantics.params import SEMANTIC_CLASSES

_SKY = 255
_UNKNOWN = -2
_ID_OF_CATEGORY = np.full(256, _UNKNOWN, dtype=np.int16)
_SIMULATED = load_class_set("nuscenes").lut
_ID_OF_CATEGORY[: len(_SIMULATED)] = _SIMULATED
_ID_OF_CATEGORY[_SKY] = SEMANTIC_CLASSES.index("sky")


def truth_path(camera: Camera) -> Path:
    """ROOT/semantics/CAMERA/IMAGE_NAME.png of an image ROOT/samples/CAMERA/IMAGE_NAME.jpg."""
    return camera.path.parents[2] / "semantics" / camera.name / f"{camera.path.stem}.png"


def pixel_truth(camera: Camera) -> NDArray[np.int16]:
    """(H, W) int16 index in `SEMANTIC_CLASSES` of each pixel; -1 for ignored categories and the ego vehicle.

    Raises:
        DataError: there is none, or it is no map of lidarseg categories.
    """
    path = truth_path(camera)
    if not path.exists():
        fail(
            f"no pixel truth of camera {camera.name}",
            path,
            "only simulated data sets have it (pc3d simulate); take another --semantics-source",
        )
    with open_image(path, camera.size, remedy="simulate the data set again") as image:
        categories = np.asarray(image)
    ids = _ID_OF_CATEGORY[categories] if categories.dtype == np.uint8 else np.full(1, _UNKNOWN, np.int16)
    if ids.ndim != 2 or (ids == _UNKNOWN).any():
        fail("the file is no grey map of lidarseg categories (255 sky)", path, "simulate the data set again")
    return ids


def semantic_ids(sweep: Sweep) -> dict[str, NDArray[np.int16]]:
    """`pixel_truth` by camera name."""
    return {camera.name: pixel_truth(camera) for camera in sweep.cameras}
