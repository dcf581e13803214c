"""Opens the files of a few sweeps: a wrong format or size shows in all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from pc3d.data.errors import DataError
from pc3d.data.image_file import open_image
from pc3d.data.label_maps import load_lidarseg
from pc3d.data.points import load_points
from pc3d.data.records import Boxes, Camera, Float32, Sweep
from pc3d.data.survey.tally import Tally
from pc3d.findings import Finding
from pc3d.geometry.boxes import points_in_boxes

SAMPLES = 20
_BOXES, _POINTS = 10, 10
_Read = TypeVar("_Read")


class Samples:
    """Keeps key frames spread over the data set and opens their files at the end.

    Args:
        total: sweeps of the data set, about.
        label_map: of the data set, if it has one.
    """

    def __init__(self, total: int, label_map: str | None = None) -> None:
        self._label_map = label_map
        self._every = max(1, total // SAMPLES)
        self._seen = self._next = 0
        self._kept: list[Sweep] = []
        self._tallies: dict[str, Tally] = defaultdict(Tally)
        self._errors: dict[str, DataError] = {}
        self._said = self._counted = 0

    def look(self, sweeps: Sequence[Sweep]) -> None:
        for sweep in sweeps:
            if sweep.is_key_frame and self._seen >= self._next and len(self._kept) < 2 * SAMPLES:
                self._kept.append(sweep)
                self._next = self._seen + self._every
            self._seen += 1

    def findings(self) -> list[Finding]:
        """What could not be opened, and whether boxes lie where points are.

        Raises:
            DataError: more than half of the files of a sensor cannot be opened.
        """
        for sweep in self._kept:
            points = self._open("LiDAR", partial(load_points, sweep.path, sweep.lidar_format, sweep.token))
            if points is not None:
                self._look_at_labels(points, sweep)
            if points is not None and sweep.boxes is not None:
                self._count(points, sweep.boxes)
            for camera in sweep.cameras:
                self._open(camera.name, partial(_look_at_header, camera, sweep.token))
        for sensor, tally in self._tallies.items():
            if 2 * tally.count > tally.of:
                raise self._errors[sensor]
        found = self._of_boxes()
        for sensor, tally in sorted(self._tallies.items()):
            remedy = "copy them again; `data.bad_samples` lets a run pass over a share"
            found += tally.finding(f"opened files of {sensor}", "warning", "cannot be read", remedy)
        return found

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

    def _look_at_labels(self, points: Float32, sweep: Sweep) -> None:
        if self._label_map and sweep.lidarseg_path is not None:
            where = (sweep.lidarseg_path, len(points), self._label_map, sweep.token)
            self._open("labels", partial(load_lidarseg, *where))

    def _count(self, points: Float32, boxes: Boxes) -> None:
        """Count the points in the boxes that are said to hold most."""
        most = np.argsort(-boxes.num_lidar_pts, kind="stable")[:_BOXES]
        most = most[boxes.num_lidar_pts[most] >= _POINTS]
        counted = points_in_boxes(points, boxes.centers[most], boxes.sizes[most], boxes.yaws[most]).sum(1)
        self._said += int(boxes.num_lidar_pts[most].sum())
        self._counted += int(np.minimum(counted, boxes.num_lidar_pts[most]).sum())

    def _of_boxes(self) -> list[Finding]:
        if 2 * self._counted >= self._said:
            return []
        text = f"boxes hold {self._counted} of {self._said} points that the tables say (a sample)"
        remedy = "compare the frames and sizes of boxes, ego poses and the mount of the LiDAR"
        return [Finding("boxes on points", "warning", text, remedy)]


def _look_at_header(camera: Camera, token: str) -> None:
    with open_image(camera.path, camera.size, f"{camera.path} (sweep {token})"):
        pass
