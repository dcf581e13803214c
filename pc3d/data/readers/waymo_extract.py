"""Frames of Waymo segments written as files of their own, which random access needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pc3d.data.containers import open_bytes
from pc3d.data.points.load import load_points, valid_rows
from pc3d.data.readers.extraction import extracted_format, write_frame
from pc3d.data.readers.waymo_points import decode_labels
from pc3d.data.records import Camera, Sweep
from pc3d.data.selection import Selection


@dataclass(frozen=True)
class Extraction:
    """Writes the frames of segments below `folder`; files that are there stay.

    Attributes:
        wanted: what of a sweep is written; the rest of it stays where it is.
    """

    folder: Path
    wanted: Selection = field(default_factory=Selection)

    def extracted(self, sweep: Sweep) -> Sweep:
        """The sweep with points, labels and images that are wanted in files of their own.

        Raises:
            DataError: what is to be written cannot be read.
        """
        if not (sweep.is_key_frame or self.wanted.sweeps):
            return sweep
        part, scene = self.wanted.part(sweep), self.folder / sweep.scene
        points = scene / "lidar" / f"{sweep.timestamp}.bin"
        if not points.is_file():
            cloud = load_points(sweep.path, sweep.lidar_format, sweep.token, sweep.key)
            write_frame(points, cloud.tobytes())
        labels = scene / "labels" / f"{sweep.timestamp}.bin" if part.lidarseg_path else None
        if part.lidarseg_path and labels and not labels.is_file():
            ids = decode_labels(part.lidarseg_path, sweep.lidarseg_key)
            keep = valid_rows(sweep.path, sweep.lidar_format, sweep.key)
            write_frame(labels, ids[keep].astype(np.uint8).tobytes())
        left = [camera for camera in sweep.cameras if camera not in part.cameras]
        return replace(
            sweep,
            path=points,
            key="",
            lidar_format=extracted_format(sweep.lidar_format),
            lidarseg_path=labels,
            lidarseg_key="",
            lidarseg_format="uint8",
            cameras=(*_images(part.cameras, scene), *left),
        )


def _images(cameras: Iterable[Camera], scene: Path) -> Iterable[Camera]:
    for camera in cameras:
        path = scene / camera.name / f"{camera.timestamp}.jpg"
        if not path.is_file():
            write_frame(path, open_bytes(camera.path, camera.key))
        yield replace(camera, path=path, key="")
