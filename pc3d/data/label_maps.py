"""Names of nuScenes: categories of labels and boxes, and the classes that they are of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pc3d.data.classes import IGNORE, load_class_set

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

NUSCENES_DETECTION_CLASSES: tuple[str, ...] = (
    "car",
    "truck",
    "construction_vehicle",
    "bus",
    "trailer",
    "barrier",
    "motorcycle",
    "bicycle",
    "pedestrian",
    "traffic_cone",
)
"""The ten classes of the nuScenes detection task; class k is label k."""

_CLASSES = load_class_set("nuscenes")

NUSCENES_CLASS_OF_CATEGORY: dict[str, str] = {
    NUSCENES_LIDARSEG_CATEGORIES[raw]: name for raw, name in _CLASSES.labels.items() if name != IGNORE
}
"""Class of each category that has one."""

NUSCENES_LIDARSEG_LUT: NDArray[np.int64] = _CLASSES.lut
"""(32,) category index to class 0..15, -1 ignored (challenge label 0)."""
