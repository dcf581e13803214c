"""Ground-truth paste: annotated objects of other frames, with their points, put into a frame.

Yan et al. 2018 (SECOND): rare classes are seen more often. An object is pasted where it stood in its
own LiDAR frame, so that its points are as dense as its distance makes them. Nothing checks that the place
is sensible (it may stand in a wall); only boxes must not overlap.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pc3d.data.array_file import save_arrays
from pc3d.data.classes import ClassSet
from pc3d.data.errors import did_you_mean, fail
from pc3d.data.index import SweepIndex
from pc3d.data.paste_file import ARRAYS, OBJECTS, POINTS, TEXTS, described, read_objects
from pc3d.data.records import Boxes, Float32, Float64
from pc3d.data.sweeps import stack_sweeps
from pc3d.geometry.boxes import points_in_boxes
from pc3d.ops.nms import rotated_iou
from pc3d.storage.folders import new_folder
from pc3d.storage.whole import new_file


@dataclass(frozen=True)
class PasteConfig:
    """What is pasted into each frame.

    Attributes:
        database: folder that `build_paste_database` wrote.
        counts: detection class to how many of its objects are drawn; one that would overlap is left out.
        probability: share of the frames that anything is pasted into.
        with_images: paste although images are loaded. The cameras do not see what was pasted, so image
            and points disagree there; without this, that is refused.
    """

    database: str
    counts: Mapping[str, int] = field(default_factory=dict)
    probability: float = 1.0
    with_images: bool = False

    def __post_init__(self) -> None:
        if not self.counts or min(self.counts.values()) < 1:
            raise ValueError(
                f"`counts` of paste is {dict(self.counts)}: give numbers of at least 1 for detection classes "
                "of the index"
            )
        if not 0 <= self.probability <= 1:
            raise ValueError(f"`probability` of paste is {self.probability}, expected 0 to 1")


@dataclass(frozen=True, eq=False)
class Pasted:
    """A frame with pasted objects.

    Attributes:
        points: (P + Q, C) float32, the frame's points (all of them, in their order), then the pasted.
        boxes: the frame's boxes, then the pasted.
        hidden: (P + Q,) bool, True for points of the frame inside a pasted box: no view shows them.
    """

    points: Float32
    boxes: Boxes
    hidden: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PasteDatabase:
    """Objects with their points; the points stay on disk where the database was opened from a folder.

    Attributes:
        boxes: N boxes, each in the LiDAR frame of its own sweep.
        points: (P, 3 + features) float32 of all objects, one after the other.
        starts: (N + 1,) int64: object n has the points starts[n] to starts[n + 1].
        features: of the points after x y z.
        sweeps: that were stacked.
        checksums: (N,) CRC-32 of each object's points; None for a database of earlier versions.
    """

    boxes: Boxes
    points: Float32
    starts: NDArray[np.int64]
    features: tuple[str, ...]
    sweeps: int
    checksums: NDArray[np.uint32] | None = None

    @classmethod
    def open(cls, path: str | Path) -> PasteDatabase:
        """Open the folder of a database.

        Raises:
            DataError: none is there, or it is broken.
        """
        boxes, points, arrays = read_objects(Path(path))
        features = tuple(arrays["features"].tolist())
        checksums = arrays.get("checksums")
        return cls(boxes, points, arrays["starts"], features, int(arrays["sweeps"]), checksums)

    def check(
        self, features: Sequence[str], sweeps: int, config: PasteConfig, classes: ClassSet | None
    ) -> None:
        """Raise `DataError` unless the objects were stored as frames are loaded, and are of their classes.

        Args:
            features, sweeps: of the frames. classes: of the data set that they are of.
        """
        database, known = config.database, classes.detection if classes else ()
        for name in config.counts:
            if name not in known:
                fail(
                    f"`counts` of paste names {name!r}, which is no detection class of the index"
                    f"{did_you_mean(name, known)}",
                    "data.paste.counts",
                    f"name classes of {', '.join(known) or 'a class file with `detection`'}",
                )
        if classes is not None and (classes.box_labels(self.boxes.names) < 0).all():
            names = ", ".join(sorted(set(self.boxes.names))[:5])
            fail(
                f"no object is of a class of {classes.name!r}; their categories are {names}",
                database,
                "build the database from an index of the same classes",
            )
        if (self.features, self.sweeps) != (tuple(features), sweeps):
            fail(
                f"objects were stored with features {self.features} of {self.sweeps} sweep(s), the frames "
                f"have {tuple(features)} of {sweeps}",
                database,
                "build the database again with the `features` and `sweeps` of the data config",
            )

    def draw(
        self, config: PasteConfig, boxes: Boxes, classes: ClassSet, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Objects that overlap neither `boxes` nor each other seen from above, in the order drawn."""
        if rng.random() >= config.probability:
            return np.zeros(0, dtype=np.int64)
        labels = classes.box_labels(self.boxes.names)
        drawn = [
            rng.choice(known, min(count, len(known)), replace=False)
            for name, count in config.counts.items()
            if len(known := np.flatnonzero(labels == classes.detection.index(name)))
        ]
        if not drawn:
            return np.zeros(0, dtype=np.int64)
        candidates = np.concatenate(drawn)
        rectangles = _rectangles(self.boxes)[candidates]
        free = ~_overlap(rectangles, _rectangles(boxes)).any(axis=1)
        among = _overlap(rectangles, rectangles)
        kept: list[int] = []
        for number in np.flatnonzero(free):
            if not among[number, kept].any():
                kept.append(int(number))
        return candidates[kept]

    def paste(
        self,
        config: PasteConfig,
        points: Float32,
        boxes: Boxes,
        classes: ClassSet,
        rng: np.random.Generator,
    ) -> Pasted:
        """Put objects into a frame, before its augmentation.

        Args:
            points: (P, 3 + features) in the LiDAR frame. boxes: of the frame.
            classes: what the categories of boxes and objects mean; all of `config.counts` are among them.
            rng: the same state pastes the same.

        Raises:
            DataError: the stored points of an object are damaged.
        """
        chosen = self.draw(config, boxes, classes, rng)
        new = _take(self.boxes, chosen)
        hidden = points_in_boxes(points, new.centers, new.sizes, new.yaws).any(axis=0)
        clouds = [self._cloud(int(n)) for n in chosen]
        extra = sum(len(cloud) for cloud in clouds)
        return Pasted(
            np.concatenate([points, *clouds]),
            _join(boxes, new),
            np.concatenate([hidden, np.zeros(extra, dtype=np.bool_)]),
        )

    def _cloud(self, number: int) -> Float32:
        """(P, 3 + features) points of an object."""
        cloud = np.asarray(self.points[self.starts[number] : self.starts[number + 1]])
        if self.checksums is not None and zlib.crc32(cloud.tobytes()) != self.checksums[number]:
            fail(
                "the points of an object are damaged",
                f"object {number} of {getattr(self.points, 'filename', 'the database')}",
                "build the database again: pc3d objects INDEX --out FOLDER",
            )
        return cloud


def build_paste_database(
    index: SweepIndex,
    tokens: Iterable[str],
    path: str | Path,
    features: Sequence[str] = ("intensity",),
    sweeps: int = 1,
    min_points: int = 5,
) -> PasteDatabase:
    """Store the objects of the detection classes of some key frames, with the points inside their boxes.

    Args:
        index: of the data set.
        tokens: sweep tokens of annotated key frames. Take those that the detector is trained on: an
            object of another frame is a label more.
        path: folder to make: `objects.npz` (no pickle) and `points.bin`; it appears whole or not at all.
        features, sweeps: as in the data config that will paste them.
        min_points: objects with fewer points in their box are left out (5: OpenPCDet).

    Raises:
        DataError: the folder exists; a frame has no boxes, the index no detection classes; no object is
            left.
    """
    folder = Path(path)
    if folder.exists() and any(path.name != POINTS for path in folder.iterdir()):
        fail("the folder of the database exists", folder, "remove it, or choose another")
    classes = ClassSet.of(index.metadata)
    if classes is None or not classes.detection:
        fail("the index has no detection classes", index.folder, "build it with a class file: --classes FILE")
    parts: list[Boxes] = []
    counts: list[int] = []
    checksums: list[int] = []
    folder.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(folder) as unfinished:
        with new_file(unfinished / POINTS) as file:
            for row in index.rows_of(tokens):
                boxes, clouds = _objects(index, int(row), classes, features, sweeps, min_points)
                parts.append(boxes)
                counts += [len(cloud) for cloud in clouds]
                for cloud in clouds:
                    data = cloud.astype("<f4").tobytes()
                    checksums.append(zlib.crc32(data))
                    file.write(data)
        if not counts:
            fail(f"no object has at least {min_points} points", folder, "choose other frames or fewer points")
        facts = {
            "features": np.array(features),
            "sweeps": sweeps,
            "checksums": np.array(checksums, np.uint32),
        }
        save_arrays(unfinished / OBJECTS, {**described(parts, counts), **facts})
    return PasteDatabase.open(folder)


def object_counts(database: PasteDatabase, classes: ClassSet) -> dict[str, int]:
    """Number of objects of each detection class."""
    labels = classes.box_labels(database.boxes.names)
    numbers = np.bincount(labels[labels >= 0], minlength=len(classes.detection))
    return dict(zip(classes.detection, numbers.tolist(), strict=True))


def _objects(
    index: SweepIndex, row: int, classes: ClassSet, features: Sequence[str], sweeps: int, min_points: int
) -> tuple[Boxes, list[Float32]]:
    """The boxes of a key frame that are worth pasting, and the points inside each."""
    sweep = index[row]
    if sweep.boxes is None:
        fail("the sweep has no annotated boxes", f"sweep {sweep.token}", "choose annotated key frames")
    earlier = [index[other] for other in index.previous_sweeps(row, sweeps - 1)]
    points, _ = stack_sweeps(sweep, earlier, features)
    inside = points_in_boxes(points, sweep.boxes.centers, sweep.boxes.sizes, sweep.boxes.yaws)
    wanted = (classes.box_labels(sweep.boxes.names) >= 0) & (inside.sum(axis=1) >= min_points)
    chosen = np.flatnonzero(wanted)
    return _take(sweep.boxes, chosen), [points[inside[n]] for n in chosen]


def _take(boxes: Boxes, chosen: NDArray[np.int64]) -> Boxes:
    values: dict[str, Any] = {name: getattr(boxes, name)[chosen] for name in ARRAYS}
    values |= {name: tuple(getattr(boxes, name)[n] for n in chosen) for name in TEXTS}
    return Boxes(**values)


def _join(first: Boxes, second: Boxes) -> Boxes:
    pairs = {name: (getattr(first, name), getattr(second, name)) for name in ARRAYS + TEXTS}
    values: dict[str, Any] = {
        name: np.concatenate(pair) if name in ARRAYS else pair[0] + pair[1] for name, pair in pairs.items()
    }
    return Boxes(**values)


def _rectangles(boxes: Boxes) -> Float64:
    """(N, 5) x y l w yaw."""
    return np.concatenate([boxes.centers[:, :2], boxes.sizes[:, :2], boxes.yaws[:, None]], axis=1)


def _overlap(a: Float64, b: Float64) -> NDArray[np.bool_]:
    """(N, M) whether two rectangles share area."""
    return (rotated_iou(torch.from_numpy(a), torch.from_numpy(b)) > 0).numpy()
