"""Argoverse 2: the sensor data set, and the LiDAR data set, which is the same without images and labels."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pc3d.data.classes import load_class_set
from pc3d.data.errors import fail
from pc3d.data.readers.argoverse2_log import NEEDED, Log, is_time
from pc3d.data.readers.key_frames import add_key_every, check_key_every, key_every_note
from pc3d.data.readers.parts import Parts, nearly_named
from pc3d.data.records import Boxes, Camera, Sweep
from pc3d.findings import Finding

FORMAT = "feather:x,y,z,intensity/255,ring=laser_number,time=offset_ns*1e-9"
SPLITS = ("train", "val", "test")
_DEPTHS = (".", "*", "*/*", "*/*/*")
_SWEEPS = "sensors/lidar"
_FILES = ("sensors", "calibration", "annotations.feather", "city_SE3_egovehicle.feather")
_TABLES = ("egovehicle_SE3_sensor.feather", "intrinsics.feather")


class Argoverse2Reader:
    """Reads logs of the Argoverse 2 sensor and LiDAR data sets.

    Point files are in the frame of the rear axle and compensated for its motion to the time of their name.
    The ego frame has the same axes on the road, the LiDAR frame has them between both LiDARs, where the rays
    start. Images are undistorted; each has the pose of its own time. The split is the folder of the log.

    Args:
        root: the data set, one of its splits, or a log.
        key_every: every so-manyth sweep of a log is a key frame, the others are plain sweeps without cameras
            and boxes; 5 makes the 2 Hz of nuScenes of the 10 Hz of the logs.

    Raises:
        DataError: there is no log, or none whose poses and mounts can be read.
    """

    def __init__(self, root: Path, key_every: int = 1) -> None:
        check_key_every(key_every)
        self._root = Path(root).resolve()
        self._key_every = key_every
        self._logs = _logs(self._root)
        if not self._logs:
            fail(
                f"there is no log with {_SWEEPS}",
                self._root,
                "name the folder that holds train/, val/ or test/, one of these, or a log",
            )
        self._counts = {log: sum(1 for _ in (log / _SWEEPS).glob("*.feather")) for log in self._logs}
        self.findings: list[Finding] = []
        self.metadata: dict[str, Any] = {
            "dataset": "argoverse2",
            "root": str(self._root),
            "classes": load_class_set("argoverse2").to_dict(),
            "frames": {
                "lidar": "axes of the ego, origin between both LiDARs",
                "ego": "x forward, y left, z up, on the road below the rear axle",
            },
            "compensated": True,
            "license": "CC BY-NC-SA 4.0",
            "notes": [
                "points are compensated for the motion of the vehicle, and quantised to float16",
                "velocities are differences of the boxes of a track",
                "intrinsics: pixel centres at integer + 0.5",
                key_every_note(key_every),
            ],
        }

    def __len__(self) -> int:
        return sum(self._counts.values())

    def sweeps(self) -> Iterator[Sweep]:
        """The logs by path, each ascending in time."""
        absent = {log: [name for name in NEEDED if not (log / name).is_file()] for log in self._logs}
        lacking = [log for log, names in absent.items() if names]
        if len(lacking) == len(self._logs):
            fail(f"no log has {' and '.join(absent[lacking[0]])}", lacking[0], "copy the logs again, whole")
        if lacking:
            text = f"{len(lacking)} of {len(self._logs)} logs lack a table and were left out"
            first = f"{lacking[0].name} has no {absent[lacking[0]][0]}"
            self.findings.append(Finding("logs", "warning", f"{text}, first: {first}", "copy them again"))
        self._boxes = Parts(
            "boxes",
            "sweeps are outside the times of annotations.feather, and their boxes",
            always=True,
            remedy="copy annotations.feather again",
        )
        self._cameras = Parts("calibration of cameras", "intrinsics.feather of logs")
        self._annotations = Parts("annotations", "annotations.feather of logs")
        parts, lists = Parts("logs", "logs", needed=True), self._lists()
        for log in self._logs:
            if not absent[log]:
                read = partial(Log.read, log, self._cameras, self._annotations)
                if (tables := parts.read(log.name, read)) is not None:
                    yield from self._of_log(log, tables)
        for one in (parts, self._cameras, self._annotations, self._boxes, *lists):
            self.findings += one.findings()

    def _lists(self) -> list[Parts]:
        """Logs beside which others have annotations; those of test have none."""
        beside: dict[Path, Parts] = {}
        for log in self._logs:
            if _split(log) != "test":
                parts = beside.setdefault(log.parent, Parts("annotations", "annotations.feather of logs"))
                parts.count(log.name, (log / "annotations.feather").is_file())
        self.findings += nearly_named(self._logs, _FILES, ("map",))
        self.findings += nearly_named([log / "calibration" for log in self._logs], _TABLES)
        self.findings += nearly_named([log / "sensors" for log in self._logs], ("lidar", "cameras"))
        return list(beside.values())

    def _of_log(self, folder: Path, log: Log) -> Iterator[Sweep]:
        times = sorted(int(path.stem) for path in (folder / _SWEEPS).glob("*.feather") if is_time(path.stem))
        if len(times) < self._counts[folder]:
            text = f"{self._counts[folder] - len(times)} files of {folder.name} are not named by nanoseconds"
            self.findings.append(Finding("names of sweeps", "warning", text, "give them their names again"))
        if log.left_out:
            text = f"cameras of {folder.name} have no calibration: {', '.join(sorted(log.left_out))}"
            self.findings.append(Finding("calibration of cameras", "warning", text, "copy the tables again"))
        without = 0
        for rank, time in enumerate(times):
            sweep = self._sweep(folder, log, time, rank % self._key_every == 0)
            without += sweep is None
            if sweep is not None:
                yield sweep
        if without:
            text = f"{without} of {len(times)} sweeps of {folder.name} have no pose and were left out"
            self.findings.append(Finding("poses", "warning", text, "copy city_SE3_egovehicle.feather again"))

    def _sweep(self, folder: Path, log: Log, time: int, key: bool) -> Sweep | None:
        pose = log.ego_pose(time)
        if pose is None:
            return None
        token = f"{folder.name}/{time}"
        boxes: Boxes | None = None
        if key and log.annotations:
            boxes = log.annotations.boxes(time, log.lidar_SE3_axle)
            self._boxes.count(token, boxes is not None)
        return Sweep(
            token=token,
            scene=folder.name,
            timestamp=time // 1000,
            is_key_frame=key,
            path=folder / _SWEEPS / f"{time}.feather",
            lidar_format=FORMAT,
            ego_SE3_lidar=log.ego_SE3_lidar,
            world_SE3_ego=pose,
            split=_split(folder),
            cameras=tuple(_images(log, time)) if key else (),
            boxes=boxes,
            sample_token=token if key else "",
            lidar_SE3_points=log.lidar_SE3_axle,
        )


def _images(log: Log, time: int) -> Iterator[Camera]:
    for camera, taken in log.images_at(time):
        pose = log.ego_pose(taken)
        if pose is not None:
            path = camera.path / f"{taken}.jpg"
            yield replace(camera, path=path, timestamp=taken // 1000, world_SE3_ego=pose)


def _split(log: Path) -> str:
    return log.parent.name if log.parent.name in SPLITS else "train"


def _logs(root: Path) -> list[Path]:
    found = {
        path.parents[1] for depth in _DEPTHS for path in root.glob(f"{depth}/{_SWEEPS}") if path.is_dir()
    }
    return sorted(found)


def detect(root: Path) -> str | None:
    """Why a folder is one of this format, None where it is not."""
    for depth in _DEPTHS:
        for log in root.glob(f"{depth}/{_SWEEPS}"):
            if any(is_time(path.stem) for path in log.glob("*.feather")):
                return f"{log.relative_to(root)}/TIME.feather"
    return None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options whose names are the arguments of the reader."""
    add_key_every(parser)
