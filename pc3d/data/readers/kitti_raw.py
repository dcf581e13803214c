"""KITTI raw: a date folder with calibration and synchronised, rectified drives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pc3d.data.errors import DataError, fail
from pc3d.data.odometry import OdometryConfig, lidar_odometry, require_kiss_icp
from pc3d.data.points import load_points
from pc3d.data.readers.kitti_oxts import read_oxts
from pc3d.data.records import Camera, Float64, Sweep
from pc3d.geometry.camera import shift_pixel_centres
from pc3d.geometry.rigid import invert_SE3, make_SE3

_PERIOD_US = 100_000  # 10 Hz, where a drive comes without its timestamps

EGO_SE3_LIDAR = make_SE3(np.eye(3), np.array([0.0, 0.0, 1.73]))

# Points up to 0.4 m above the road are thinned: the scans hold no point times and the rings dominate.
ODOMETRY = OdometryConfig(ground_below=0.4 - float(EGO_SE3_LIDAR[2, 3]))

POSES: dict[str | None, str] = {
    None: "poses are the identity: the drives state none",
    "kiss-icp": "poses by KISS-ICP odometry; the world is the ego frame of a drive's first scan",
    "oxts": "poses from the OXTS unit; the world is the ego frame of a drive's first scan",
}
"""Sources of the poses, and what the index says of each."""


class KittiRawReader:
    """Reads KITTI raw date folders (`root` is one of them, or holds several).

    The scans are of split `train`. The ego frame stands under the Velodyne on the road, 1.73 m below
    it (Geiger et al., IJRR 2013), with its axes (x forward, y left, z up). Cameras are triggered when
    the scan faces forward, so an image has the pose of its scan. Rectified colour cameras `image_02`
    and `image_03` are taken where they exist, else the grey ones.

    Args:
        root: a date folder, or the folder that holds several.
        poses: "kiss-icp" estimates them from the scans, "oxts" takes those of the drive's OXTS unit,
            None leaves the identity, which objectives that move points between times cannot use.
        key_every: every so-manyth scan of a drive is a key frame, the others are plain sweeps without
            cameras; 5 makes the 2 Hz of nuScenes of the 10 Hz of the drives.

    Raises:
        DataError: no drive; a calibration file or an entry is missing; no OXTS data.
        ImportError: `poses="kiss-icp"` without the package.
    """

    def __init__(self, root: Path, poses: str | None = None, key_every: int = 1) -> None:
        if poses not in POSES:
            raise ValueError(f"unknown poses {poses!r}, use None, 'kiss-icp' or 'oxts'")
        if key_every < 1:
            raise ValueError(f"key_every is {key_every}, expected at least 1")
        if poses == "kiss-icp":
            require_kiss_icp()
        self._poses = poses
        self._key_every = key_every
        self._root = Path(root).resolve()
        self._drives = sorted(
            folder.parent
            for depth in ("*", "*/*")
            for folder in self._root.glob(f"{depth}/velodyne_points")
            if (folder / "data").is_dir()
        )
        if not self._drives:
            fail(
                "no drive with velodyne_points/data",
                self._root,
                "name a KITTI raw date folder, e.g. 2011_09_26, or the folder that holds it",
            )
        self.metadata: dict[str, Any] = {
            "dataset": "kitti_raw",
            "root": str(self._root),
            "class_names": [],
            "label_map": None,
            "frames": {
                "lidar": "x forward, y left, z up",
                "ego": "as lidar, on the road 1.73 m below",
            },
            "notes": [
                POSES[poses],
                "every scan is a key frame" if key_every == 1 else f"one scan in {key_every} is a key frame",
                "no boxes and no labels",
            ],
        }

    def __len__(self) -> int:
        return sum(len(_scans(drive)) for drive in self._drives)

    def sweeps(self) -> Iterator[Sweep]:
        """The drives by path, each ascending in time."""
        for drive in self._drives:
            cameras = _cameras(drive)
            scans = _scans(drive)
            times = _timestamps(drive, len(scans))
            for number, (scan, time, pose) in enumerate(
                zip(scans, times, self._ego_poses(drive, scans), strict=True)
            ):
                key = number % self._key_every == 0
                yield _sweep(drive, scan, time, pose, cameras if key else [], key)

    def _ego_poses(self, drive: Path, scans: list[Path]) -> Iterator[Float64]:
        """(4, 4) world_SE3_ego of each scan."""
        if self._poses == "kiss-icp":
            clouds = ((load_points(scan, "kitti", f"{drive.name}/{scan.stem}"), None) for scan in scans)
            lidar_SE3_ego = invert_SE3(EGO_SE3_LIDAR)
            for pose in lidar_odometry(clouds, ODOMETRY):
                yield EGO_SE3_LIDAR @ pose @ lidar_SE3_ego
        elif self._poses == "oxts":
            yield from _oxts_poses(drive, scans)
        else:
            yield from (np.eye(4) for _ in scans)


def _oxts_poses(drive: Path, scans: list[Path]) -> list[Float64]:
    """(4, 4) world_SE3_ego of each scan; the world is the first ego frame."""
    imu_poses = read_oxts(drive, [scan.stem for scan in scans])
    velo_SE3_imu = _read_rigid(drive.parent / "calib_imu_to_velo.txt")
    imu_SE3_ego = invert_SE3(EGO_SE3_LIDAR @ velo_SE3_imu)
    first_SE3_world = invert_SE3(imu_poses[0] @ imu_SE3_ego)
    return [first_SE3_world @ world_SE3_imu @ imu_SE3_ego for world_SE3_imu in imu_poses]


def _sweep(drive: Path, scan: Path, timestamp: int, pose: Float64, cameras: list[Camera], key: bool) -> Sweep:
    images = []
    for camera in cameras:
        path = camera.path / f"{scan.stem}.png"
        if not path.exists():
            path = path.with_suffix(".jpg")
        if path.exists():
            images.append(replace(camera, path=path, timestamp=timestamp, world_SE3_ego=pose))
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


def _scans(drive: Path) -> list[Path]:
    return sorted((drive / "velodyne_points" / "data").glob("*.bin"))


def _timestamps(drive: Path, count: int) -> list[int]:
    """Microseconds from `timestamps.txt`, else 10 Hz from 0."""
    path = drive / "velodyne_points" / "timestamps.txt"
    if not path.is_file():
        return [number * _PERIOD_US for number in range(count)]
    lines = path.read_text().split("\n")
    stamps = [_microseconds(line) for line in lines if line.strip()]
    if len(stamps) != count:
        fail(f"{len(stamps)} timestamps for {count} scans", path, "extract the drive again")
    return stamps


def _microseconds(line: str) -> int:
    """Of e.g. `2011-09-26 13:02:25.951199337`."""
    whole, _, fraction = line.strip().partition(".")
    moment = datetime.strptime(whole, "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
    return int(moment.timestamp()) * 1_000_000 + int(fraction[:6].ljust(6, "0") or 0)


def _cameras(drive: Path) -> list[Camera]:
    """The rectified cameras of a drive, with their image folder in place of the path."""
    names = [name for name in ("image_02", "image_03") if (drive / name / "data").is_dir()]
    names = names or [name for name in ("image_00", "image_01") if (drive / name / "data").is_dir()]
    if not names:
        return []
    cam0_SE3_velo = _read_rigid(drive.parent / "calib_velo_to_cam.txt")
    where = drive.parent / "calib_cam_to_cam.txt"
    rectified = _read_calibration(where)
    rect_SE3_cam0 = make_SE3(_entry(rectified, "R_rect_00", (3, 3), where), np.zeros(3))
    cameras = []
    for name in names:
        P = _entry(rectified, f"P_rect_{name[-2:]}", (3, 4), where)
        K = P[:, :3]
        # P = K [I | t]: the camera sits at -t beside the rectified camera 0.
        cam_SE3_rect = make_SE3(np.eye(3), np.linalg.solve(K, P[:, 3]))
        cameras.append(
            Camera(
                name=name,
                path=drive / name / "data",
                size=_image_size(drive / name / "data"),
                intrinsics=shift_pixel_centres(K),
                ego_SE3_cam=EGO_SE3_LIDAR @ invert_SE3(cam_SE3_rect @ rect_SE3_cam0 @ cam0_SE3_velo),
                world_SE3_ego=np.eye(4),
                timestamp=0,
            )
        )
    return cameras


def _image_size(folder: Path) -> tuple[int, int]:
    first = next((path for path in sorted(folder.iterdir()) if path.suffix in (".png", ".jpg")), None)
    if first is None:
        fail("no image", folder, "extract the drive again, or remove the empty camera folder")
    try:
        with Image.open(first) as image:
            return image.size
    except OSError as error:
        raise DataError(
            f"image cannot be read: {error}\n  where: {first}\n  remedy: copy it again"
        ) from error


def _read_rigid(path: Path) -> Float64:
    """(4, 4) transform of the entries R and T of a calibration file."""
    entries = _read_calibration(path)
    return make_SE3(_entry(entries, "R", (3, 3), path), _entry(entries, "T", (3,), path))


def _read_calibration(path: Path) -> dict[str, list[float]]:
    """Numeric entries of a KITTI calibration file (`name: number number ...`)."""
    entries = {}
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise DataError(
            f"calibration cannot be read: {error}\n  where: {path}\n  remedy: extract the calibration "
            "archive of that date into the date folder"
        ) from error
    for line in lines:
        name, _, values = line.partition(":")
        try:
            entries[name.strip()] = [float(value) for value in values.split()]
        except ValueError:
            continue  # calib_time is a date
    return entries


def _entry(entries: dict[str, list[float]], name: str, shape: tuple[int, ...], path: Path) -> Float64:
    values = entries.get(name, [])
    if len(values) != int(np.prod(shape)):
        fail(
            f"calibration entry {name} has {len(values)} numbers, expected {np.prod(shape)}",
            path,
            "extract it again",
        )
    return np.reshape(np.array(values, dtype=np.float64), shape)
