"""KITTI raw: a date folder with calibration and synchronised, rectified drives."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pc3d.data.errors import fail
from pc3d.data.odometry import require_kiss_icp
from pc3d.data.readers.image_folders import first_image_size, image_of, lacking_images
from pc3d.data.readers.key_frames import add_key_every, check_key_every, key_every_note
from pc3d.data.readers.kitti_calibration import Calibration
from pc3d.data.readers.kitti_oxts import read_oxts
from pc3d.data.readers.kitti_poses import estimated_poses
from pc3d.data.readers.kitti_rig import EGO_SE3_LIDAR, FRAMES, LICENSE, rectified_camera
from pc3d.data.readers.kitti_times import gaps, is_number, number_scans, scan_times
from pc3d.data.readers.parts import Parts, nearly_named
from pc3d.data.records import Camera, Float64, Sweep
from pc3d.findings import Finding
from pc3d.geometry.rigid import invert_SE3

POSES: dict[str | None, str] = {
    None: "poses are the identity: the drives state none",
    "kiss-icp": "poses by KISS-ICP odometry; the world is the ego frame of a drive's first scan",
    "oxts": "poses from the OXTS unit; the world is the ego frame of a drive's first scan",
}
"""Sources of the poses, and what the index says of each."""


def detect(root: Path) -> str | None:
    """Why a folder is of this format, None where it is not."""
    folder = next(
        (f for pattern in ("*/velodyne_points", "*/*/velodyne_points") for f in root.glob(pattern)), None
    )
    # KITTI-360 has the folder, too, below data_3d_raw.
    if folder is None or not (folder / "data").is_dir() or folder.parents[1].name == "data_3d_raw":
        return None
    return f"{folder.relative_to(root).as_posix()}/data"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the reader, by the names of its arguments."""
    parser.add_argument(
        "--poses",
        choices=["kiss-icp", "oxts"],
        help="estimate them by LiDAR odometry, or take the OXTS unit's (default: the identity)",
    )
    add_key_every(parser, "scan")


class KittiRawReader:
    """Reads KITTI raw date folders (`root` is one of them, or holds several).

    The scans are of split `train`. The ego frame stands under the Velodyne on the road, 1.73 m below
    it (Geiger et al., IJRR 2013), with its axes (x forward, y left, z up). Cameras are triggered when
    the scan faces forward, so an image has the pose of its scan. The time of a scan is that of its number,
    the name of its file, so scans that are missing shift no other. Rectified colour cameras `image_02`
    and `image_03` are taken where they exist, else the grey ones.

    Args:
        root: a date folder, or the folder that holds several.
        poses: "kiss-icp" estimates them from the scans, "oxts" takes those of the drive's OXTS unit,
            None leaves the identity, which objectives that move points between times cannot use.
        key_every: every so-manyth scan of a drive is a key frame, the others are plain sweeps without
            cameras; 5 makes the 2 Hz of nuScenes of the 10 Hz of the drives.

    Raises:
        DataError: no drive, or none that can be read: scans without a number or a time, no OXTS data. Such a
            drive beside others is left out, cameras without a sound calibration are.
        ImportError: `poses="kiss-icp"` without the package.
    """

    def __init__(self, root: Path, poses: str | None = None, key_every: int = 1) -> None:
        if poses not in POSES:
            raise ValueError(f"unknown poses {poses!r}, use None, 'kiss-icp' or 'oxts'")
        check_key_every(key_every)
        if poses == "kiss-icp":
            require_kiss_icp()
        self._poses = poses
        self._key_every = key_every
        self._root = Path(root).resolve()
        self._drives: dict[Path, tuple[list[Path], list[int]]] = {}
        self._parts = Parts("drives", "drives", needed=True)
        self._notes: list[str] = []
        self.findings: list[Finding] = []
        for folder in sorted(
            [*self._root.glob("*/velodyne_points"), *self._root.glob("*/*/velodyne_points")]
        ):
            if (folder / "data").is_dir():
                self._parts.read(folder.parent.name, partial(self._read_drive, folder.parent))
        folders = ("velodyne_points", "image_02", "image_03", "oxts")
        self.findings += nearly_named(self._drives, folders, ("image_00", "image_01"))
        if not self._drives:
            self._parts.check()
            fail(
                "no drive with velodyne_points/data",
                self._root,
                "name a KITTI raw date folder, e.g. 2011_09_26, or the folder that holds it",
            )
        self.metadata: dict[str, Any] = {
            "dataset": "kitti_raw",
            "root": str(self._root),
            "classes": None,
            "frames": FRAMES,
            "notes": [
                POSES[poses],
                key_every_note(key_every, "scan"),
                "no boxes and no labels",
                *self._notes,
            ],
            "license": LICENSE,
        }

    def __len__(self) -> int:
        return sum(len(scans) for scans, _ in self._drives.values())

    def sweeps(self) -> Iterator[Sweep]:
        """The drives by path, each ascending in time."""
        rigs = Parts("cameras", "rigs of drives", needed=True)
        for drive, (scans, times) in self._drives.items():
            cameras = rigs.read(drive.name, partial(_cameras, drive)) or []
            poses = self._parts.read(drive.name, partial(self._ego_poses, drive, scans))
            if poses is None:
                continue
            for rank, (scan, time, pose) in enumerate(zip(scans, times, poses, strict=True)):
                key = self._is_key(rank)
                yield _sweep(drive, scan, time, pose, cameras if key else [], key)
        self.findings += [*self._parts.findings(), *rigs.findings()]

    def _is_key(self, rank: int) -> bool:
        return rank % self._key_every == 0

    def _read_drive(self, drive: Path) -> None:
        """Keep the scans of a drive with their times, and note what it lacks."""
        scans = number_scans(list((drive / "velodyne_points" / "data").glob("*.bin")))
        if not scans:
            self._lacks(f"drive {drive.name} has no scan")
            return
        where = drive / "velodyne_points" / "timestamps.txt"
        times, every = scan_times(where, list(scans), _other_numbers(drive))
        self._drives[drive] = list(scans.values()), times
        if missing := gaps(list(scans), every):
            self._lacks(f"drive {drive.name} lacks scans {', '.join(missing)}")
        if not _image_folders(drive):
            self._notes.append(f"drive {drive.name} has no image folder (image_00 to image_03)")
        keys = [scan for rank, scan in enumerate(scans.values()) if self._is_key(rank)]
        folders = [(folder.parent.name, folder) for folder in _image_folders(drive)]
        self._notes += lacking_images(f"drive {drive.name}", folders, keys)

    def _lacks(self, what: str) -> None:
        self._notes.append(what)
        remedy = "extract the drive again, unless it was published so; times of the others are right"
        self.findings.append(Finding("scans", "warning", what, remedy))

    def _ego_poses(self, drive: Path, scans: list[Path]) -> Iterable[Float64]:
        """(4, 4) world_SE3_ego of each scan."""
        if self._poses == "kiss-icp":
            return estimated_poses((scan, f"{drive.name}/{scan.stem}") for scan in scans)
        if self._poses == "oxts":
            return _oxts_poses(drive, scans)
        return [np.eye(4) for _ in scans]


def _oxts_poses(drive: Path, scans: list[Path]) -> list[Float64]:
    """(4, 4) world_SE3_ego of each scan; the world is the first ego frame."""
    imu_poses = read_oxts(drive, [scan.stem for scan in scans])
    velo_SE3_imu = Calibration(drive.parent / "calib_imu_to_velo.txt").rigid()
    imu_SE3_ego = invert_SE3(EGO_SE3_LIDAR @ velo_SE3_imu)
    first_SE3_world = invert_SE3(imu_poses[0] @ imu_SE3_ego)
    return [first_SE3_world @ world_SE3_imu @ imu_SE3_ego for world_SE3_imu in imu_poses]


def _sweep(drive: Path, scan: Path, timestamp: int, pose: Float64, cameras: list[Camera], key: bool) -> Sweep:
    images = [
        replace(camera, path=path, timestamp=timestamp, world_SE3_ego=pose)
        for camera in cameras
        if (path := image_of(camera.path, scan.stem)) is not None
    ]
    token = f"{drive.name}/{scan.stem}"
    return Sweep(
        token=token,
        scene=drive.name,
        timestamp=timestamp,
        is_key_frame=key,
        path=scan,
        lidar_format="kitti",
        ego_SE3_lidar=EGO_SE3_LIDAR,
        world_SE3_ego=pose,
        split="train",
        cameras=tuple(images),
        sample_token=token if key else "",
    )


def _image_folders(drive: Path) -> list[Path]:
    for names in (("image_02", "image_03"), ("image_00", "image_01")):
        if found := [drive / name / "data" for name in names if (drive / name / "data").is_dir()]:
            return found
    return []


def _other_numbers(drive: Path) -> list[int]:
    """Numbers of the images and OXTS packets of a drive."""
    folders = [*_image_folders(drive), drive / "oxts" / "data"]
    stems = (path.stem for folder in folders if folder.is_dir() for path in folder.iterdir())
    return [int(stem) for stem in stems if is_number(stem)]


def _cameras(drive: Path) -> list[Camera]:
    """The rectified cameras of a drive, with their image folder in place of the path."""
    folders = _image_folders(drive)
    if not folders:
        return []
    cam0_SE3_velo = Calibration(drive.parent / "calib_velo_to_cam.txt").rigid()
    where = drive.parent / "calib_cam_to_cam.txt"
    rectified = Calibration(where)
    rect_SE3_velo = rectified.rectification() @ cam0_SE3_velo
    cameras = []
    for folder in folders:
        name = folder.parent.name
        projection = rectified.projection(f"P_rect_{name[-2:]}", f"S_rect_{name[-2:]}")
        size = first_image_size(folder)
        if projection.size not in (None, size):
            fail(
                f"the images have {size[0]} x {size[1]} pixels, but S_rect_{name[-2:]} is {projection.size}",
                f"{folder} and {where}",
                "take images and calibration of one date, in their own size",
            )
        cameras.append(rectified_camera(name, folder, size, projection, rect_SE3_velo))
    return cameras
