"""Counts of what opened files show: each process makes some, and the command adds them up."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from pc3d.data.classes import ClassSet
from pc3d.data.survey.classes import listed_ids
from pc3d.data.verify.checks import CHECKS
from pc3d.findings import Finding

EXAMPLES = 20
"""Places that are kept of each check."""
_IDS, _SHOWN = 1000, 20

Key = tuple[str, str]
"""Name of a check and the sensor, "" where it is of all."""


@dataclass
class Notes:
    """What was seen so far.

    Attributes:
        seen, of: by check, how often and among how many. examples: the first places.
        unknown: raw label ids that no class takes, and their points, of `labels` points.
        said, held: points in boxes as stated, and as counted, of the boxes that are said to hold most.
        near, empty: boxes near the LiDAR whose number of points is not stated, and those without a point.
    """

    seen: Counter[Key] = field(default_factory=Counter)
    of: Counter[Key] = field(default_factory=Counter)
    examples: dict[Key, list[str]] = field(default_factory=lambda: defaultdict(list))
    unknown: Counter[int] = field(default_factory=Counter)
    labels: int = 0
    said: int = 0
    held: int = 0
    near: int = 0
    empty: int = 0

    def look(self, check: str, odd: bool, where: str = "", sensor: str = "") -> bool:
        """Look at one more; gives `odd` back."""
        key = (check, sensor)
        self.of[key] += 1
        if odd:
            self.seen[key] += 1
            if len(self.examples[key]) < EXAMPLES:
                self.examples[key].append(where)
        return odd

    def add(self, other: Notes) -> None:
        """Add what another process saw later."""
        self.seen.update(other.seen)
        self.of.update(other.of)
        for key, places in other.examples.items():
            self.examples[key] += places[: EXAMPLES - len(self.examples[key])]
        for raw, count in other.unknown.items():
            if raw in self.unknown or len(self.unknown) < _IDS:
                self.unknown[raw] += count
        self.labels += other.labels
        self.said, self.held = self.said + other.said, self.held + other.held
        self.near, self.empty = self.near + other.near, self.empty + other.empty

    def findings(self, classes: ClassSet | None) -> list[Finding]:
        """What was odd, in the order of `CHECKS`."""
        found = []
        order = {name: at for at, name in enumerate(CHECKS)}
        for key in sorted(self.seen, key=lambda key: (order[key[0]], key)):
            check, sensor = CHECKS[key[0]], key[1]
            count, of = self.seen[key], self.of[key]
            if count > check.share * of:
                name = f"{key[0]} of {sensor}" if sensor else key[0]
                first = self.examples[key][0]
                text = f"{count} of {of} {check.what}, first: {first}"
                found.append(Finding(name, check.state, text, check.remedy))
        return [*found, *self._label_ids(classes), *self._boxes()]

    def places(self) -> dict[str, list[str]]:
        """The first places of each finding, by its name."""
        return {
            f"{check} of {sensor}" if sensor else check: list(places)
            for (check, sensor), places in self.examples.items()
        }

    def _label_ids(self, classes: ClassSet | None) -> list[Finding]:
        if not self.unknown or classes is None:
            return []
        text = (
            f"{self.unknown.total():,} of {self.labels:,} labels have raw ids that the classes "
            f"{classes.name!r} do not know: {listed_ids(self.unknown, _SHOWN)}"
        )
        remedy = (
            "give each a class or `ignore` under `labels` of the class file; or the label files are damaged"
        )
        return [Finding("label ids", "problem", text, remedy)]

    def _boxes(self) -> list[Finding]:
        remedy = "compare the frames and sizes of boxes, ego poses and the mount of the LiDAR"
        found = []
        if 2 * self.held < self.said:
            text = f"boxes hold {self.held} of {self.said} points that the tables say"
            found.append(Finding("boxes on points", "warning", text, remedy))
        if 2 * self.empty > self.near:
            text = f"{self.empty} of {self.near} boxes near the LiDAR hold no point"
            found.append(Finding("empty boxes", "warning", text, remedy))
        return found
