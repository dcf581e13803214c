"""Per-point labels: files, and the maps from a data set's categories to training classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import DataError, fail

NUSCENES_LIDARSEG_CATEGORIES: tuple[str, ...] = (
    "noise",
    "animal",
    "human.pedestrian.adult",
    "human.pedestrian.child",
    "human.pedestrian.construction_worker",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer",
    "human.pedestrian.stroller",
    "human.pedestrian.wheelchair",
    "movable_object.barrier",
    "movable_object.debris",
    "movable_object.pushable_pullable",
    "movable_object.trafficcone",
    "static_object.bicycle_rack",
    "vehicle.bicycle",
    "vehicle.bus.bendy",
    "vehicle.bus.rigid",
    "vehicle.car",
    "vehicle.construction",
    "vehicle.emergency.ambulance",
    "vehicle.emergency.police",
    "vehicle.motorcycle",
    "vehicle.trailer",
    "vehicle.truck",
    "flat.driveable_surface",
    "flat.other",
    "flat.sidewalk",
    "flat.terrain",
    "static.manmade",
    "static.other",
    "static.vegetation",
    "vehicle.ego",
)
"""The 32 categories in the order of their lidarseg index."""

NUSCENES_LIDARSEG_CLASSES: tuple[str, ...] = (
    "barrier",
    "bicycle",
    "bus",
    "car",
    "construction_vehicle",
    "motorcycle",
    "pedestrian",
    "traffic_cone",
    "trailer",
    "truck",
    "driveable_surface",
    "other_flat",
    "sidewalk",
    "terrain",
    "manmade",
    "vegetation",
)
"""The 16 classes of the nuScenes lidarseg challenge; class k is label k here, k + 1 in the challenge."""

NUSCENES_CLASS_OF_CATEGORY: dict[str, str] = {
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
    "movable_object.barrier": "barrier",
    "movable_object.trafficcone": "traffic_cone",
    "vehicle.bicycle": "bicycle",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.car": "car",
    "vehicle.construction": "construction_vehicle",
    "vehicle.motorcycle": "motorcycle",
    "vehicle.trailer": "trailer",
    "vehicle.truck": "truck",
    "flat.driveable_surface": "driveable_surface",
    "flat.other": "other_flat",
    "flat.sidewalk": "sidewalk",
    "flat.terrain": "terrain",
    "static.manmade": "manmade",
    "static.vegetation": "vegetation",
}

NUSCENES_LIDARSEG_LUT: NDArray[np.int64] = np.array(
    [
        NUSCENES_LIDARSEG_CLASSES.index(NUSCENES_CLASS_OF_CATEGORY[name])
        if name in NUSCENES_CLASS_OF_CATEGORY
        else -1
        for name in NUSCENES_LIDARSEG_CATEGORIES
    ]
)
"""(32,) category index to class 0..15, -1 ignored (challenge label 0)."""

LABEL_MAPS: dict[str, tuple[tuple[str, ...], NDArray[np.int64]]] = {
    "nuscenes_lidarseg": (NUSCENES_LIDARSEG_CLASSES, NUSCENES_LIDARSEG_LUT),
}
"""Class names and look-up table by name; the index names its map in `metadata["label_map"]`."""


def load_lidarseg(path: str | Path, num_points: int, label_map: str, token: str = "") -> NDArray[np.int64]:
    """Per-point classes of a sweep.

    Args:
        path: file of one uint8 category index per point.
        num_points: points of the sweep.
        label_map: key of `LABEL_MAPS`.
        token: of the sweep, for the error message.

    Returns:
        (num_points,) int64 class, -1 ignored.

    Raises:
        DataError: unknown map; missing file; length or a category that does not fit.
    """
    where = f"{path} (sweep {token})" if token else str(path)
    if label_map not in LABEL_MAPS:
        fail(f"unknown label map {label_map!r}", where, f"use one of {sorted(LABEL_MAPS)}")
    try:
        size = Path(path).stat().st_size
        if size != num_points:
            width = size // num_points if num_points and size % num_points == 0 else 1
            wide = f"{width} bytes for each point, not the 1 of uint8 categories" if width > 1 else ""
            fail(
                f"label file has {wide or f'{size} labels'}, the sweep has {num_points} points",
                where,
                "take nuScenes' lidarseg files, or write the labels so"
                if wide
                else "copy labels and sweep again from the same release of the data set",
            )
        raw = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DataError(
            f"label file cannot be read: {error}\n  where: {where}\n  remedy: copy it again"
        ) from error
    lut = LABEL_MAPS[label_map][1]
    if len(raw) and raw.max() >= len(lut):
        fail(
            f"label {int(raw.max())} is none of the {len(lut)} categories",
            where,
            f"check the label map {label_map!r}",
        )
    return lut[raw]
