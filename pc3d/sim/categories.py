"""The 32 lidarseg categories of nuScenes, and which annotated category is which detection class.

Order and names follow nuscenes-devkit 1.2.0 (`nuscenes.utils.color_map.get_colormap`).
"""

from __future__ import annotations

from pc3d.data.label_maps import (
    NUSCENES_CLASS_OF_CATEGORY,
    NUSCENES_LIDARSEG_CATEGORIES,
    NUSCENES_LIDARSEG_CLASSES,
)

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
    category: name
    for category, name in NUSCENES_CLASS_OF_CATEGORY.items()
    if name in NUSCENES_LIDARSEG_CLASSES[:10]
}
"""Detection class of each annotated category (detection_cvpr_2019)."""
