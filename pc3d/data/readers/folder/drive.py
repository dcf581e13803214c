"""The sweeps of one drive of an own folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pc3d.data.odometry import OdometryConfig, lidar_odometry
from pc3d.data.points import load_points, point_format
from pc3d.data.points.load import columns_of
from pc3d.data.points.motion import twist_between
from pc3d.data.readers.folder.boxes import read_boxes
from pc3d.data.readers.folder.description import CameraEntry
from pc3d.data.readers.folder.guesses import CompleteLidar
from pc3d.data.readers.folder.images import CameraImages, Sync, half_a_period
from pc3d.data.readers.folder.labels import label_of
from pc3d.data.readers.folder.poses import is_level, read_poses
from pc3d.data.readers.folder.scenes import Scene, image_files, point_files
from pc3d.data.readers.folder.setup import Setup, mount_of
from pc3d.data.readers.folder.stamps import stem_of
from pc3d.data.readers.nearest import nearest
from pc3d.data.readers.pose_track import PoseTrack
from pc3d.data.records import Boxes, Camera, Float64, Lidar, Sweep
from pc3d.geometry.rigid import invert_SE3

TWIST_STEP = 50_000
"""Microseconds before and after a scan between whose poses its motion is taken: about as long as a scan."""


@dataclass
class Tallies:
    """What is counted over all drives.

    Attributes:
        sync: by sensor. missing: scans by what they lack. drives: what a drive lacks, with its name.
        levelled: drives whose world was turned upright.
    """

    sync: dict[str, Sync] = field(default_factory=lambda: defaultdict(Sync))
    missing: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    drives: list[str] = field(default_factory=list)
    levelled: list[str] = field(default_factory=list)


class DriveReader:
    """Reads one drive.

    Args:
        kiss_icp: estimate poses where no file states them.
        tallies: gets what is counted.

    Raises:
        DataError: a file of the drive is wrong. One that is missing is told in `tallies.drives`.
    """

    def __init__(self, setup: Setup, scene: Scene, tallies: Tallies, kiss_icp: bool) -> None:
        self._setup, self._scene, self._tallies = setup, scene, tallies
        self._world_SE3_file = np.eye(4)
        self._scans = setup.times(point_files(scene.folder / setup.lidars[0].entry.name))
        self._times = list(self._scans)
        self._tolerance = half_a_period(self._times)
        self._poses: dict[int, Float64] | PoseTrack | None = None
        self._usable = self._find_poses(kiss_icp)
        if not self._usable:
            return
        self._cameras = list(self._camera_images())
        self._others = list(self._other_scans())

    def sweeps(self, split: str) -> Iterator[Sweep]:
        """Ascending in time; none where the drive has no scans, or its file of poses is missing."""
        rank = 0
        for time, path in self._scans.items() if self._usable else ():
            pose = self._pose(time)
            if pose is None:
                self._tallies.missing["scans without a pose, left out"] += 1
                continue
            key = rank % self._setup.description.key_every == 0
            rank += 1
            yield self._sweep(time, path, pose, key, split)

    def twist(self, time: int) -> Float64 | None:
        """(6,) velocity of the ego vehicle in its frame, m/s and rad/s, from the poses around a time."""
        if not isinstance(self._poses, PoseTrack):
            return None
        near = (time - TWIST_STEP, time, time + TWIST_STEP)
        known = [(t, pose) for t in near if (pose := self._pose(t)) is not None]
        if len(known) < 2:
            return None
        (first, world_SE3_first), (last, world_SE3_last) = known[0], known[-1]
        return twist_between(invert_SE3(world_SE3_first) @ world_SE3_last, (last - first) / 1e6)

    def _sweep(self, time: int, path: Path, pose: Float64, key: bool, split: str) -> Sweep:
        setup, stem = self._setup, stem_of(path)
        token = f"{self._scene.name}/{stem}"
        label = (
            label_of(self._scene.folder / setup.description.labels[0], stem) if setup.labels and key else None
        )
        world_SE3_lidar = pose @ setup.ego_SE3_lidar
        return Sweep(
            token=token,
            scene=self._scene.name,
            timestamp=time,
            is_key_frame=key,
            path=path,
            lidar_format=setup.lidars[0].lidar_format,
            ego_SE3_lidar=setup.ego_SE3_lidar,
            world_SE3_ego=pose,
            split=split,
            cameras=tuple(self._images(time)) if key else (),
            boxes=self._boxes(stem, world_SE3_lidar) if key else None,
            lidarseg_path=label,
            sample_token=token if key else "",
            lidar_SE3_points=self._lidar_SE3(setup.lidars[0].entry.frame, world_SE3_lidar),
            lidars=tuple(self._further(time, world_SE3_lidar)),
            lidarseg_format=setup.labels or "uint8",
        )

    def _lidar_SE3(self, frame: str, world_SE3_lidar: Float64) -> Float64 | None:
        """(4, 4) from coordinates in a frame to those of the first LiDAR, None where they are these."""
        if frame == "ego":
            return invert_SE3(self._setup.ego_SE3_lidar)
        return invert_SE3(world_SE3_lidar) @ self._world_SE3_file if frame == "world" else None

    def _images(self, time: int) -> Iterator[Camera]:
        for name, images in self._cameras:
            image = images.at(time, self._pose, self._tallies.sync[f"camera {name}"])
            if image is not None:
                yield image

    def _boxes(self, stem: str, world_SE3_lidar: Float64) -> Boxes | None:
        folder, frame = self._setup.description.boxes
        path = next(
            (p for end in (".txt", ".csv") if (p := self._scene.folder / folder / f"{stem}{end}").is_file()),
            None,
        )
        if path is None:
            return None
        lidar_SE3_boxes = self._lidar_SE3(frame, world_SE3_lidar)
        return read_boxes(path, np.eye(4) if lidar_SE3_boxes is None else lidar_SE3_boxes)

    def _further(self, time: int, world_SE3_lidar: Float64) -> Iterator[Lidar]:
        """The other LiDARs at the scan that is nearest in time, the motion in between taken along."""
        for lidar, times, paths, tolerance in self._others:
            sync = self._tallies.sync[f"LiDAR {lidar.entry.name}"]
            found = nearest(times, time, tolerance)
            there = None if found is None else self._pose(times[found])
            if found is None or there is None:
                sync.alone += 1
                continue
            sync.apart.append(abs(times[found] - time))
            world_SE3_points = {
                "sensor": there @ mount_of(lidar.entry),
                "ego": there,
                "world": self._world_SE3_file,
            }[lidar.entry.frame]
            moved = invert_SE3(world_SE3_lidar) @ world_SE3_points
            offset = (times[found] - time) / 1e6
            yield Lidar(lidar.entry.name, paths[found], lidar.lidar_format, moved, "", offset)

    def _other_scans(self) -> Iterator[tuple[CompleteLidar, list[int], list[Path], int]]:
        """Each further LiDAR, the times and files of its scans, and how far one may be from its partner."""
        for lidar in self._setup.lidars[1:]:
            scans = self._setup.times(point_files(self._scene.folder / lidar.entry.name))
            times = list(scans)
            yield lidar, times, list(scans.values()), half_a_period(times)

    def _camera_images(self) -> Iterator[tuple[str, CameraImages]]:
        setup = self._setup
        for camera in setup.cameras:
            files = setup.times(image_files(self._scene.folder / camera.folder))
            if not files:
                what = f"camera {camera.name}: scans of drives without an image"
                self._tallies.missing[what] += len(self._times)
                continue
            sync = setup.description.sync
            tolerance = half_a_period(list(files)) if sync is None else round(1e6 * sync)
            yield camera.name, CameraImages(camera, self._ego_SE3_cam(camera), files, tolerance)

    def _ego_SE3_cam(self, camera: CameraEntry) -> Float64:
        if camera.ego_SE3_cam is not None:
            return camera.ego_SE3_cam
        assert camera.lidar_SE3_cam is not None
        return self._setup.ego_SE3_lidar @ camera.lidar_SE3_cam

    def _find_poses(self, kiss_icp: bool) -> bool:
        """Whether the drive can be read: it has scans, and their poses where others have."""
        entry, name = self._setup.poses, self._scene.name
        if not self._times:
            self._tallies.drives.append(f"{name} has no scan in {self._setup.lidars[0].entry.name}/")
            return False
        if entry is None:
            self._poses = self._odometry() if kiss_icp else None
            return True
        path = self._scene.folder / entry.file
        if not path.is_file():
            self._tallies.drives.append(f"{name} has no {entry.file}")
            return False
        track = read_poses(path, entry, self._times, self._setup.stamp_unit)
        first, last = track.range
        if first > self._times[-1] or last < self._times[0]:
            self._tallies.drives.append(
                f"{name}: poses are from {first / 1e6:.6f} to {last / 1e6:.6f} s, its scans from "
                f"{self._times[0] / 1e6:.6f} to {self._times[-1] / 1e6:.6f} s"
            )
            return False
        self._poses = track
        self._level(track)
        return True

    def _level(self, track: PoseTrack) -> None:
        """Turn the world upright where its axes are those of the sensor that the poses are of.

        Odometry starts at the identity: the world is then the first camera's, its y down.
        """
        ego_SE3_posed = self._ego_SE3_posed()
        if is_level(track, np.eye(4), ego_SE3_posed) or not is_level(track, ego_SE3_posed, ego_SE3_posed):
            return
        self._world_SE3_file = ego_SE3_posed
        self._tallies.levelled.append(self._scene.name)

    def _odometry(self) -> dict[int, Float64]:
        lidar, mount = self._setup.lidars[0], self._setup.ego_SE3_lidar
        names = columns_of(point_format(lidar.lidar_format))
        lidar_SE3_points = self._lidar_SE3(lidar.entry.frame, np.eye(4))

        def clouds() -> Iterator[tuple[Any, Any]]:
            for time, path in self._scans.items():
                points = load_points(
                    path, lidar.lidar_format, timestamp=time, lidar_SE3_points=lidar_SE3_points
                )
                yield points, points[:, names.index("time")].astype(np.float64) if "time" in names else None

        ground = (
            OdometryConfig(ground_below=0.4 - float(mount[2, 3])) if mount[2, 3] > 0.5 else OdometryConfig()
        )
        poses = lidar_odometry(clouds(), ground)
        lidar_SE3_ego = invert_SE3(mount)
        return {time: mount @ pose @ lidar_SE3_ego for time, pose in zip(self._times, poses, strict=True)}

    def _pose(self, time: int) -> Float64 | None:
        """(4, 4) world_SE3_ego at a time."""
        if self._poses is None:
            return np.eye(4)
        if isinstance(self._poses, dict):
            near = nearest(self._times, time, self._tolerance)
            return None if near is None else self._poses[self._times[near]]
        found = self._poses.at(time)
        return None if found is None else self._world_SE3_file @ found @ invert_SE3(self._ego_SE3_posed())

    def _ego_SE3_posed(self) -> Float64:
        entry, setup = self._setup.poses, self._setup
        assert entry is not None
        for lidar in setup.lidars:
            if lidar.entry.name == entry.of:
                return mount_of(lidar.entry)
        for camera in setup.cameras:
            if camera.name == entry.of:
                return self._ego_SE3_cam(camera)
        return np.eye(4)
