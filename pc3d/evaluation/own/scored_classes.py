"""Who scores a data set, and the classes that it is scored on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pc3d.data.classes import ClassSet
from pc3d.data.detection import NUSCENES_DETECTION_CLASSES
from pc3d.data.errors import fail
from pc3d.data.index import SweepIndex
from pc3d.data.label_maps import NUSCENES_LIDARSEG_CLASSES
from pc3d.models.weights import read_metadata

OFFICIAL, OWN = "nuscenes-devkit", "pc3d"
_OFFICIAL_CLASSES = {"lidarseg": NUSCENES_LIDARSEG_CLASSES, "detection": NUSCENES_DETECTION_CLASSES}
VEHICLES = {"bus", "car", "tractor", "trailer", "train", "tram", "truck", "van", "vehicle", "vehicular"}
"""Words in names of classes that are vehicles."""
_MOVERS = VEHICLES | {
    *(
        "animal",
        "bicycle",
        "bicyclist",
        "bike",
        "cyclist",
        "human",
        "motorcycle",
        "motorcyclist",
        "pedestrian",
    ),
    *("people", "person", "rider", "scooter", "wheelchair"),
}
_KINDS = {"lidarseg": "classes", "detection": "detection"}


def evaluator_of(index: SweepIndex, task: str, wanted: str | None = None) -> str:
    """Who scores a task: the devkit on data in the nuScenes format with nuScenes' classes, else pc3d.

    Args:
        task: `lidarseg` or `detection`.
        wanted: `OWN` asks for pc3d's scores where the devkit's can be had; `OFFICIAL` for the devkit's.

    Raises:
        ValueError: `wanted` is no evaluator.
    """
    if wanted is not None and wanted not in (OFFICIAL, OWN):
        raise ValueError(f"unknown evaluator {wanted!r}; choose {OWN} or {OFFICIAL}")
    if wanted is not None:
        return wanted
    classes = ClassSet.of(index.metadata)
    nuscenes = index.metadata["dataset"] == "nuscenes" and "version" in index.metadata
    same = classes is None or names_of(classes, task) == _OFFICIAL_CLASSES[task]
    return OFFICIAL if nuscenes and same else OWN


def names_of(classes: ClassSet, task: str) -> tuple[str, ...]:
    """The classes of a task, in the order of their labels."""
    return classes.classes if task == "lidarseg" else classes.detection


def words_of(name: str) -> set[str]:
    """The words of a class name in small letters: `vehicle`, `bus` and `rigid` of `vehicle.bus.rigid`."""
    return set(re.split(r"[^a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())) - {""}


def may_move(classes: ClassSet) -> tuple[int, ...]:
    """Labels of the classes of points whose members may move: those of a box or with such a word."""
    return tuple(
        label
        for label, name in enumerate(classes.classes)
        if name in classes.detection or words_of(name) & _MOVERS
    )


def scored_classes(index: SweepIndex, task: str) -> ClassSet:
    """The classes of an index, with at least one of the task.

    Raises:
        DataError: it has none.
    """
    classes = ClassSet.of(index.metadata)
    if classes is None or not names_of(classes, task):
        what = "points" if task == "lidarseg" else "boxes"
        remedy = f"name them under `{_KINDS[task]}` in a class file, and build the index with --classes FILE"
        fail(f"the index has no classes of {what}, so that nothing could be scored", index.folder, remedy)
    return classes


def check_model_classes(checkpoint: Path, task: str, classes: ClassSet) -> None:
    """Whether the labels that a model predicts are those of the data.

    Raises:
        DataError: it was trained on others, or predicts another number of them.
    """
    scored, metadata = names_of(classes, task), read_metadata(Path(checkpoint))
    trained = model_classes(metadata, task)
    if trained is not None and trained != scored:
        what = f"the model was trained on other classes ({_listed(trained)}) than the data has"
        remedy = "fine-tune on data of these classes, or index the data with the class file of the training"
        fail(f"{what} ({_listed(scored)})", checkpoint, remedy)
    count = json.loads(metadata.get("head", "{}")).get("num_classes", len(scored))
    if count != len(scored):
        what = f"the model predicts {count} classes, the data has {len(scored)}"
        fail(f"{what}: {_listed(scored)}", checkpoint, "fine-tune on data of these classes")


def model_classes(metadata: Mapping[str, str], task: str) -> tuple[str, ...] | None:
    """Classes that a checkpoint was trained on, None where it does not say them.

    Detectors that say nothing are of the time when all had nuScenes' ten classes.
    """
    if "classes" not in metadata:
        return NUSCENES_DETECTION_CLASSES if task == "detection" else None
    classes = ClassSet.of({"classes": json.loads(metadata["classes"])})
    return None if classes is None else names_of(classes, task)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f", ... ({len(names)})" if len(names) > 12 else "")
