"""ONCE: sequences at 2 Hz with seven cameras, some of them with boxes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.classes import load_class_set
from pc3d.data.errors import fail
from pc3d.data.points.decoders import read_bin
from pc3d.data.points.formats import point_format
from pc3d.data.readers.image_folders import first_image_size
from pc3d.data.readers.once_sequence import LIDAR_SE3_RAW, OnceCamera, OnceFrame, read_sequence
from pc3d.data.readers.parts import Parts
from pc3d.data.readers.pose_gaps import STANDING, pose_between
from pc3d.data.readers.text_files import read_lines
from pc3d.data.records import Camera, Float64, Sweep
from pc3d.findings import Finding
from pc3d.geometry.camera import shift_pixel_centres
from pc3d.geometry.rigid import compose_SE3, invert_SE3, make_SE3

LISTS = ("train", "val", "test", "raw_small", "raw_medium", "raw_large")
"""Of `ImageSets/`; the first that names a sequence is its split."""
SCALES = (1.0, 255.0)
"""Full intensity; the data set does not state it."""
NEAR, HEIGHTS = (3.0, 20.0), (0.5, 4.0)
"""Metres: where the road is looked for. On real scans of two other LiDARs what is found is within 0.1 m."""


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
    parser.add_argument(
        "--lidar-height",
        type=float,
        metavar="METRES",
        help="of the LiDAR above the road (default: estimated from the first scan)",
    )


class OnceReader:
    """Reads the sequences of ONCE.

    Points, boxes and poses are turned by a quarter: the files have x to the left and y to the back. The ego
    frame is below the LiDAR on the road. A frame without a pose gets one between its neighbours where they
    are near each other, else it is left out; a sequence without any has the identity, which is said. The
    first list of `ImageSets/` that names a sequence is its split; without lists all are `train`.

    Args:
        root: folder with `data/SEQUENCE/SEQUENCE.json`, and `ImageSets/` where there is one.
        distorted: use the distortion of the calibration; the page of the data set says that the images are
            undistorted, its development kit undistorts them.
        intensity: what stands for full intensity; None tells 1 from 255 by the first scan.
        lidar_height: metres above the road, which the data set does not state; None estimates it from the
            first scan.

    Raises:
        DataError: no sequence; a JSON file or list that is missing or broken; intensity of another scale; no
            road in the first scan.
    """

    def __init__(
        self,
        root: Path,
        distorted: bool = False,
        intensity: float | None = None,
        lidar_height: float | None = None,
    ) -> None:
        self._root = Path(root).resolve()
        self._distorted = distorted
        self.findings: list[Finding] = []
        found = sorted(path.parent for path in self._root.glob("data/*/lidar_roof"))
        if not found:
            fail("no sequence with lidar_roof in data/", self._root, "name the folder that holds data/")
        self._parts = Parts("sequences", "sequences", needed=True)
        frames = self._first_sequence(found)
        folders, self._frames = self._folders, len(frames)
        self._split_of = self._splits()
        first = folders[0] / "lidar_roof" / f"{frames[0].time}.bin"
        scale, why = (intensity, "as given") if intensity else _full_intensity(first)
        self._format = f"bin:x,y,z,intensity/{scale:g}"
        height = lidar_height or _height(first)
        self._ego_SE3_lidar = make_SE3(np.eye(3), np.array([0.0, 0.0, height]))
        self.metadata: dict[str, Any] = {
            "dataset": "once",
            "root": str(self._root),
            "classes": load_class_set("once").to_dict(),
            "frames": {
                "lidar": "x forward, y left, z up (the files: x left, y back)",
                "ego": "as lidar, on the road",
            },
            "notes": [
                f"the LiDAR is {height:.2f} m above the road{' (estimated)' * (not lidar_height)}",
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
        rigs = Parts("cameras", "cameras of sequences")
        for folder in self._folders:
            read = self._parts.read(folder.name, partial(self._sequence, folder))
            if read is None:
                continue
            calibrations, frames = read
            bent |= {name for name, camera in calibrations.items() if any(camera.distortion)}
            read_cameras = [
                rigs.read(f"{folder.name}/{name}", partial(self._camera, name, path, camera, folder))
                for name, camera in sorted(calibrations.items())
                if (path := folder / name).is_dir()
            ]
            cameras = [camera for camera in read_cameras if camera is not None]
            bare += [folder.name] * all(frame.pose is None for frame in frames)
            for frame, pose in zip(frames, self._poses(frames), strict=True):
                if pose is None:
                    left.append(f"{folder.name}/{frame.time}")
                else:
                    yield self._sweep(folder, frame, pose, cameras)
        self._find(bare, left, bent)
        self.findings += [*self._parts.findings(), *rigs.findings()]

    def _first_sequence(self, found: list[Path]) -> list[OnceFrame]:
        """The frames of the first sequence that can be read; keeps it and those after it."""
        for n, folder in enumerate(found):
            read = self._parts.read(folder.name, partial(self._sequence, folder))
            if read is not None:
                self._folders = found[n:]
                return read[1]
        self._parts.check()
        raise AssertionError("a sequence that cannot be read has an error")

    def _sequence(self, folder: Path) -> tuple[dict[str, OnceCamera], list[OnceFrame]]:
        return read_sequence(folder / f"{folder.name}.json")

    def _sweep(self, folder: Path, frame: OnceFrame, pose: Float64, cameras: list[Camera]) -> Sweep:
        token, time = f"{folder.name}/{frame.time}", 1000 * frame.time
        ego = compose_SE3(pose, invert_SE3(self._ego_SE3_lidar))
        images = [
            replace(camera, path=camera.path / f"{frame.time}.jpg", timestamp=time, world_SE3_ego=ego)
            for camera in cameras
        ]
        return Sweep(
            token=token,
            scene=folder.name,
            timestamp=time,
            is_key_frame=True,
            path=folder / "lidar_roof" / f"{frame.time}.bin",
            lidar_format=self._format,
            ego_SE3_lidar=self._ego_SE3_lidar,
            world_SE3_ego=ego,
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
                ego_SE3_cam=compose_SE3(self._ego_SE3_lidar, camera.lidar_SE3_cam),
                world_SE3_ego=np.eye(4),
                timestamp=0,
                distortion=distortion,
                model="rational" if len(distortion) == 8 else "brown",
            )
        except ValueError as error:
            where = f"{folder / folder.name}.json, calib of {name}"
            fail(f"it is no camera: {error}", where, "extract the annotation archive again")

    def _poses(self, frames: list[OnceFrame]) -> list[Float64 | None]:
        """(4, 4) world_SE3_lidar of each frame, None where it is not known."""
        known = {frame.time: frame.pose for frame in frames if frame.pose is not None}
        if not known:
            return [self._ego_SE3_lidar for _ in frames]  # the ego frame has the identity
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


def _first_points(path: Path) -> NDArray | None:
    """(P, 4) of the first scan; None where it is not there, which is said of all files later."""
    return read_bin(path, point_format("kitti"), str(path)) if path.is_file() else None


def _full_intensity(path: Path) -> tuple[float, str]:
    """Full intensity by the largest of a scan, and what was seen."""
    points = _first_points(path)
    if points is None:
        return SCALES[-1], "not looked at, the first scan is missing"
    most = float(points[:, 3].max())
    scale = next((full for full in SCALES if most <= full), None)
    if scale is None:
        fail(f"intensity goes up to {most:g}", path, "give full intensity: --intensity FULL")
    return scale, f"the largest of the first scan is {most:g}"


def _height(path: Path) -> float:
    """Metres of the LiDAR above the road: the height at which most points near the car lie."""
    points = _first_points(path)
    if points is None:
        return HEIGHTS[0]
    distance = np.linalg.norm(points[:, :2], axis=1)
    near = -points[(distance > NEAR[0]) & (distance < NEAR[1]), 2]
    counts, edges = np.histogram(near, bins=round((HEIGHTS[1] - HEIGHTS[0]) / 0.05), range=HEIGHTS)
    most = int(np.argmax(counts))
    if not counts[most]:
        fail(
            "there is no road in the first scan", path, "give the height of the LiDAR: --lidar-height METRES"
        )
    return float(np.median(near[(near > edges[most] - 0.1) & (near < edges[most + 1] + 0.1)]))
