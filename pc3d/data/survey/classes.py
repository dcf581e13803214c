"""Category names of boxes and of point labels against the classes that pc3d knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from pc3d.data.detection import DETECTION_CLASS_OF_CATEGORY
from pc3d.data.errors import fail
from pc3d.data.label_maps import NUSCENES_CLASS_OF_CATEGORY, NUSCENES_LIDARSEG_CATEGORIES
from pc3d.data.readers.json_tables import stream_rows
from pc3d.data.records import Sweep
from pc3d.findings import Finding

_SHOWN = 8


def nearest_category(name: str) -> str | None:
    """The known category that a name most likely means: by its last part, its class, or its spelling."""
    names = {category: category for category in NUSCENES_LIDARSEG_CATEGORIES}
    for category in reversed(NUSCENES_LIDARSEG_CATEGORIES):
        names[NUSCENES_CLASS_OF_CATEGORY.get(category, category)] = category
    names |= {category.rpartition(".")[2]: category for category in NUSCENES_LIDARSEG_CATEGORIES}
    close = get_close_matches(name.lower().replace(" ", "_"), names, 1)
    return names[close[0]] if close else None


class BoxCategories:
    """Looks at the category names of the boxes of one scene after the other."""

    def __init__(self) -> None:
        self._names: Counter[str] = Counter()

    def look(self, sweeps: Sequence[Sweep]) -> None:
        for sweep in sweeps:
            if sweep.boxes is not None:
                self._names.update(sweep.boxes.names)

    def findings(self) -> list[Finding]:
        unknown = [pair for pair in self._names.most_common() if pair[0] not in NUSCENES_LIDARSEG_CATEGORIES]
        if not self._names or not (unknown or self._names.keys().isdisjoint(DETECTION_CLASS_OF_CATEGORY)):
            return []
        shown = (unknown or self._names.most_common())[:_SHOWN]
        names = ", ".join(f"{name!r} ({count}{_meant(name)})" for name, count in shown)
        remedy = "name categories as nuScenes does (vehicle.car, human.pedestrian.adult, ...)"
        if self._names.keys().isdisjoint(DETECTION_CLASS_OF_CATEGORY):
            text = f"none of {self._names.total()} boxes is of a detection class, a detector learns nothing"
            return [Finding("box categories", "problem", f"{text}: {names}", remedy)]
        boxes = sum(count for _, count in unknown)
        text = f"{boxes} of {self._names.total()} boxes have a name that no class takes: {names}"
        return [Finding("box categories", "warning", text, remedy)]


def _meant(name: str) -> str:
    meant = nearest_category(name)
    return f", {meant}?" if meant and meant != name else ""


def check_label_order(tables: Path, label_map: str | None) -> None:
    """Compare the table of label categories with the order in which the label map reads label files.

    A name without its prefix (`car` for `vehicle.car`) is at its place too.

    Args:
        tables: version folder; rows of its `category.json` say their `index` where there are labels.
        label_map: of the index.

    Raises:
        DataError: a label is of another category than the map reads.
    """
    path = tables / "category.json"
    if label_map != "nuscenes_lidarseg" or not (tables / "lidarseg.json").is_file():
        return
    known = NUSCENES_LIDARSEG_CATEGORIES
    for row in stream_rows(path):
        index, name = row.get("index"), str(row.get("name"))
        if index is None:
            continue
        expected = known[index] if isinstance(index, int) and 0 <= index < len(known) else None
        if expected is None or name.lower() not in (expected, expected.rpartition(".")[2]):
            fail(
                f"label {index} is {name!r} in the table, the label map {label_map!r} reads "
                f"{expected or 'no such label'}: points would get other classes",
                path,
                "write labels in the order of nuScenes-lidarseg, or index without them: --no-labels",
            )
