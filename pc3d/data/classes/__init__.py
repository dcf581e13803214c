"""Classes of a data set: their names, colours, and what in its files means which.

A class file is YAML beside the index or here (`nuscenes.yaml`, `semantic_kitti.yaml`, ...):

    name: mine
    classes: [road, building, car]            # class k is label k
    colours: {road: [34, 178, 190]}           # optional
    labels: {0: ignore, 40: road, 50: building, 10: car}      # raw id in the label files
    movable: [car]                            # optional: temporal voting leaves them alone
    detection: [car]                          # classes of boxes, optional
    boxes: {Car: car, Van: car, Misc: ignore} # category of a box, optional

It travels in the metadata of index, checkpoint and result.
"""

from pc3d.data.classes.class_set import (
    IGNORE,
    ClassSet,
    common_detection,
    load_class_set,
    ready_made,
    shared_class_set,
)

__all__ = ["IGNORE", "ClassSet", "common_detection", "load_class_set", "ready_made", "shared_class_set"]
