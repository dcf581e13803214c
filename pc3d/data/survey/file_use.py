"""Files that are named for several times, and LiDAR files of an odd size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from pc3d.data.points import point_format
from pc3d.data.records import Sweep
from pc3d.data.survey.tally import Tally
from pc3d.findings import Finding

_SMALL = 0.5


class FileUse:
    """Looks at the file names and LiDAR file sizes of one scene after the other."""

    def __init__(self) -> None:
        self._shared, self._pieces, self._small = Tally(), Tally(), Tally()
        self._small_single = Tally()
        self._single: dict[str, list[tuple[int, str]]] = {}

    def look(self, sweeps: Sequence[Sweep], sizes: Sequence[int]) -> None:
        """Look at a scene; `sizes` are the bytes of its LiDAR files, 0 where there is none."""
        first: dict[tuple[Path, str], tuple[str, int]] = {}
        for sweep in sweeps:
            for sensor, path, key, use in _uses(sweep):
                odd = first.setdefault((path, key), use) != use
                self._shared.look(odd, f"{path.name} of {sensor}, sweep {sweep.token}")
        middle = median(sizes)
        for sweep, size in zip(sweeps, sizes, strict=True):
            point = point_format(sweep.lidar_format).point_bytes
            if not size or point is None:
                continue
            where = f"{sweep.path.name} of sweep {sweep.token}"
            self._pieces.look(size % point > 0, f"{where}, {size} bytes")
            if len(sweeps) == 1:  # compared with those of the other scenes, in the end
                self._single.setdefault(sweep.lidar_format, []).append((size, where))
            else:
                _look_at_size(self._small, size, middle, point, where)

    def _compare_single(self) -> None:
        """Look at the files of scenes of one sweep, by format."""
        for lidar_format, files in self._single.items():
            middle, point = median(size for size, _ in files), point_format(lidar_format).point_bytes
            for size, where in files:
                _look_at_size(self._small_single, size, middle, point or 1, where)
        self._single.clear()

    def findings(self) -> list[Finding]:
        self._compare_single()
        again = "copy them again from the data set"
        return [
            *self._shared.finding(
                "shared files",
                "warning",
                "files are those of another time or sensor in their scene",
                "correct the file names in the tables",
            ),
            *self._pieces.finding(
                "sizes of LiDAR files", "warning", "LiDAR files hold no whole number of points", again
            ),
            *self._small.finding(
                "small LiDAR files",
                "warning",
                "LiDAR files have less than half of the points that are usual in their scene",
                again,
            ),
            *self._small_single.finding(
                "small LiDAR files",
                "warning",
                "LiDAR files of single frames have less than half of the points that are usual here",
                again,
            ),
        ]


def _look_at_size(tally: Tally, size: int, middle: float, point: int, where: str) -> None:
    small = size < _SMALL * middle
    tally.look(small, f"{where}, {size // point} points where {int(middle) // point} are usual")


def _uses(sweep: Sweep) -> Iterator[tuple[str, Path, str, tuple[str, int]]]:
    """Sensor, path, key, and what a path stands for, of each file of a sweep. An image may serve several
    sweeps if it has one time."""
    yield "the LiDAR", sweep.path, f"{sweep.key} {sweep.lidar_format}", (sweep.token, 0)
    for lidar in sweep.lidars:
        yield lidar.name, lidar.path, f"{lidar.key} {lidar.lidar_format}", (f"{lidar.name} {sweep.token}", 0)
    if sweep.lidarseg_path is not None:
        kind = f"{sweep.lidarseg_key} {sweep.lidarseg_format}"
        yield "the labels", sweep.lidarseg_path, kind, (f"labels of {sweep.token}", 0)
    for camera in sweep.cameras:
        yield camera.name, camera.path, camera.key, (camera.name, camera.timestamp)
