"""The images of a scene that belong to its scans: nearest in time, at their own time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from pc3d.data.errors import fail
from pc3d.data.image_file import open_image
from pc3d.data.readers.folder.description import CameraEntry
from pc3d.data.readers.nearest import nearest
from pc3d.data.records import Camera, Float64

Pose = Callable[[int], "Float64 | None"]


@dataclass
class Sync:
    """How far partners were from their scans: a report over all scenes."""

    apart: list[int] = field(default_factory=list)
    alone: int = 0

    def text(self) -> str:
        """In milliseconds: how far, and how many found none."""
        if not self.apart:
            return f"none within the tolerance for {self.alone} scans"
        middle, most = median(self.apart) / 1e3, max(self.apart) / 1e3
        lost = f", none near enough for {self.alone}" if self.alone else ""
        return f"{len(self.apart)} partners, {middle:.4g} ms apart in the median, {most:.4g} at most{lost}"


def half_a_period(times: Sequence[int], default: int = 50_000) -> int:
    """Half of the median time between entries, microseconds."""
    return int(np.median(np.diff(times)) // 2) + 1 if len(times) > 1 else default


class CameraImages:
    """The images of one camera in a scene.

    Args:
        entry: of the camera; ego_SE3_cam is set.
        files: by time in microseconds, ascending.
        tolerance: microseconds that an image may be from its scan.
    """

    def __init__(
        self, entry: CameraEntry, ego_SE3_cam: Float64, files: dict[int, Path], tolerance: int
    ) -> None:
        self._entry, self._ego_SE3_cam = entry, ego_SE3_cam
        self._times, self._paths = list(files), list(files.values())
        self._tolerance = tolerance
        self._size = self._size_of_images()

    def _size_of_images(self) -> tuple[int, int]:
        with open_image(self._paths[0]) as image:
            size = image.size
        stated = self._entry.size
        if stated is not None and stated != size:
            fail(
                f"the images of {self._entry.name} have {size[0]} x {size[1]} pixels, the calibration says "
                f"{stated[0]} x {stated[1]}",
                self._paths[0],
                "give size and intrinsics of the images as they are stored",
            )
        return size

    def at(self, time: int, pose: Pose, sync: Sync) -> Camera | None:
        """The image of a scan, None where none is near or no pose is known at its time."""
        found = nearest(self._times, time, self._tolerance)
        world_SE3_ego = None if found is None else pose(self._times[found])
        if found is None or world_SE3_ego is None:
            sync.alone += 1
            return None
        sync.apart.append(abs(self._times[found] - time))
        return Camera(
            name=self._entry.name,
            path=self._paths[found],
            size=self._size,
            intrinsics=self._entry.intrinsics,
            ego_SE3_cam=self._ego_SE3_cam,
            world_SE3_ego=world_SE3_ego,
            timestamp=self._times[found],
            distortion=self._entry.distortion,
            model=self._entry.model,
        )
