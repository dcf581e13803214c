"""What an index holds in numbers: scenes and times of its rows, and the content of some of its sweeps."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pc3d.data.classes import ClassSet
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.labels import load_raw_labels
from pc3d.data.points import load_sweep
from pc3d.data.points.load import BASE, available
from pc3d.data.records import Boxes, Float32, Float64, Sweep

SCENES, ROWS = 60, 120
"""Scenes that are looked at, and rows of each; all of them where there are fewer."""
REACH, CELL = 60.0, 0.5
"""Metres to the edge of the map of density, and of its cells."""
_BINS = {
    "range": np.linspace(0, 200, 101),
    "intensity": np.linspace(0, 1, 65),
    "height": np.linspace(-5, 15, 81),
}


@dataclass(frozen=True, eq=False)
class SceneFacts:
    """A drive.

    Attributes:
        name, split, place: of it; the place is "" where the data set does not say.
        sweeps, key_frames: how many. start: of it, microseconds. seconds: that it takes.
        steps: (N,) seconds between neighbouring sweeps, of a part of them.
        track: (M, 2) metres in the world, some of its positions.
    """

    name: str
    split: str
    place: str
    sweeps: int
    key_frames: int
    start: int
    seconds: float
    steps: Float64
    track: Float64

    @property
    def metres(self) -> float:
        """Length of the way, between the positions that were taken."""
        return float(np.linalg.norm(np.diff(self.track, axis=0), axis=1).sum())


@dataclass
class ContentFacts:
    """What the opened sweeps hold.

    Attributes:
        rows: that were opened. failed: what could not be read, one text each.
        points: of each sweep. histograms: counts by `bins`.
        columns: (least, middle, most) of each sweep, by column.
        labels: points by class, -1 ignored, of `labelled` sweeps.
        boxes: rows (length, width, height, distance, points) by category. annotated: sweeps with boxes.
        density: points by cell around the vehicle, its nose upwards.
    """

    rows: list[int] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    points: list[int] = field(default_factory=list)
    histograms: dict[str, NDArray[np.int64]] = field(
        default_factory=lambda: {name: np.zeros(len(edges) - 1, np.int64) for name, edges in _BINS.items()}
    )
    columns: dict[str, list[tuple[float, float, float]]] = field(default_factory=lambda: defaultdict(list))
    labels: Counter[int] = field(default_factory=Counter)
    labelled: int = 0
    boxes: dict[str, list[Float64]] = field(default_factory=lambda: defaultdict(list))
    annotated: int = 0
    density: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((round(2 * REACH / CELL),) * 2, np.int64)
    )

    @property
    def bins(self) -> dict[str, Float64]:
        """Edges of the histograms: range and height in metres, intensity."""
        return _BINS


def spread(count: int, wanted: int) -> list[int]:
    """Up to `wanted` whole numbers below `count` at equal distances, the first and the last among them."""
    return (
        np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(int)).tolist() if count else []
    )


def scene_ranges(index: SweepIndex) -> Iterator[range]:
    """The rows of each scene."""
    row = 0
    while row < len(index):
        rows = index.scene_rows(row)
        yield rows
        row = rows.stop


def scene_facts(index: SweepIndex, scenes: int = SCENES) -> tuple[int, list[SceneFacts]]:
    """How many scenes there are, and facts of up to `scenes` of them."""
    ranges = list(scene_ranges(index))
    keys = np.asarray(index.key_rows(None))
    places = index.metadata.get("scene_locations") or {}
    return len(ranges), [_scene(index, ranges[n], keys, places) for n in spread(len(ranges), scenes)]


def _scene(index: SweepIndex, rows: range, keys: NDArray[np.int64], places: dict[str, str]) -> SceneFacts:
    if len(rows) <= ROWS:
        picked, pairs = list(rows), list(pairwise(rows))
    else:  # neighbours at equal distances
        pairs = [(rows[n], rows[n + 1]) for n in spread(len(rows) - 1, ROWS // 2)]
        picked = sorted({row for pair in pairs for row in pair})
    sweeps = {row: index[row] for row in picked}
    first, last = sweeps[picked[0]], sweeps[picked[-1]]
    return SceneFacts(
        name=first.scene,
        split=first.split,
        place=str(places.get(first.scene, "")),
        sweeps=len(rows),
        key_frames=int(np.searchsorted(keys, rows.stop) - np.searchsorted(keys, rows.start)),
        start=first.timestamp,
        seconds=1e-6 * (last.timestamp - first.timestamp),
        steps=np.array([1e-6 * (sweeps[b].timestamp - sweeps[a].timestamp) for a, b in pairs]),
        track=np.array([sweeps[row].world_SE3_ego[:2, 3] for row in picked]),
    )


def sampled_rows(index: SweepIndex, samples: int) -> list[int]:
    """Rows of up to `samples` key frames at equal distances; of sweeps where there are no key frames."""
    keys = index.key_rows(None)
    if len(keys):
        return [int(keys[n]) for n in spread(len(keys), samples)]
    return spread(len(index), samples)


def content_facts(index: SweepIndex, rows: list[int], classes: ClassSet | None) -> ContentFacts:
    """Open sweeps and count what they hold; one that cannot be read is named and left out."""
    facts = ContentFacts()
    for row in rows:
        sweep = index[row]
        try:
            _add_sweep(facts, sweep, classes)
        except DataError as error:
            facts.failed.append(", ".join(line.strip() for line in str(error).split("\n")[:2]))
        else:
            facts.rows.append(row)
    return facts


def _add_sweep(facts: ContentFacts, sweep: Sweep, classes: ClassSet | None) -> None:
    extra = tuple(name for name in available(sweep) if name not in BASE)
    points = load_sweep(sweep, extra)
    facts.points.append(len(points))
    away = np.linalg.norm(points[:, :3], axis=1)
    height = points[:, :3] @ sweep.ego_SE3_lidar[2, :3] + sweep.ego_SE3_lidar[2, 3]
    for name, values in (("range", away), ("intensity", points[:, 3]), ("height", height)):
        edges = _BINS[name]
        facts.histograms[name] += np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
    for at, name in enumerate((*BASE, *extra)):
        low, middle, high = np.quantile(points[:, at], [0.0, 0.5, 1.0]).tolist()
        facts.columns[name].append((low, middle, high))
    _add_density(facts, points, sweep)
    if sweep.boxes is not None:
        facts.annotated += 1
        _add_boxes(facts, sweep.boxes)
    if sweep.lidarseg_path is not None and classes is not None and classes.classes:
        raw = load_raw_labels(sweep, len(points))
        lut = classes.lut
        known = (raw >= 0) & (raw < len(lut))
        labels = np.maximum(np.where(known, lut[np.where(known, raw, 0)], -1), -1)
        ids, counts = np.unique(labels, return_counts=True)
        facts.labels.update(dict(zip(ids.tolist(), counts.tolist(), strict=True)))
        facts.labelled += 1


def _add_density(facts: ContentFacts, points: Float32, sweep: Sweep) -> None:
    ego = points[:, :3] @ sweep.ego_SE3_lidar[:2, :3].T + sweep.ego_SE3_lidar[:2, 3]
    cells = len(facts.density)
    at = np.floor((REACH - ego) / CELL).astype(np.int64)  # x forward is up, y left is left
    inside = ((at >= 0) & (at < cells)).all(axis=1)
    facts.density += np.bincount(at[inside, 0] * cells + at[inside, 1], minlength=cells * cells).reshape(
        cells, cells
    )


def _add_boxes(facts: ContentFacts, boxes: Boxes) -> None:
    distance = np.linalg.norm(boxes.centers[:, :2], axis=1)
    table = np.column_stack([boxes.sizes, distance, boxes.num_lidar_pts])
    for name in set(boxes.names):
        facts.boxes[name].append(table[np.array([one == name for one in boxes.names])])
