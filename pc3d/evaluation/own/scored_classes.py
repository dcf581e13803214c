"""Who scores a data set, and the classes that it is scored on."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from pc3d.data.classes import ClassSet
from pc3d.data.errors import fail
from pc3d.data.index import SweepIndex
from pc3d.data.label_maps import NUSCENES_DETECTION_CLASSES, NUSCENES_LIDARSEG_CLASSES
from pc3d.engine.checkpoints import classes_of_model
from pc3d.engine.data_classes import names_of
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


def words_of(name: str) -> set[str]:
    """The words of a class name in small letters: `vehicle`, `bus` and `rigid` of `vehicle.bus.rigid`."""
    return set(re.split(r"[^a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())) - {""}


def may_move(classes: ClassSet) -> tuple[int, ...]:
    """Labels of classes of points whose members may move: `movable`, else those of a box or such a word."""
    if classes.movable:
        return tuple(label for label, name in enumerate(classes.classes) if name in classes.movable)
    return tuple(
        label
        for label, name in enumerate(classes.classes)
        if name in classes.detection or words_of(name) & _MOVERS
    )


def scored_names(index: SweepIndex, task: str, evaluator: str) -> tuple[str, ...]:
    """The classes that a task is scored on.

    Raises:
        DataError: pc3d scores, and the index has none.
    """
    return _OFFICIAL_CLASSES[task] if evaluator == OFFICIAL else names_of(scored_classes(index, task), task)


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


def check_model_classes(checkpoint: Path, task: str, scored: Sequence[str]) -> None:
    """Whether the labels that a model predicts are the classes that are scored.

    Raises:
        DataError: it was trained on others, or predicts another number of them.
    """
    classes = classes_of_model(Path(checkpoint))
    trained = names_of(classes, task) if classes else _usual(task)
    if trained is not None and tuple(trained) != tuple(scored):
        what = f"the model was trained on other classes ({_listed(trained)}) than are scored"
        remedy = "fine-tune on data of these classes, or index the data with the class file of the training"
        fail(f"{what} ({_listed(scored)})", checkpoint, remedy)
    head = json.loads(read_metadata(Path(checkpoint)).get("head", "{}"))
    count = head.get("num_classes", len(scored))
    if count != len(scored):
        remedy = f"fine-tune on data of these classes, then head.num_classes={len(scored)}"
        fail(f"the model has {count} classes, the evaluation {len(scored)}", checkpoint, remedy)


def _usual(task: str) -> tuple[str, ...] | None:
    """Classes of a model that does not say them: all detectors had nuScenes' ten."""
    return NUSCENES_DETECTION_CLASSES if task == "detection" else None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f", ... ({len(names)})" if len(names) > 12 else "")
