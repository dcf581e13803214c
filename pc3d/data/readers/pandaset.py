"""PandaSet: sequences of pickled frames, with two LiDARs and six cameras, all in the world frame."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pc3d.data.classes import load_class_set
from pc3d.data.errors import fail
from pc3d.data.image_file import open_image
from pc3d.data.readers.key_frames import add_key_every, check_key_every, key_every_note
from pc3d.data.readers.pandaset_tables import (
    AGAIN,
    PICKLES,
    Cuboids,
    Stamped,
    numbered,
    read_pinhole,
    read_stamped,
)
from pc3d.data.readers.parts import Parts, nearly_named
from pc3d.data.records import Camera, Float64, Sweep
from pc3d.findings import Finding
from pc3d.geometry.camera import shift_pixel_centres
from pc3d.geometry.rigid import invert_SE3, make_SE3, yaw_matrix

SENSORS = {
    "0": "Pandar64, which turns",
    "1": "PandarGT, which looks forward",
    "both": "both, as one sweep",
}
"""Choices of the LiDAR."""
_COLUMNS = "pandas:x,y,z,intensity=i/255,time=t@"
FORMATS = {"0": f"{_COLUMNS};where=d:0", "1": f"{_COLUMNS};where=d:1", "both": f"{_COLUMNS},lidar=d"}
POSE_SE3_EGO = make_SE3(yaw_matrix(np.pi / 2), np.zeros(3))
"""The frame of the stated poses looks along +y; the ego's x axis is forward."""
EGO_SE3_LIDAR = make_SE3(np.eye(3), np.array([0.0, 0.0, 1.8]))
"""The stated poses are near the ground; the Pandar64 is on the roof, about 1.8 m above."""
IMAGES = (".jpg", ".png")
_DEPTHS = (".", "*", "*/*")


class PandaSetReader:
    """Reads PandaSet sequences.

    Points, boxes and cameras are stored in the world frame, and are brought into the LiDAR frame of their
    sweep: x forward, y left, z up, 1.8 m above the origin of the stated LiDAR pose. Images have the pose of
    their own time. There is no official split: all is `train`, `pc3d split` makes others.

    Args:
        root: a sequence (`001`), or a folder of them.
        sensor: "0" the turning Pandar64, "1" the PandarGT that looks forward, "both" as one sweep. Moving
            objects that both LiDARs see have two boxes: those of the chosen one are taken, of the Pandar64
            for both.
        key_every: every so-manyth sweep is a key frame, the others are plain sweeps without cameras, boxes
            and labels.

    Raises:
        DataError: there is no sequence; a file of one is damaged.
    """

    def __init__(self, root: Path, sensor: str | int = "0", key_every: int = 1) -> None:
        if str(sensor) not in SENSORS:
            raise ValueError(f"unknown sensor {sensor!r}, use one of {', '.join(SENSORS)}")
        check_key_every(key_every)
        self._sensor, self._key_every = str(sensor), key_every
        self._root = Path(root).resolve()
        self._sequences = {folder: numbered(folder / "lidar", PICKLES) for folder in _folders(self._root)}
        if not self._sequences:
            fail(
                "there is no sequence with lidar/00.pkl.gz",
                self._root,
                "name the folder that holds the sequences 001, 002, ..., or one of them",
            )
        self._parts = Parts("sequences", "sequences", needed=True)
        self.findings: list[Finding] = []
        self.metadata: dict[str, Any] = {
            "dataset": "pandaset",
            "root": str(self._root),
            "classes": load_class_set("pandaset").to_dict(),
            "has_labels": any(numbered(folder / _LABELS, PICKLES) for folder in self._sequences),
            "frames": {
                "lidar": "x forward, y left, z up, 1.8 m above the stated pose",
                "ego": "the stated pose of the LiDAR near the ground, turned so that x is forward",
            },
            "compensated": True,
            "license": "CC BY 4.0",
            "notes": [
                f"LiDAR: {SENSORS[self._sensor]}",
                "all is of the split train: there is no official one",
                "velocities are differences of the cuboids of a track",
                "intrinsics: pixel centres at integer + 0.5",
                key_every_note(key_every),
            ],
        }

    def __len__(self) -> int:
        return sum(len(files) for files in self._sequences.values())

    def sweeps(self) -> Iterator[Sweep]:
        """The sequences by path, each ascending in time."""
        self._cameras, boxes = Parts("cameras", "cameras of sequences"), Parts("boxes", "frames' cuboids")
        images = Parts("images", "images of cameras")
        for folder, files in self._sequences.items():
            read = partial(self._read, folder, files, boxes)
            sequence = self._parts.read(folder.name, read)
            for rank, (number, path) in enumerate(files.items() if sequence else ()):
                key = rank % self._key_every == 0
                if sequence and key:
                    sequence.count_images(number, images)
                if sequence:
                    yield sequence.sweep(number, path, FORMATS[self._sensor], key)
        for parts in (self._parts, self._cameras, boxes, images, *self._beside()):
            self.findings += parts.findings()

    def _read(self, folder: Path, files: dict[int, Path], boxes: Parts) -> _Sequence:
        lidar, last = read_stamped(folder / "lidar"), max(files)
        if last >= len(lidar):
            fail(f"there is a frame {last}, but {len(lidar)} poses and times", folder / "lidar", AGAIN)
        if missing := len(lidar) - len(files):
            text = f"{missing} of {len(lidar)} LiDAR files of sequence {folder.name} are missing"
            self.findings.append(Finding("sweeps", "warning", text, "extract the sequence again"))
        return _Sequence.read(folder, lidar, self._sensor, self._cameras, boxes)

    def _beside(self) -> Iterator[Parts]:
        """Sequences, and frames of one, that lack what others have."""
        # A quarter of the published sequences has no labels of points, all have cuboids.
        sequences = Parts("boxes", f"sequences' {_CUBOIDS}")
        for folder, files in self._sequences.items():
            there, frames = numbered(folder / _CUBOIDS, PICKLES), Parts("boxes", f"frames' {_CUBOIDS}")
            if sequences.count(folder.name, bool(there)):
                for number in files:
                    frames.count(f"{folder.name}/{number:02d}", number in there)
            yield frames
        yield sequences
        folders = list(self._sequences)
        self.findings += nearly_named(folders, ("lidar", "camera", "annotations"), ("meta",))
        self.findings += nearly_named([f / "annotations" for f in folders], (_CUBOIDS.name, _LABELS.name))
        self.findings += nearly_named([f / "lidar" for f in folders], ("poses.json", "timestamps.json"), ())


_LABELS, _CUBOIDS = Path("annotations/semseg"), Path("annotations/cuboids")


@dataclass(frozen=True, eq=False)
class _Rig:
    """A camera of a sequence, without a time, and its images by number of the frame."""

    camera: Camera
    frames: Stamped
    images: dict[int, Path]


@dataclass(frozen=True, eq=False)
class _Sequence:
    """What is read of a sequence before its points."""

    folder: Path
    lidar: Stamped
    rigs: list[_Rig]
    cuboids: Cuboids
    labels: dict[int, Path]

    @classmethod
    def read(cls, folder: Path, lidar: Stamped, sensor: str, cameras: Parts, boxes: Parts) -> _Sequence:
        rigs = []
        for path in sorted(path for path in (folder / "camera").glob("*") if path.is_dir()):
            rig = cameras.read(f"{folder.name}/{path.name}", partial(_rig, path, lidar))
            rigs += [] if rig is None else [rig]
        files = numbered(folder / _CUBOIDS, PICKLES)
        cuboids = Cuboids(files, lidar.times, 1 if sensor == "1" else 0, boxes)
        return cls(folder, lidar, rigs, cuboids, numbered(folder / _LABELS, PICKLES))

    def sweep(self, number: int, path: Path, lidar_format: str, key: bool) -> Sweep:
        world_SE3_ego = self.lidar.poses[number] @ POSE_SE3_EGO
        lidar_SE3_world = invert_SE3(world_SE3_ego @ EGO_SE3_LIDAR)
        token = f"{self.folder.name}/{number:02d}"
        return Sweep(
            token=token,
            scene=self.folder.name,
            timestamp=int(self.lidar.times[number]),
            is_key_frame=key,
            path=path,
            lidar_format=lidar_format,
            ego_SE3_lidar=EGO_SE3_LIDAR,
            world_SE3_ego=world_SE3_ego,
            split="train",
            cameras=tuple(self._images(number)) if key else (),
            boxes=self.cuboids.boxes(number, lidar_SE3_world) if key else None,
            lidarseg_path=self.labels.get(number) if key else None,
            sample_token=token if key else "",
            lidar_SE3_points=lidar_SE3_world,
            lidarseg_format="pandas:class",
        )

    def count_images(self, number: int, images: Parts) -> None:
        """Count the cameras that have no image of a frame."""
        for rig in self.rigs:
            where = f"{self.folder.name}/{number:02d} {rig.camera.name}"
            images.count(where, number in rig.images)

    def _images(self, number: int) -> Iterator[Camera]:
        for rig in self.rigs:
            if number in rig.images:
                cam_SE3_ego = invert_SE3(rig.camera.ego_SE3_cam)
                yield replace(
                    rig.camera,
                    path=rig.images[number],
                    timestamp=int(rig.frames.times[number]),
                    world_SE3_ego=rig.frames.poses[number] @ cam_SE3_ego,
                )


def _rig(folder: Path, lidar: Stamped) -> _Rig | None:
    """A camera and its images; None where it has none."""
    images = numbered(folder, IMAGES)
    if not images:
        return None
    frames = read_stamped(folder)
    if max(images) >= len(frames):
        fail(f"there is an image {max(images)}, but {len(frames)} poses and times", folder, AGAIN)
    with open_image(next(iter(images.values()))) as image:
        size = image.size
    K = shift_pixel_centres(read_pinhole(folder / "intrinsics.json"))
    mount = _mount(frames, lidar)
    return _Rig(Camera(folder.name, folder, size, K, mount, np.eye(4), 0), frames, images)


def _mount(frames: Stamped, lidar: Stamped) -> Float64:
    """ego_SE3_cam, which is not stated: of the image nearest to the middle whose time the LiDAR's poses have,
    else of the first, with the pose of its sweep. The pose of an image is exact in either case."""
    track = lidar.track()
    for n in sorted(range(len(frames)), key=lambda n: abs(n - len(frames) // 2)):
        if (pose := track.at(int(frames.times[n]))) is not None:
            return invert_SE3(pose @ POSE_SE3_EGO) @ frames.poses[n]
    return invert_SE3(lidar.poses[0] @ POSE_SE3_EGO) @ frames.poses[0]


def _folders(root: Path) -> list[Path]:
    found = {path.parent for depth in _DEPTHS for path in root.glob(f"{depth}/lidar") if _is_pandaset(path)}
    return sorted(found)


def _is_pandaset(lidar: Path) -> bool:
    return lidar.is_dir() and next(lidar.glob("*.pkl*"), None) is not None and bool(numbered(lidar, PICKLES))


def detect(root: Path) -> str | None:
    """Why a folder is one of this format, None where it is not."""
    # Of several sequences one may have lost its poses; own folders have none of that name.
    if not any(next(root.glob(f"{depth}/lidar/poses.json"), None) for depth in _DEPTHS):
        return None
    for depth in _DEPTHS:
        for path in root.glob(f"{depth}/lidar"):
            if _is_pandaset(path):
                return f"{path.relative_to(root).as_posix()}/NN.pkl.gz"
    return None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options whose names are the arguments of the reader."""
    parser.add_argument(
        "--sensor",
        choices=list(SENSORS),
        default="0",
        help="LiDAR: 0 the turning Pandar64 (default), 1 the PandarGT that looks forward, or both",
    )
    add_key_every(parser)
