"""SemanticKITTI, and KITTI odometry that it is made of: sequences with poses, point labels and images."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pc3d.data.classes import load_class_set
from pc3d.data.errors import fail
from pc3d.data.odometry import require_kiss_icp
from pc3d.data.readers.image_folders import first_image_size, image_of, lacking_images
from pc3d.data.readers.key_frames import add_key_every, check_key_every, key_every_note
from pc3d.data.readers.kitti_calibration import Calibration
from pc3d.data.readers.kitti_poses import camera_poses, estimated_poses
from pc3d.data.readers.kitti_rig import EGO_SE3_LIDAR, FRAMES, LICENSE, rectified_camera
from pc3d.data.readers.kitti_times import gaps, microseconds_from_start, number_scans, scan_times
from pc3d.data.readers.parts import Parts, nearly_named
from pc3d.data.records import Camera, Float64, Sweep
from pc3d.findings import Finding

SPLITS = {
    **{f"{number:02d}": "train" for number in (*range(8), 9, 10)},
    "08": "val",
    **{f"{number:02d}": "test" for number in range(11, 22)},
}
"""Of the benchmark, by sequence."""

POSES = {
    "sequence": "poses from poses.txt of each sequence (of SemanticKITTI: its own SLAM)",
    "odometry": "poses from poses/NN.txt, the ground truth of KITTI odometry",
    "kiss-icp": "poses by KISS-ICP odometry",
}
"""Sources of the poses, and what the index says of each."""

_WORLD = "the world is the ego frame of a sequence's first scan"
_CALIBRATION = "extract the calibration archive (data_odometry_calib) into the root"
_FILES = ("velodyne", "labels", "calib.txt", "times.txt", "poses.txt", "image_2", "image_3")
_OTHERS = ("image_0", "image_1", "voxels", "predictions")


def detect(root: Path) -> str | None:
    """Why a folder is of this format, None where it is not."""
    found = next((path for path in _folder(root).glob("*/velodyne") if path.is_dir()), None)
    return None if found is None else found.relative_to(root).as_posix()


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the reader, by the names of its arguments."""
    parser.add_argument(
        "--poses",
        choices=list(POSES),
        default="sequence",
        help="poses.txt of each sequence folder, ROOT/poses/NN.txt (the ground truth of KITTI odometry, 00 "
        "to 10), or estimated by LiDAR odometry (default %(default)s)",
    )
    add_key_every(parser, "scan")


def _folder(root: Path) -> Path:
    """`sequences/`, which the archives have below `dataset/`."""
    return next(
        (f for f in (root / "dataset/sequences", root / "sequences") if f.is_dir()), root / "sequences"
    )


@dataclass(frozen=True)
class _Sequence:
    folder: Path
    numbers: list[int]
    scans: list[Path]
    times: list[int]


class SemanticKittiReader:
    """Reads the sequences of SemanticKITTI or KITTI odometry.

    Splits are the official ones, by sequence; one of another name is of split `none`. Labels are of key
    frames. Colour images `image_2` and `image_3`, of another archive, are taken where they exist, else the
    grey ones. An image has time and pose of its scan: cameras are triggered when the scan faces forward, and
    the scans are published without the motion of the vehicle.

    Args:
        root: folder with `sequences/NN/velodyne`, or with `dataset/sequences/NN/velodyne`.
        poses: "sequence", "odometry" or "kiss-icp", see `POSES`. A sequence without the file has the
            identity, which is said.
        key_every: every so-manyth scan of a sequence is a key frame, the others are plain sweeps without
            cameras and labels.

    A sequence whose scans have no number, time or pose is left out, as are cameras without a calibration.

    Raises:
        DataError: no sequence, or none that can be read; no pose file at all for `poses="odometry"`.
        ImportError: `poses="kiss-icp"` without the package.
    """

    def __init__(self, root: Path, poses: str = "sequence", key_every: int = 1) -> None:
        if poses not in POSES:
            raise ValueError(f"unknown poses {poses!r}, use one of {', '.join(POSES)}")
        check_key_every(key_every)
        if poses == "kiss-icp":
            require_kiss_icp()
        self._poses, self._key_every = poses, key_every
        self._root = Path(root).resolve()
        self._notes: list[str] = []
        self.findings: list[Finding] = []
        folder = _folder(self._root)
        folders = [path.parent for path in sorted(folder.glob("*/velodyne")) if path.is_dir()]
        self._parts = Parts("sequences", "sequences", needed=True)
        read = [self._parts.read(path.name, partial(self._read, path)) for path in folders]
        self._sequences = [sequence for sequence in read if sequence is not None]
        self.findings += nearly_named(folders, _FILES, _OTHERS)
        if not self._sequences:
            self._parts.check()
            fail("no scan in sequences/NN/velodyne", self._root, "name the folder that holds sequences/")
        posed = self._find_without_poses()
        self._find_splits()
        self.metadata: dict[str, Any] = {
            "dataset": "semantic_kitti",
            "root": str(self._root),
            "classes": load_class_set("semantic_kitti").to_dict(),
            "has_labels": any((sequence.folder / "labels").is_dir() for sequence in self._sequences),
            "frames": FRAMES,
            "notes": [
                f"{POSES[poses]}; {_WORLD}" if posed else "poses are the identity: no sequence has its file",
                "times count from the start of a sequence",
                key_every_note(key_every, "scan"),
                "the scans are compensated for the motion of the vehicle by the data set",
                "no boxes; the instances of the labels are not read",
                *self._notes,
            ],
            "license": LICENSE,
        }

    def __len__(self) -> int:
        return sum(len(sequence.scans) for sequence in self._sequences)

    def sweeps(self) -> Iterator[Sweep]:
        """The sequences by name, each ascending in time."""
        rigs = Parts("cameras", "cameras of sequences")
        for sequence in self._sequences:
            name = sequence.folder.name
            cameras = _cameras(sequence.folder, rigs)
            poses = self._parts.read(name, partial(self._ego_poses, sequence))
            for rank, pose in enumerate(poses or ()):
                yield self._sweep(sequence, rank, pose, cameras)
        self.findings += [*self._parts.findings(), *rigs.findings()]

    def _sweep(self, sequence: _Sequence, rank: int, pose: Float64, cameras: list[Camera]) -> Sweep:
        scan, time, name = sequence.scans[rank], sequence.times[rank], sequence.folder.name
        key = self._is_key(rank)
        labels = sequence.folder / "labels" / f"{scan.stem}.label"
        images = [
            replace(camera, path=path, timestamp=time, world_SE3_ego=pose)
            for camera in (cameras if key else ())
            if (path := image_of(camera.path, scan.stem)) is not None
        ]
        token = f"{name}/{scan.stem}"
        return Sweep(
            token=token,
            scene=name,
            timestamp=time,
            is_key_frame=key,
            path=scan,
            lidar_format="kitti",
            ego_SE3_lidar=EGO_SE3_LIDAR,
            world_SE3_ego=pose,
            split=SPLITS.get(name, "none"),
            cameras=tuple(images),
            lidarseg_path=labels if key and labels.is_file() else None,
            sample_token=token if key else "",
            lidarseg_format="uint32",
        )

    def _is_key(self, rank: int) -> bool:
        return rank % self._key_every == 0

    def _read(self, folder: Path) -> _Sequence | None:
        """The scans of a sequence with their times; notes what it lacks."""
        scans = number_scans(list((folder / "velodyne").glob("*.bin")))
        if not scans:
            self._lacks(f"sequence {folder.name} has no scan")
            return None
        where = folder / "times.txt"
        times, every = scan_times(where, list(scans), microseconds=microseconds_from_start)
        if not where.is_file():
            text = f"sequence {folder.name} has no times.txt: its scans are taken at 10 Hz"
            remedy = "copy times.txt from the calibration archive of KITTI odometry"
            self.findings.append(Finding("times", "warning", text, remedy))
        if missing := gaps(list(scans), every):
            self._lacks(f"sequence {folder.name} lacks scans {', '.join(missing)}")
        keys = [scan for rank, scan in enumerate(scans.values()) if self._is_key(rank)]
        images = [(path.name, path) for path in _image_folders(folder)]
        if not images:
            self._notes.append(f"sequence {folder.name} has no image folder (image_0 to image_3)")
        self._notes += lacking_images(f"sequence {folder.name}", images, keys)
        return _Sequence(folder, list(scans), list(scans.values()), times)

    def _lacks(self, what: str) -> None:
        self._notes.append(what)
        remedy = "extract the scans again, unless this is a part; times and poses of the others are right"
        self.findings.append(Finding("scans", "warning", what, remedy))

    def _pose_file(self, folder: Path) -> Path:
        if self._poses == "sequence":
            return folder / "poses.txt"
        return folder.parents[1] / "poses" / f"{folder.name}.txt"

    def _find_without_poses(self) -> bool:
        """Whether some sequence has poses; says which have none."""
        if self._poses == "kiss-icp":
            return True
        files = {seq.folder.name: self._pose_file(seq.folder) for seq in self._sequences}
        without = [name for name, path in files.items() if not path.is_file()]
        if len(without) == len(files) and self._poses == "odometry":
            where = next(iter(files.values()))
            fail(
                "there is no pose file", where, "extract data_odometry_poses into the root, or leave --poses"
            )
        if without:
            text = (
                f"{len(without)} of {len(files)} sequences have no {files[without[0]].name}, their poses are "
                f"the identity: {', '.join(without[:20])}"
            )
            remedy = "copy the file, or take another source: --poses odometry or --poses kiss-icp"
            self.findings.append(Finding("pose files", "warning", text, remedy))
        return len(without) < len(files)

    def _find_splits(self) -> None:
        other = [seq.folder.name for seq in self._sequences if seq.folder.name not in SPLITS]
        if other:
            names = ", ".join(other[:20])
            text = f"{len(other)} sequences are none of the benchmark and in split 'none': {names}"
            self.findings.append(Finding("splits", "warning", text, "make splits of them: pc3d split"))

    def _ego_poses(self, sequence: _Sequence) -> Iterable[Float64]:
        """(4, 4) world_SE3_ego of each scan."""
        name, where = sequence.folder.name, self._pose_file(sequence.folder)
        if self._poses == "kiss-icp":
            return estimated_poses((scan, f"{name}/{scan.stem}") for scan in sequence.scans)
        if where.is_file():
            return camera_poses(where, sequence.numbers, _cam0_SE3_velo(sequence.folder)[1])
        return [np.eye(4) for _ in sequence.scans]


def _cam0_SE3_velo(folder: Path) -> tuple[Calibration, Float64]:
    """The calibration of a sequence and its (4, 4) LiDAR to rectified camera 0."""
    calibration = Calibration(folder / "calib.txt", _CALIBRATION)
    return calibration, calibration.transform("Tr_velo_to_cam" if "Tr_velo_to_cam" in calibration else "Tr")


def _image_folders(folder: Path) -> list[Path]:
    for names in (("image_2", "image_3"), ("image_0", "image_1")):
        if found := [folder / name for name in names if (folder / name).is_dir()]:
            return found
    return []


def _cameras(folder: Path, parts: Parts) -> list[Camera]:
    """The rectified cameras of a sequence, with their image folder in place of the path."""
    found = [
        parts.read(f"{folder.name}/{path.name}", partial(_camera, path)) for path in _image_folders(folder)
    ]
    return [camera for camera in found if camera is not None]


def _camera(folder: Path) -> Camera:
    calibration, cam0_SE3_velo = _cam0_SE3_velo(folder.parent)
    projection = calibration.projection(f"P{folder.name[-1]}")
    return rectified_camera(folder.name, folder, first_image_size(folder), projection, cam0_SE3_velo)
