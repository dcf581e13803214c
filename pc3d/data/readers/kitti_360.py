"""KITTI-360: long drives with sparse poses, two perspective and two fisheye cameras."""

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
from pc3d.data.points.motion import twist_between
from pc3d.data.readers.image_folders import image_of, lacking_images
from pc3d.data.readers.key_frames import add_key_every, check_key_every, key_every_note
from pc3d.data.readers.kitti_360_poses import read_poses
from pc3d.data.readers.kitti_360_rig import FISHEYE, PERSPECTIVE, Rig, read_rig
from pc3d.data.readers.kitti_rig import EGO_SE3_LIDAR, FRAMES, LICENSE
from pc3d.data.readers.kitti_times import gaps, number_scans, scan_times, utc_microseconds
from pc3d.data.readers.parts import Parts
from pc3d.data.readers.pose_gaps import pose_between
from pc3d.data.readers.text_files import read_lines
from pc3d.data.records import Float64, Sweep
from pc3d.findings import Finding
from pc3d.geometry.rigid import compose_SE3, invert_SE3

_LONGEST_TURN = 1.0
"""Seconds between two scans; longer steps are gaps, over which no motion is known."""


def detect(root: Path) -> str | None:
    """Why a folder is of this format, None where it is not."""
    found = next((path for path in root.glob("data_3d_raw/*/velodyne_points/data") if path.is_dir()), None)
    return None if found is None else found.relative_to(root).as_posix()


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the reader, by the names of its arguments."""
    parser.add_argument(
        "--no-compensate",
        dest="compensate",
        action="store_false",
        help="leave the points where they were measured (default: moved by the motion of the vehicle)",
    )
    add_key_every(parser, "scan")


@dataclass(frozen=True, eq=False)
class _Drive:
    """The scans of a drive that have a pose, ascending: number, file, time, world_SE3_ego."""

    name: str
    rig: Rig
    numbers: list[int]
    scans: list[Path]
    times: list[int]
    poses: list[Float64]
    period: float


class Kitti360Reader:
    """Reads the drives of KITTI-360.

    The scans are of split `train`. The data set has poses of the frames in which the car moved: a scan
    between two that are near each other gets a pose between them, others are left out. The ego frame stands
    under the Velodyne as for KITTI raw; the world is that of the data set, with z up. The scans are raw: with
    `compensate` each point is moved to the time at which the scan faced forward, by the direction that it
    was measured in and the motion since the scan before, as the development kit does.

    Args:
        root: folder with `data_3d_raw/DRIVE`, `data_poses/DRIVE`, `calibration`, and `data_2d_raw/DRIVE`
            where there are images.
        compensate: move the points.
        key_every: every so-manyth scan of a drive is a key frame, the others are plain sweeps without
            cameras.

    Raises:
        DataError: no drive with scans and poses, or none that can be read; a drive whose scans have no number
            or time, or whose calibration or poses are missing or broken, is left out.
    """

    def __init__(self, root: Path, compensate: bool = True, key_every: int = 1) -> None:
        check_key_every(key_every)
        self._root = Path(root).resolve()
        self._compensate, self._key_every = compensate, key_every
        self._notes: list[str] = []
        self.findings: list[Finding] = []
        folders = sorted(self._root.glob("data_3d_raw/*/velodyne_points"))
        parts = Parts("drives", "drives", needed=True)
        drives = [path.parent for path in folders if (path / "data").is_dir()]
        read = [parts.read(path.name, partial(self._read, path)) for path in drives]
        self._drives = [drive for drive in read if drive is not None]
        if not self._drives:
            parts.check()
            lacking = "; ".join(finding.text for finding in self.findings)
            what = f"no drive with scans and poses{f': {lacking}' if lacking else ''}"
            fail(what, self._root, "name the folder that holds data_3d_raw and data_poses")
        self.findings += parts.findings()
        self.metadata: dict[str, Any] = {
            "dataset": "kitti_360",
            "root": str(self._root),
            "classes": load_class_set("kitti_360").to_dict(),
            "frames": FRAMES,
            "notes": [
                "poses of the data set; the world is its own, z up",
                "points are moved to the time at which the scan faced forward"
                if compensate
                else "points are where they were measured, while the vehicle moved",
                key_every_note(key_every, "scan"),
                "no boxes and no labels: they are of accumulated clouds, which are not read",
                "of the fisheye images (image_02, image_03) what is ahead of the lens is used",
                "intrinsics: pixel centres at integer + 0.5",
                *self._notes,
            ],
            "license": LICENSE,
        }

    def __len__(self) -> int:
        return sum(len(drive.scans) for drive in self._drives)

    def sweeps(self) -> Iterator[Sweep]:
        """The drives by name, each ascending in time."""
        times = Parts("times of images", "timestamps.txt of cameras")
        for drive in self._drives:
            stamps = {
                camera.name: times.read(
                    f"{drive.name}/{camera.name}", partial(self._image_times, drive, camera.name)
                )
                or []
                for camera in drive.rig.cameras
            }
            for rank in range(len(drive.scans)):
                yield self._sweep(drive, rank, stamps)
        self.findings += times.findings()

    def _sweep(self, drive: _Drive, rank: int, stamps: dict[str, list[int]]) -> Sweep:
        scan, time, pose = drive.scans[rank], drive.times[rank], drive.poses[rank]
        key = self._is_key(rank)
        token = f"{drive.name}/{scan.stem}"
        motion = _motion(drive, rank) if self._compensate else None
        images = [
            replace(camera, path=path, world_SE3_ego=pose, timestamp=_at(stamps[camera.name], scan, time))
            for camera in (drive.rig.cameras if key else ())
            if (path := image_of(camera.path, scan.stem)) is not None
        ]
        return Sweep(
            token=token,
            scene=drive.name,
            timestamp=time,
            is_key_frame=key,
            path=scan,
            lidar_format=_format(drive.period),
            ego_SE3_lidar=EGO_SE3_LIDAR,
            world_SE3_ego=pose,
            split="train",
            cameras=tuple(images),
            sample_token=token if key else "",
            motion=motion,
        )

    def _is_key(self, rank: int) -> bool:
        return rank % self._key_every == 0

    def _read(self, folder: Path) -> _Drive | None:
        """The scans of a drive that have a pose; notes what it lacks."""
        name = folder.name
        scans = number_scans(list((folder / "velodyne_points" / "data").glob("*.bin")))
        where = self._root / "data_poses" / name / "poses.txt"
        if not scans or not where.is_file():
            lacks = "has no scan" if not scans else f"has no {where.relative_to(self._root).as_posix()}"
            remedy = "extract its archive (data_poses, data_3d_velodyne); it is not indexed"
            self.findings.append(Finding("drives", "warning", f"drive {name} {lacks}", remedy))
            return None
        times, every = scan_times(folder / "velodyne_points" / "timestamps.txt", list(scans))
        if missing := gaps(list(scans), every):
            self._lacks(f"drive {name} lacks scans {', '.join(missing)}")
        rig = read_rig(self._root, self._root / "data_2d_raw" / name)
        posed = self._posed(name, list(scans), read_poses(where), rig.imu_SE3_ego)
        kept = [rank for rank, pose in enumerate(posed) if pose is not None]
        if not kept:
            self._lacks(f"drive {name} has no pose for any of its {len(scans)} scans")
            return None
        files = list(scans.values())
        drive = _Drive(
            name=name,
            rig=rig,
            numbers=[list(scans)[rank] for rank in kept],
            scans=[files[rank] for rank in kept],
            times=[times[rank] for rank in kept],
            poses=[pose for pose in posed if pose is not None],
            period=_period(list(scans), times),
        )
        self._note_images(drive)
        return drive

    def _posed(
        self, name: str, numbers: list[int], poses: dict[int, Float64], imu_SE3_ego: Float64
    ) -> list[Float64 | None]:
        """(4, 4) world_SE3_ego of each scan, None where it is not known."""
        frames = np.array(list(poses), dtype=np.float64)
        found = [pose_between(poses, frames, number) for number in numbers]
        between = sum(pose is not None and n not in poses for n, pose in zip(numbers, found, strict=True))
        without = sum(pose is None for pose in found)
        if between:
            self._notes.append(f"drive {name}: {between} scans have a pose between those of others")
        if without:
            self._notes.append(f"drive {name}: {without} of {len(found)} scans have no pose and are left out")
        return [None if pose is None else compose_SE3(pose, imu_SE3_ego) for pose in found]

    def _lacks(self, what: str) -> None:
        self._notes.append(what)
        remedy = "extract the drive again, unless this is a part; times and poses of the others are right"
        self.findings.append(Finding("scans", "warning", what, remedy))

    def _note_images(self, drive: _Drive) -> None:
        keys = [scan for rank, scan in enumerate(drive.scans) if self._is_key(rank)]
        folders = [(camera.name, camera.path) for camera in drive.rig.cameras]
        if not folders:
            self._notes.append(f"drive {drive.name} has no image folder ({', '.join(PERSPECTIVE | FISHEYE)})")
        self._notes += lacking_images(f"drive {drive.name}", folders, keys)

    def _image_times(self, drive: _Drive, camera: str) -> list[int]:
        """Microseconds of each image, by number; empty where the camera has no file of times."""
        path = self._root / "data_2d_raw" / drive.name / camera / "timestamps.txt"
        if not path.is_file():
            return []
        lines = read_lines(path, "timestamps", "extract the drive again")
        return [utc_microseconds(line.strip(), path, n) for n, line in enumerate(lines) if line.strip()]


def _at(stamps: list[int], scan: Path, time: int) -> int:
    """The time of the image of a scan; the scan's where it is not known."""
    return stamps[int(scan.stem)] if int(scan.stem) < len(stamps) else time


def _format(period: float) -> str:
    return f"spin:x,y,z,intensity,time=turn*{period:.4f}"


def _period(numbers: list[int], times: list[int]) -> float:
    """Seconds of a turn: the median step between scans that follow each other."""
    steps = np.diff(times)[np.diff(numbers) == 1] * 1e-6
    return float(np.median(steps)) if len(steps) and 0.01 < np.median(steps) < _LONGEST_TURN else 0.1


def _motion(drive: _Drive, rank: int) -> Float64 | None:
    """(6,) twist of the vehicle since the scan before, for the first until the one after it."""
    for a, b in ((rank - 1, rank), (rank, rank + 1)):
        if a < 0 or b >= len(drive.times):
            continue
        seconds = 1e-6 * (drive.times[b] - drive.times[a])
        if drive.numbers[b] - drive.numbers[a] == 1 and 0 < seconds < _LONGEST_TURN:
            return twist_between(compose_SE3(invert_SE3(drive.poses[a]), drive.poses[b]), seconds)
    return None
