"""Opens the files of a few sweeps: a wrong format or size shows in all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pc3d.data.classes import ClassSet
from pc3d.data.errors import DataError
from pc3d.data.images import load_image
from pc3d.data.labels import load_raw_labels
from pc3d.data.points import load_sweep
from pc3d.data.points.load import available
from pc3d.data.records import Boxes, Camera, Float32, Sweep
from pc3d.data.survey.classes import LabelIds
from pc3d.data.survey.labels import LabelContent
from pc3d.data.survey.point_columns import PointColumns
from pc3d.data.survey.road import Road
from pc3d.data.survey.tally import Tally
from pc3d.findings import Finding
from pc3d.geometry.boxes import points_in_boxes

SAMPLES, PLAIN = 20, 5
"""Key frames and plain sweeps that are opened; up to twice as many where the total is not known well."""

_BOXES, _POINTS = 10, 10
_Read = TypeVar("_Read")


class Samples:
    """Keeps sweeps spread over the data set and opens their files at the end.

    Args:
        total: sweeps of the data set, about.
        classes: of the data set, if it has some.
    """

    def __init__(self, total: int, classes: ClassSet | None = None) -> None:
        self._classes = classes
        self._spread = {True: _Spread(total, SAMPLES), False: _Spread(total, PLAIN)}
        self._tallies: dict[str, Tally] = defaultdict(Tally)
        self._errors: dict[str, DataError] = {}
        self._columns, self._road = PointColumns(), Road()
        self._labels = LabelContent(classes) if classes and classes.classes else None
        self._ids = LabelIds(classes)
        self._said = self._counted = 0

    def look(self, sweeps: Sequence[Sweep]) -> None:
        for sweep in sweeps:
            for key, spread in self._spread.items():
                spread.pass_by(sweep, key == sweep.is_key_frame)

    def findings(self) -> list[Finding]:
        """What could not be opened, and what the content of the others does not say.

        Raises:
            DataError: more than half of the files of a sensor cannot be opened.
        """
        for sweep in self._spread[True].kept:
            self._look_at_key_frame(sweep)
        for sweep in self._spread[False].kept:
            self._points("LiDAR of plain sweeps", sweep)
        for sensor, tally in self._tallies.items():
            if 2 * tally.count > tally.of:
                raise self._errors[sensor]
        found = [*self._of_boxes(), *self._columns.findings(), *self._road.findings()]
        found += [*self._ids.findings(), *self._labels.findings()] if self._labels else []
        for sensor, tally in sorted(self._tallies.items()):
            remedy = "copy them again; `data.bad_samples` lets a run pass over a share"
            found += tally.finding(f"opened files of {sensor}", "warning", "cannot be read", remedy)
        return found

    def _look_at_key_frame(self, sweep: Sweep) -> None:
        points = self._points("LiDAR", sweep)
        if points is not None:
            self._road.look(points, sweep)
            self._look_at_labels(points, sweep, self._count(points, sweep.boxes))
        for camera in sweep.cameras:
            self._open(camera.name, partial(_decode, camera, sweep.token))

    def _points(self, sensor: str, sweep: Sweep) -> Float32 | None:
        extra = ("ring",) if "ring" in available(sweep) else ()
        points = self._open(sensor, partial(load_sweep, sweep, extra))
        if points is not None:
            self._columns.look(points, bool(extra), sweep.token)
        return points

    def _open(self, sensor: str, read: Callable[[], _Read]) -> _Read | None:
        try:
            content = read()
        except DataError as error:
            what = ", ".join(line.strip() for line in str(error).split("\n")[:2])
            self._tallies[sensor].look(True, what)
            self._errors.setdefault(sensor, error)
            return None
        self._tallies[sensor].look(False, "")
        return content

    def _look_at_labels(self, points: Float32, sweep: Sweep, chosen: NDArray[np.int64]) -> None:
        if self._labels and self._classes and sweep.lidarseg_path is not None:
            raw = self._open("labels", partial(load_raw_labels, sweep, len(points)))
            if raw is not None:
                labels = self._ids.look(raw)
                self._labels.look(labels, points, sweep.boxes, chosen, sweep.token)

    def _count(self, points: Float32, boxes: Boxes | None) -> NDArray[np.int64]:
        """Count the points in the boxes that are said to hold most; gives these boxes if they do."""
        if boxes is None:
            return np.empty(0, dtype=np.int64)
        most = np.argsort(-boxes.num_lidar_pts, kind="stable")[:_BOXES]
        most = most[boxes.num_lidar_pts[most] >= _POINTS]
        counted = points_in_boxes(points, boxes.centers[most], boxes.sizes[most], boxes.yaws[most]).sum(1)
        said, held = (
            int(boxes.num_lidar_pts[most].sum()),
            int(np.minimum(counted, boxes.num_lidar_pts[most]).sum()),
        )
        self._said += said
        self._counted += held
        return most if 2 * held >= said else most[:0]

    def _of_boxes(self) -> list[Finding]:
        if 2 * self._counted >= self._said:
            return []
        text = f"boxes hold {self._counted} of {self._said} points that the tables say (a sample)"
        remedy = "compare the frames and sizes of boxes, ego poses and the mount of the LiDAR"
        return [Finding("boxes on points", "warning", text, remedy)]


class _Spread:
    """Sweeps at about equal distances, `wanted` of `total` that come by."""

    def __init__(self, total: int, wanted: int) -> None:
        self.kept: list[Sweep] = []
        self._every, self._most = max(1, total // wanted), 2 * wanted
        self._seen = self._next = 0

    def pass_by(self, sweep: Sweep, fits: bool) -> None:
        if fits and self._seen >= self._next and len(self.kept) < self._most:
            self.kept.append(sweep)
            self._next = self._seen + self._every
        self._seen += 1


def _decode(camera: Camera, token: str) -> None:
    """Decode an image, a JPEG at an eighth of its size: what is cut off shows in it too."""
    width, height = camera.size
    load_image(camera.path, token, (max(1, width // 8), max(1, height // 8)), camera.size, camera.key)
