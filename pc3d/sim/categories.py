"""The 32 lidarseg categories of nuScenes, and which annotated category is which detection class.

Order and names follow nuscenes-devkit 1.2.0 (`nuscenes.utils.color_map.get_colormap`).
"""

from __future__ import annotations

from pc3d.data.label_maps import NUSCENES_LIDARSEG_CATEGORIES

LIDARSEG_NAMES = NUSCENES_LIDARSEG_CATEGORIES
LIDARSEG_INDEX: dict[str, int] = {name: index for index, name in enumerate(LIDARSEG_NAMES)}

NOISE = LIDARSEG_INDEX["noise"]
EGO = LIDARSEG_INDEX["vehicle.ego"]
DRIVEABLE = LIDARSEG_INDEX["flat.driveable_surface"]
FLAT_OTHER = LIDARSEG_INDEX["flat.other"]
SIDEWALK = LIDARSEG_INDEX["flat.sidewalk"]
TERRAIN = LIDARSEG_INDEX["flat.terrain"]
MANMADE = LIDARSEG_INDEX["static.manmade"]
STATIC_OTHER = LIDARSEG_INDEX["static.other"]
VEGETATION = LIDARSEG_INDEX["static.vegetation"]
SKY = 255
"""Label of image pixels that see no surface."""

DETECTION_CLASS: dict[str, str] = {
    "movable_object.barrier": "barrier",
    "vehicle.bicycle": "bicycle",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.car": "car",
    "vehicle.construction": "construction_vehicle",
    "vehicle.motorcycle": "motorcycle",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
    "movable_object.trafficcone": "traffic_cone",
    "vehicle.trailer": "trailer",
    "vehicle.truck": "truck",
}
"""Detection class of each annotated category (detection_cvpr_2019)."""
