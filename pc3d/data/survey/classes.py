"""Category names of boxes and of point labels against the classes that pc3d knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pc3d.data.classes import ClassSet
from pc3d.data.errors import fail
from pc3d.data.label_maps import NUSCENES_LIDARSEG_CATEGORIES
from pc3d.data.labels import look_up
from pc3d.data.readers.json_tables import stream_rows
from pc3d.data.records import Sweep
from pc3d.findings import Finding

_SHOWN, _IDS = 8, 40


def nearest_category(name: str, classes: ClassSet) -> str | None:
    """The known category that a name most likely means: by its last part, its class, or its spelling."""
    names: dict[str, str] = {}
    for category in reversed(list(classes.boxes)):
        names[classes.boxes[category]] = category
    # Without what stands before it: `vehicle.` alone makes no bicycle a car.
    names |= {category.rpartition(".")[2].lower(): category for category in classes.boxes}
    close = get_close_matches(name.lower().rpartition(".")[2].replace(" ", "_"), names, 1)
    return names[close[0]] if close else None


class BoxCategories:
    """Looks at the category names of the boxes of one scene after the other.

    Args:
        classes: of the data set, None where it has none.
    """

    def __init__(self, classes: ClassSet | None) -> None:
        self._classes = classes
        self._names: Counter[str] = Counter()

    def look(self, sweeps: Sequence[Sweep]) -> None:
        for sweep in sweeps:
            if sweep.boxes is not None:
                self._names.update(sweep.boxes.names)

    def findings(self) -> list[Finding]:
        if not self._names or (self._classes is not None and not self._classes.detection):
            return []
        if self._classes is None:
            names = ", ".join(f"{name!r} ({count})" for name, count in self._names.most_common(_SHOWN))
            text = f"{self._names.total()} boxes have names, but the data set has no classes: {names}"
            remedy = "give them classes with a class file: --classes FILE"
            return [Finding("box categories", "warning", text, remedy)]
        known = self._classes.boxes
        unknown = [pair for pair in self._names.most_common() if pair[0] not in known]
        none = self._names.keys().isdisjoint(self._classes.class_of_box)
        if not (unknown or none):
            return []
        shown = (unknown or self._names.most_common())[:_SHOWN]
        names = ", ".join(f"{name!r} ({count}{_meant(name, self._classes)})" for name, count in shown)
        some = ", ".join(list(self._classes.class_of_box)[:3])
        remedy = (
            f"name categories as the classes {self._classes.name!r} do ({some}, ...), or give each a "
            "class or `ignore` under `boxes` of a class file: --classes FILE"
        )
        if none:
            text = f"none of {self._names.total()} boxes is of a detection class, a detector learns nothing"
            return [Finding("box categories", "problem", f"{text}: {names}", remedy)]
        boxes = sum(count for _, count in unknown)
        text = f"{boxes} of {self._names.total()} boxes have a name that no class takes: {names}"
        return [Finding("box categories", "warning", text, remedy)]


def listed_ids(unknown: Counter[int], most: int) -> str:
    """Raw ids with their counts, the first `most` of them."""
    shown = ", ".join(f"{raw} ({count:,})" for raw, count in sorted(unknown.items())[:most])
    return shown + (f", and {len(unknown) - most} more" if len(unknown) > most else "")


class LabelIds:
    """Looks at the raw ids of a few label files.

    Args:
        classes: of the data set, None where it has none.
    """

    def __init__(self, classes: ClassSet | None) -> None:
        self._classes = classes
        self._unknown: Counter[int] = Counter()
        self._points = 0

    def look(self, raw: NDArray[np.int64]) -> NDArray[np.int64]:
        """(P,) class of each of (P,) raw ids: -1 ignored or not known."""
        labels = look_up(raw, self._classes)
        ids, counts = np.unique(raw[labels == -2], return_counts=True)
        self._unknown.update(dict(zip(ids.tolist(), counts.tolist(), strict=True)))
        self._points += len(raw)
        return np.maximum(labels, -1)

    def findings(self) -> list[Finding]:
        if not self._unknown or self._classes is None:
            return []
        text = (
            f"{self._unknown.total():,} of {self._points:,} labels (a sample) have {len(self._unknown)} raw "
            f"ids that the classes {self._classes.name!r} do not know: {listed_ids(self._unknown, _IDS)}"
        )
        remedy = (
            f"give each a class or `ignore` under `labels` of the class file (--classes FILE); it knows "
            f"{len(self._classes.labels)} ids. Or the format of the label files is another"
        )
        return [Finding("label ids", "problem", text, remedy)]


def class_findings(classes: ClassSet | None) -> list[Finding]:
    """Classes that no point or no box can have."""
    if classes is None:
        return []
    found = []
    # Of the common classes a data set rarely has all.
    state: Literal["ok", "warning"] = "ok" if classes.name == "common" else "warning"
    if classes.classes and classes.without_id:
        names = ", ".join(classes.without_id)
        text = f"no raw id under `labels` means {names}: no point can have "
        text += "one of these classes" if len(classes.without_id) > 1 else "this class"
        found.append(Finding("classes without id", state, text, "add their ids, or leave them out"))
    lost = [name for name in classes.detection if name not in classes.boxes.values()]
    if lost:
        text = f"no category under `boxes` means {', '.join(lost)}: no box can have that class"
        found.append(
            Finding("classes without category", state, text, "add their categories, or leave them out")
        )
    return found


def _meant(name: str, classes: ClassSet) -> str:
    meant = nearest_category(name, classes)
    return f", {meant}?" if meant and meant != name else ""


def check_label_order(tables: Path, classes: ClassSet | None) -> None:
    """Compare the table of label categories with the order in which nuScenes' classes read label files.

    A name without its prefix (`car` for `vehicle.car`) is at its place too.

    Args:
        tables: version folder; rows of its `category.json` say their `index` where there are labels.
        classes: of the index.

    Raises:
        DataError: a label is of another category than the map reads.
    """
    path = tables / "category.json"
    if classes is None or classes.name != "nuscenes" or not (tables / "lidarseg.json").is_file():
        return
    known = NUSCENES_LIDARSEG_CATEGORIES
    for row in stream_rows(path):
        index, name = row.get("index"), str(row.get("name"))
        if index is None:
            continue
        expected = known[index] if isinstance(index, int) and 0 <= index < len(known) else None
        if expected is None or name.lower() not in (expected, expected.rpartition(".")[2]):
            fail(
                f"label {index} is {name!r} in the table, the classes {classes.name!r} read "
                f"{expected or 'no such label'}: points would get other classes",
                path,
                "write labels in the order of nuScenes-lidarseg, index without them (--no-labels), or give a "
                "class file of your own (--classes FILE)",
            )
