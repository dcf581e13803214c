"""Opens a few sweeps and their images: a wrong format or size of pictures shows in all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from pc3d.data.errors import DataError
from pc3d.data.image_file import open_image
from pc3d.data.points import load_points
from pc3d.data.records import Camera, Sweep
from pc3d.data.survey.tally import Tally
from pc3d.findings import Finding

SAMPLES = 20


class Samples:
    """Keeps key frames spread over the data set and opens their files at the end.

    Args:
        total: sweeps of the data set, about.
    """

    def __init__(self, total: int) -> None:
        self._every = max(1, total // SAMPLES)
        self._seen = self._next = 0
        self._kept: list[Sweep] = []

    def look(self, sweeps: Sequence[Sweep]) -> None:
        for sweep in sweeps:
            if sweep.is_key_frame and self._seen >= self._next and len(self._kept) < 2 * SAMPLES:
                self._kept.append(sweep)
                self._next = self._seen + self._every
            self._seen += 1

    def findings(self) -> list[Finding]:
        """What could not be opened.

        Raises:
            DataError: more than half of the files of a sensor cannot be.
        """
        tallies: dict[str, Tally] = defaultdict(Tally)
        errors: dict[str, DataError] = {}
        for sweep in self._kept:
            for sensor, read in _files(sweep):
                try:
                    read()
                    tallies[sensor].look(False, "")
                except DataError as error:
                    tallies[sensor].look(True, ", ".join(line.strip() for line in str(error).split("\n")[:2]))
                    errors.setdefault(sensor, error)
        for sensor, tally in tallies.items():
            if 2 * tally.count > tally.of:
                raise errors[sensor]
        return [
            finding
            for sensor, tally in sorted(tallies.items())
            for finding in tally.finding(
                f"opened files of {sensor}",
                "warning",
                "cannot be read",
                "copy them again; `data.bad_samples` lets a run pass over a share",
            )
        ]


def _files(sweep: Sweep) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "LiDAR", partial(load_points, sweep.path, sweep.lidar_format, sweep.token)
    for camera in sweep.cameras:
        yield camera.name, partial(_look_at_header, camera, sweep.token)


def _look_at_header(camera: Camera, token: str) -> None:
    with open_image(camera.path, camera.size, f"{camera.path} (sweep {token})"):
        pass
