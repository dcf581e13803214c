"""ONCE: sequences at 2 Hz with seven cameras, some of them with boxes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pc3d.data.classes import load_class_set
from pc3d.data.errors import fail
from pc3d.data.points.decoders import read_bin
from pc3d.data.points.formats import point_format
from pc3d.data.readers.image_folders import first_image_size
from pc3d.data.readers.once_sequence import LIDAR_SE3_RAW, OnceCamera, OnceFrame, read_sequence
from pc3d.data.readers.pose_gaps import STANDING, pose_between
from pc3d.data.readers.text_files import read_lines
from pc3d.data.records import Camera, Float64, Sweep
from pc3d.findings import Finding
from pc3d.geometry.camera import shift_pixel_centres

LISTS = ("train", "val", "test", "raw_small", "raw_medium", "raw_large")
"""Of `ImageSets/`; the first that names a sequence is its split."""
SCALES = (1.0, 255.0)
"""Full intensity; the data set does not state it."""


def detect(root: Path) -> str | None:
    """Why a folder is of this format, None where it is not."""
    found = next((path for path in root.glob("data/*/lidar_roof") if path.is_dir()), None)
    return None if found is None else found.relative_to(root).as_posix()


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the reader, by the names of its arguments."""
    parser.add_argument(
        "--distorted",
        action="store_true",
        help="the images are as the lens shows them: use the distortion of the calibration (default: they "
        "are undistorted, as the data set's page says)",
    )
    parser.add_argument(
        "--intensity",
        type=float,
        metavar="FULL",
        help="what stands for full intensity (default: 1 or 255, by the largest of the first scan)",
    )


class OnceReader:
    """Reads the sequences of ONCE.

    Points, boxes and poses are turned by a quarter: the files have x to the left and y to the back. The ego
    frame is the LiDAR frame, as no mount is stated. A frame without a pose gets one between its neighbours
    where they are near each other, else it is left out; a sequence without any has the identity, which is
    said. The first list of `ImageSets/` that names a sequence is its split; without lists all are `train`.

    Args:
        root: folder with `data/SEQUENCE/SEQUENCE.json`, and `ImageSets/` where there is one.
        distorted: use the distortion of the calibration; the page of the data set says that the images are
            undistorted, its development kit undistorts them.
        intensity: what stands for full intensity; None tells 1 from 255 by the first scan.

    Raises:
        DataError: no sequence; a JSON file or list that is missing or broken; intensity of another scale.
    """

    def __init__(self, root: Path, distorted: bool = False, intensity: float | None = None) -> None:
        self._root = Path(root).resolve()
        self._distorted = distorted
        self.findings: list[Finding] = []
        folders = sorted(path for path in (self._root / "data").glob("*") if (path / "lidar_roof").is_dir())
        if not folders:
            fail("no sequence with lidar_roof in data/", self._root, "name the folder that holds data/")
        self._folders = folders
        _, frames = self._sequence(folders[0])
        self._frames = len(frames)
        self._split_of = self._splits()
        scale, why = (intensity, "as given") if intensity else self._scale(folders[0], frames)
        self._format = f"bin:x,y,z,intensity/{scale:g}"
        self.metadata: dict[str, Any] = {
            "dataset": "once",
            "root": str(self._root),
            "classes": load_class_set("once").to_dict(),
            "frames": {
                "lidar": "x forward, y left, z up (the files: x left, y back)",
                "ego": "the LiDAR frame: no mount is stated",
            },
            "notes": [
                f"full intensity is {scale:g}: {why}",
                "images have the distortion of the calibration"
                if distorted
                else "images are taken as undistorted, as the page of the data set says",
                "an image has time and pose of its scan",
                "intrinsics: pixel centres at integer + 0.5",
            ],
            "license": "non-commercial, by registration",
        }

    def __len__(self) -> int:
        return self._frames * len(self._folders)

    def sweeps(self) -> Iterator[Sweep]:
        """The sequences by name, each ascending in time."""
        bare: list[str] = []
        left: list[str] = []
        bent: set[str] = set()
        for folder in self._folders:
            calibrations, frames = self._sequence(folder)
            bent |= {name for name, camera in calibrations.items() if any(camera.distortion)}
            cameras = [
                self._camera(name, path, camera, folder)
                for name, camera in sorted(calibrations.items())
                if (path := folder / name).is_dir()
            ]
            bare += [folder.name] * all(frame.pose is None for frame in frames)
            for frame, pose in zip(frames, self._poses(frames), strict=True):
                if pose is None:
                    left.append(f"{folder.name}/{frame.time}")
                else:
                    yield self._sweep(folder, frame, pose, cameras)
        self._find(bare, left, bent)

    def _sequence(self, folder: Path) -> tuple[dict[str, OnceCamera], list[OnceFrame]]:
        return read_sequence(folder / f"{folder.name}.json")

    def _sweep(self, folder: Path, frame: OnceFrame, pose: Float64, cameras: list[Camera]) -> Sweep:
        token, time = f"{folder.name}/{frame.time}", 1000 * frame.time
        images = [
            replace(camera, path=camera.path / f"{frame.time}.jpg", timestamp=time, world_SE3_ego=pose)
            for camera in cameras
        ]
        return Sweep(
            token=token,
            scene=folder.name,
            timestamp=time,
            is_key_frame=True,
            path=folder / "lidar_roof" / f"{frame.time}.bin",
            lidar_format=self._format,
            ego_SE3_lidar=np.eye(4),
            world_SE3_ego=pose,
            split=self._split_of.get(folder.name, "none"),
            cameras=tuple(images),
            boxes=frame.boxes,
            sample_token=token,
            lidar_SE3_points=LIDAR_SE3_RAW,
        )

    def _camera(self, name: str, path: Path, camera: OnceCamera, folder: Path) -> Camera:
        distortion = camera.distortion if self._distorted else ()
        try:
            return Camera(
                name=name,
                path=path,
                size=first_image_size(path),
                intrinsics=shift_pixel_centres(camera.K),
                ego_SE3_cam=camera.lidar_SE3_cam,
                world_SE3_ego=np.eye(4),
                timestamp=0,
                distortion=distortion,
                model="rational" if len(distortion) == 8 else "brown",
            )
        except ValueError as error:
            where = f"{folder / folder.name}.json, calib of {name}"
            fail(f"it is no camera: {error}", where, "extract the annotation archive again")

    def _poses(self, frames: list[OnceFrame]) -> list[Float64 | None]:
        """(4, 4) world_SE3_ego of each frame, None where it is not known."""
        known = {frame.time: frame.pose for frame in frames if frame.pose is not None}
        if not known:
            return [np.eye(4) for _ in frames]
        times = np.array(list(known), dtype=np.float64)
        return [pose_between(known, times, frame.time) for frame in frames]

    def _splits(self) -> dict[str, str]:
        """Split of each sequence."""
        names = [folder.name for folder in self._folders]
        lists = [self._root / "ImageSets" / f"{name}.txt" for name in LISTS]
        if not any(path.is_file() for path in lists):
            return dict.fromkeys(names, "train")
        split_of: dict[str, str] = {}
        for path in filter(Path.is_file, lists):
            for name in map(str.strip, read_lines(path, "list of sequences", "extract it again")):
                split_of.setdefault(name, path.stem)
        if left := [name for name in names if name not in split_of]:
            text = f"{len(left)} of {len(names)} sequences are in no list of ImageSets, first: {left[0]}"
            remedy = "add them to a list; now they are in split 'none'"
            self.findings.append(Finding("splits", "warning", text, remedy))
        return split_of

    def _scale(self, folder: Path, frames: list[OnceFrame]) -> tuple[float, str]:
        """Full intensity by the largest of the first scan, and what was seen."""
        path = folder / "lidar_roof" / f"{frames[0].time}.bin"
        if not path.is_file():
            return SCALES[-1], "not looked at: the first scan is missing"
        most = float(read_bin(path, point_format("kitti"), str(path))[:, 3].max())
        scale = next((full for full in SCALES if most <= full), None)
        if scale is None:
            fail(f"intensity goes up to {most:g}", path, "give full intensity: --intensity FULL")
        return scale, f"the largest of the first scan is {most:g}"

    def _find(self, bare: list[str], left: list[str], bent: set[str]) -> None:
        """Say which sequences and frames have no pose, and that the images may be distorted."""
        if bare:
            text = f"{len(bare)} of {len(self._folders)} sequences have no poses, first: {bare[0]}"
            remedy = "extract their annotation archive again: their poses are the identity now"
            self.findings.append(Finding("poses", "warning", text, remedy))
        if left:
            text = f"{len(left)} frames have no pose and are left out, first: {left[0]}"
            remedy = f"none, unless a frame before and one after them are at most {STANDING:g} m apart"
            self.findings.append(Finding("frames without pose", "warning", text, remedy))
        if bent and not self._distorted:
            text = f"the calibration has distortion of {', '.join(sorted(bent))}, which is not used"
            remedy = (
                "look at an image: if straight lines are bent, index with --distorted (the page of the data "
                "set says that images are undistorted, its development kit undistorts them)"
            )
            self.findings.append(Finding("distortion", "warning", text, remedy))
