"""The classes of what a run reads: how many its head has, and what its predictions mean."""

from __future__ import annotations

from inspect import Parameter, signature
from typing import Any

from mmengine.config import Config

from pc3d.data.classes import ClassSet, common_detection
from pc3d.data.errors import fail
from pc3d.engine.config import plain
from pc3d.engine.data import MixedDataset
from pc3d.models.bev_models import DETECTION_HEADS

LIDARSEG, DETECTION = "lidarseg", "detection"
_SECTIONS = {LIDARSEG: "classes", DETECTION: "detection"}
_WHAT = {LIDARSEG: "labels of points", DETECTION: "classes of boxes"}


def names_of(classes: ClassSet | None, task: str) -> tuple[str, ...]:
    """The classes of a task, in the order of their labels."""
    return () if classes is None else classes.classes if task == LIDARSEG else classes.detection


def classes_of(dataset: MixedDataset, task: str) -> ClassSet | None:
    """The classes of a run; what its sources do not share of them is left out. None for other tasks.

    Raises:
        DataError: its sources have other classes, or none.
    """
    if task not in _SECTIONS:
        return None
    sets = {str(part.index.folder): ClassSet.of(part.index.metadata) for part in dataset.parts}
    own = [one for one in sets.values() if names_of(one, task)]
    if len(own) != len(sets) or len({names_of(one, task) for one in own}) != 1:
        listed = "; ".join(f"{folder}: {_listed(one, task)}" for folder, one in sets.items())
        fail(
            f"the data has no {_WHAT[task]} of the same classes",
            listed,
            f"fine-tune on indices whose class files have the same `{_SECTIONS[task]}` in the same order: "
            "index each with --classes common, or with a file of your own",
        )
    first: ClassSet = own[0]  # type: ignore[assignment]
    if all(one == first or one.to_dict() == first.to_dict() for one in own if one):
        return first
    return _shared([one for one in own if one], task)


def _shared(sets: list[ClassSet], task: str) -> ClassSet:
    """The classes of a task that several sets have; raw ids and categories are of each alone."""
    first = sets[0]
    name = " + ".join(dict.fromkeys(one.name for one in sets))
    points, detection = (first.classes, ()) if task == LIDARSEG else ((), first.detection)
    colours = {key: colour for key, colour in first.colours.items() if key in (*points, *detection)}
    movable = first.movable if task == LIDARSEG else ()
    return ClassSet(name, points, colours, {}, detection, {}, movable)


def _listed(classes: ClassSet | None, task: str) -> str:
    names = names_of(classes, task)
    shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return f"{classes.name} ({len(names)}: {shown})" if classes and names else "none"


def follow_index(config: Config, dataset: MixedDataset) -> Config:
    """A config whose head has the classes of the data.

    Raises:
        DataError: it is set to others; the sources have different classes, or none; a setting of the head
            names a class that they do not have.
    """
    task = config.get("task", LIDARSEG)
    classes = classes_of(dataset, task)
    if classes is None:
        return config
    where = ", ".join(dict.fromkeys(str(part.index.folder) for part in dataset.parts))
    head = plain(config.get("head") or {})
    if task == LIDARSEG:
        own: dict[str, Any] = {"num_classes": len(classes.classes)}
    else:
        own = _detection(head, classes)
    for key, value in own.items():
        if head.get(key, value) not in (value, list(value) if isinstance(value, tuple) else value):
            what = f"the data have {value} classes" if key == "num_classes" else f"it has {', '.join(value)}"
            fail(
                f"`head.{key}` is {head[key]}, but the labels of {what}",
                where,
                f"leave `head.{key}` out: it follows the index",
            )
    return Config({**plain(config), "head": {**head, **own}}) if own else config


def _detection(head: dict[str, Any], classes: ClassSet) -> dict[str, Any]:
    """`detection` for heads that take it, where the classes are not those that they take by themselves."""
    parameters = signature(DETECTION_HEADS[head.get("type", "CenterHead")]).parameters
    if "detection" not in parameters:
        return {}
    optional = parameters["detection"].default is not Parameter.empty and "detection" not in head
    usual = optional and classes.detection == common_detection()
    return {} if usual else {"detection": classes.detection}
