"""The record of a data set's classes, from a YAML file or from metadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import DataError, did_you_mean, fail
from pc3d.data.plain_files import read_plain

IGNORE = "ignore"
"""Stands for a class where a label or a box is of none."""
MOST_ID = (1 << 20) - 1
"""Raw ids are numbers of categories; the largest that are in use have 16 bits."""
_KEYS = ("name", "classes", "colours", "labels", "movable", "detection", "boxes")


@dataclass(frozen=True, eq=False)
class ClassSet:
    """Classes of points and of boxes.

    Attributes:
        name: of the set.
        classes: of points; class k is label k, none is possible.
        colours: (red, green, blue) of some or all classes of both kinds.
        labels: raw id in the label files to class, or `IGNORE`; an id that is not here is an error.
        detection: classes of boxes; class k is label k.
        boxes: category of a box to its detection class, or `IGNORE`; one that is not here is ignored, and
            said when the index is made.
        movable: classes of points whose members may move, which temporal voting leaves alone. Where none is
            named, names tell.
    """

    name: str
    classes: tuple[str, ...] = ()
    colours: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    labels: Mapping[int, str] = field(default_factory=dict)
    detection: tuple[str, ...] = ()
    boxes: Mapping[str, str] = field(default_factory=dict)
    movable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.classes and not self.detection:
            raise ValueError(
                "there is no class: name `classes` of points, `detection` classes of boxes, or both"
            )
        for what, names in (("classes", self.classes), ("detection", self.detection)):
            if len(set(names)) < len(names) or IGNORE in names or not all(names):
                raise ValueError(f"`{what}` are {names}, expected different names, none of them {IGNORE!r}")
        for what, table, known in (
            ("labels", self.labels, self.classes),
            ("boxes", self.boxes, self.detection),
        ):
            for key, name in table.items():
                if name != IGNORE and name not in known:
                    other = "classes" if what == "labels" else "detection"
                    raise ValueError(
                        f"`{what}` gives {key!r} the class {name!r}, which is none of `{other}`"
                        f"{did_you_mean(name, known)}"
                    )
        for raw in self.labels:
            if not 0 <= raw <= MOST_ID:
                raise ValueError(f"`labels` has the raw id {raw}, expected 0 to {MOST_ID}")
        for what, wanted, known in (
            ("colours", self.colours, (*self.classes, *self.detection)),
            ("movable", self.movable, self.classes),
        ):
            for name in wanted:
                if name not in known:
                    raise ValueError(f"`{what}` names {name!r}, which is no class{did_you_mean(name, known)}")
        self._check_colours()

    def _check_colours(self) -> None:
        for name, colour in self.colours.items():
            if len(colour) != 3 or not all(type(c) is int and 0 <= c <= 255 for c in colour):
                raise ValueError(_wrong_colour(name, list(colour)))
        # A class of points and one of boxes may share a colour: they often mean the same.
        for names in (self.classes, self.detection):
            owner: dict[tuple[int, ...], str] = {}
            for name in names:
                if name in self.colours:
                    other = owner.setdefault(tuple(self.colours[name]), name)
                    if other != name:
                        raise ValueError(
                            f"the colour of {other!r} and of {name!r} is {list(self.colours[name])}, "
                            "expected two that differ, or leave one out: it gets its own"
                        )

    @cached_property
    def lut(self) -> NDArray[np.int64]:
        """(largest raw id + 1,) class of each raw id: -1 ignored, -2 not known."""
        table = np.full(max(self.labels, default=-1) + 1, -2, dtype=np.int64)
        for raw, name in self.labels.items():
            table[raw] = -1 if name == IGNORE else self.classes.index(name)
        return table

    @property
    def without_id(self) -> tuple[str, ...]:
        """Classes that no raw id means: no point can have them."""
        return tuple(name for name in self.classes if name not in set(self.labels.values()))

    @cached_property
    def class_of_box(self) -> dict[str, int]:
        """Detection label of each category that has one."""
        return {
            category: self.detection.index(name) for category, name in self.boxes.items() if name != IGNORE
        }

    def box_labels(self, categories: Iterable[str]) -> NDArray[np.int64]:
        """(N,) detection label of each category, -1 for others."""
        return np.array([self.class_of_box.get(name, -1) for name in categories], dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and YAML; the inverse of `from_dict`."""
        return {
            "name": self.name,
            "classes": list(self.classes),
            "colours": {name: list(colour) for name, colour in self.colours.items()},
            "labels": {str(raw): name for raw, name in self.labels.items()},
            "movable": list(self.movable),
            "detection": list(self.detection),
            "boxes": dict(self.boxes),
        }

    @classmethod
    def from_dict(cls, values: Any, where: str | Path = "metadata") -> ClassSet:
        """The class set of plain values.

        Raises:
            DataError: a key that is none, a value of another kind, or one that does not fit the others.
        """
        try:
            return cls(**_fields(values))
        except (ValueError, TypeError, AttributeError) as error:
            if isinstance(error, DataError):
                raise
            fail(
                f"the classes are wrong: {error}", where, "see pc3d.data.classes for what a class file holds"
            )

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> ClassSet | None:
        """The class set of an index or a checkpoint, None where it has none."""
        values = metadata.get("classes")
        return None if values is None else cls.from_dict(values)


def _fields(values: Any) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise ValueError(f"expected `name`, `classes`, ... and not {str(values)[:80]!r}")
    unknown = [str(key) for key in values if key not in _KEYS and key != "common"]
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}{did_you_mean(unknown[0], _KEYS)}")
    lists = {key: values.get(key) or () for key in ("classes", "detection", "movable")}
    for key, names in lists.items():
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise ValueError(
                f"`{key}` is {str(names)[:80]}, expected a list of names (quote yes, no, on, off)"
            )
    tables = {key: values.get(key) or {} for key in ("colours", "labels", "boxes")}
    for key, table in tables.items():
        if not isinstance(table, Mapping):
            raise ValueError(f"`{key}` is {str(table)[:80]!r}, expected a table")
        for one in (*table.values(), *(() if key == "labels" else table)):
            if isinstance(one, bool):
                raise ValueError(f"`{key}` has the name {one!r}, expected text (quote yes, no, on, off)")
    for name, colour in tables["colours"].items():
        if not isinstance(colour, (list, tuple)):
            raise ValueError(_wrong_colour(name, colour))
    ids = [_raw_id(raw) for raw in tables["labels"]]
    if twice := sorted({raw for raw in ids if ids.count(raw) > 1}):
        raise ValueError(f"`labels` has the raw id {twice[0]} twice")
    return {
        "name": str(values.get("name", "own")),
        **{key: tuple(names) for key, names in lists.items()},
        "colours": {str(name): tuple(colour) for name, colour in tables["colours"].items()},
        "labels": {_raw_id(raw): str(name) for raw, name in tables["labels"].items()},
        "boxes": {str(category): str(name) for category, name in tables["boxes"].items()},
    }


def _wrong_colour(name: Any, colour: Any) -> str:
    return f"the colour of {name!r} is {colour!r}, expected [red, green, blue], whole numbers from 0 to 255"


def _raw_id(raw: Any) -> int:
    if isinstance(raw, bool) or not str(raw).strip().lstrip("-").isdigit():
        raise ValueError(f"`labels` has the raw id {raw!r}, expected a whole number")
    return int(raw)


def ready_made() -> tuple[str, ...]:
    """Names of the class files that come with pc3d."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.yaml")))


def load_class_set(name: str | Path, common: bool = False) -> ClassSet:
    """A class set that comes with pc3d, by its name, or that of a YAML file, by its path.

    Args:
        common: that of its section `common`: the same data in the 16 and 10 classes that all sets share.

    Raises:
        DataError: there is none, it cannot be read, or its content does not fit together.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = Path(__file__).parent / f"{name}.yaml"
        if not path.is_file():
            fail(
                f"no class set is named {str(name)!r}{did_you_mean(name, ready_made())}",
                "classes",
                f"name a YAML file, or one of {', '.join(ready_made())}",
            )
    values = read_plain(path, "the class file")
    if common:
        return _common(values, path)
    return ClassSet.from_dict(values, path)


@cache
def common_detection() -> tuple[str, ...]:
    """The detection classes that all sets share: the ten of nuScenes."""
    return tuple(shared_class_set()["detection"])


def shared_class_set() -> dict[str, Any]:
    """`name`, `classes`, `movable`, `detection` and `colours` of the common classes: those of nuScenes."""
    values = read_plain(Path(__file__).parent / "nuscenes.yaml", "the class file")
    shared = ("classes", "detection", "colours", "movable")
    return {"name": "common", **{key: values[key] for key in shared}}


def _common(values: Any, path: Path) -> ClassSet:
    tables = values.get("common") if isinstance(values, dict) else None
    if not isinstance(tables, dict):
        fail(
            "the class file has no section `common`", path, "add one: labels and boxes by the common classes"
        )
    shared = shared_class_set()
    for key, names in (("labels", ("classes", "movable")), ("boxes", ("detection",))):
        if not tables.get(key):
            shared |= {name: [] for name in names}
    known = {*shared["classes"], *shared["detection"]}
    shared["colours"] = {name: colour for name, colour in shared["colours"].items() if name in known}
    return ClassSet.from_dict({**shared, **tables}, path)
