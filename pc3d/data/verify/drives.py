"""Sweeps of a drive side by side: mounts that change, poses that stand still, boxes that are there twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from pc3d.data.records import Boxes, Camera, Float64, Sweep
from pc3d.data.survey.file_use import FileUse
from pc3d.data.survey.tally import Tally
from pc3d.data.survey.times import sweep_steps
from pc3d.findings import Finding

_TURNED, _SHIFTED, _SCALED = np.cos(np.radians(2.0)), 0.2, 0.01  # cosine; metres; share
_FAST, _RATE, _NOISE = 3.0, 3.0, 0.2  # m/s; rad/s; rad
_MOUNT = 20.0
_TRACK = 100.0  # m/s
_SAME = 1e-6  # metres, radians: a row that is there twice; annotators draw some objects twice, not so equally


class SharedFiles:
    """Files that stand for two times or sensors; their sizes show when they are opened."""

    def __init__(self) -> None:
        self._use = FileUse()

    def look(self, sweeps: Sequence[Sweep]) -> None:
        self._use.look(sweeps, [0] * len(sweeps))

    def findings(self) -> list[Finding]:
        return self._use.findings()


class Mounts:
    """Looks whether sensors stay where they are within a scene."""

    def __init__(self) -> None:
        self._lidar, self._camera, self._lens = Tally(), Tally(), Tally()
        self._absent, self._far = Tally(), Tally()

    def look(self, sweeps: Sequence[Sweep]) -> None:
        first: dict[str, Camera] = {}
        names = {lidar.name for sweep in sweeps for lidar in sweep.lidars}
        for sweep in sweeps:
            where = f"sweep {sweep.token} of scene {sweep.scene}"
            self._lidar.look(_differ(sweeps[0].ego_SE3_lidar, sweep.ego_SE3_lidar), where)
            absent = sorted(names - {lidar.name for lidar in sweep.lidars})
            self._absent.look(bool(absent), f"{', '.join(absent)}, {where}")
            for lidar in sweep.lidars:
                # Where files are in the coordinates of a map, this is no mount.
                away = float(np.linalg.norm(lidar.lidar_SE3_sensor[:3, 3]))
                odd = sweep.lidar_SE3_points is None and away > _MOUNT
                self._far.look(odd, f"{lidar.name} {away:.4g} m, {where}")
            for camera in sweep.cameras:
                usual = first.setdefault(camera.name, camera)
                at = f"{camera.name} of {where}"
                self._camera.look(_differ(usual.ego_SE3_cam, camera.ego_SE3_cam), at)
                self._lens.look(_other_lens(usual, camera), at)

    def findings(self) -> list[Finding]:
        once = "a sensor has one calibration in a scene: give all sweeps the right one"
        return [
            *self._lidar.finding(
                "moved LiDAR", "warning", "sweeps have another mount of the LiDAR than their scene", once
            ),
            *self._camera.finding(
                "moved cameras", "warning", "images have another mount than others of their scene", once
            ),
            *self._lens.finding(
                "changed intrinsics",
                "warning",
                "images have other intrinsics than others of their scene",
                once,
            ),
            *self._absent.finding(
                "absent LiDARs",
                "warning",
                "sweeps lack a LiDAR that others of their scene have",
                "look for its missing files",
            ),
            *self._far.finding(
                "mounts of further LiDARs",
                "problem",
                f"LiDARs are more than {_MOUNT:g} m from the first one",
                "lidar_SE3_sensor is in metres, from the sensor's file to the first LiDAR",
            ),
        ]


def _differ(one: Float64, other: Float64) -> bool:
    if one is other or np.array_equal(one, other):
        return False
    cosine = (float((one[:3, :3] * other[:3, :3]).sum()) - 1) / 2
    return bool(cosine < _TURNED or np.linalg.norm(one[:3, 3] - other[:3, 3]) > _SHIFTED)


def _other_lens(one: Camera, other: Camera) -> bool:
    if one.size != other.size or one.model != other.model:
        return True
    scale = float(one.intrinsics[0, 0])
    return bool(np.abs(one.intrinsics - other.intrinsics).max() > _SCALED * scale)


class Motion:
    """Looks for poses that repeat while the vehicle drives, and for turns that no vehicle makes."""

    def __init__(self) -> None:
        self._stuck, self._spun = Tally(), Tally()

    def look(self, sweeps: Sequence[Sweep]) -> None:
        poses = np.array([sweep.world_SE3_ego for sweep in sweeps])
        steps = sweep_steps(sweeps)
        self._stuck.of += len(steps)
        self._spun.of += len(steps)
        moved = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
        cosine = (np.einsum("nij,nij->n", poses[1:, :3, :3], poses[:-1, :3, :3]) - 1) / 2
        angle = np.arccos(np.clip(cosine, -1.0, 1.0))
        for n in np.flatnonzero(angle > _RATE * steps + _NOISE):
            turn = f"{np.degrees(angle[n]):.3g} degrees in {steps[n]:.3g} s"
            self._spun.see(f"{turn} before sweep {sweeps[n + 1].token} of scene {sweeps[0].scene}")
        speed = moved / np.maximum(steps, 1e-6)
        equal = (poses[1:] == poses[:-1]).all(axis=(1, 2)) & (steps > 0)
        fast = np.flatnonzero(speed > _FAST)
        for n in np.flatnonzero(equal):
            # Between two quick steps, or right after one: a vehicle that stops slows down before.
            if n and speed[n - 1] > _FAST and (fast > n).any():
                self._stuck.see(f"sweep {sweeps[n + 1].token} of scene {sweeps[0].scene}")

    def findings(self) -> list[Finding]:
        return [
            *self._stuck.finding(
                "repeated poses",
                "warning",
                f"sweeps have the pose of the one before, in the middle of a drive of over {_FAST:g} m/s",
                "give each sweep the pose of its own time; poses at a lower rate are to be interpolated",
            ),
            *self._spun.finding(
                "turns",
                "warning",
                f"steps between sweeps turn by more than {_RATE:g} rad/s",
                "correct the rotations of the poses (quaternions are w x y z)",
            ),
        ]


class Objects:
    """Looks whether boxes are there twice, and whether tracks stay with one object."""

    def __init__(self) -> None:
        self._twice, self._tracks, self._jumps = Tally(), Tally(), Tally()

    def look(self, sweeps: Sequence[Sweep]) -> None:
        before: dict[str, tuple[int, Float64]] = {}
        for sweep in sweeps:
            if sweep.boxes is None:
                continue
            where = f"sweep {sweep.token} of scene {sweep.scene}"
            for boxes_twice in _twice(sweep.boxes):
                self._twice.see(f"{boxes_twice}, {where}")
            self._twice.of += len(sweep.boxes)
            used = Counter(track for track in sweep.boxes.tracks if track)
            again = sorted(track for track, count in used.items() if count > 1)
            self._tracks.look(bool(again), f"{', '.join(again[:3])}, {where}")
            world = _in_world(sweep)
            for track, place in zip(sweep.boxes.tracks, world, strict=True):
                if used[track] != 1:
                    continue
                if track in before:
                    stamp, last = before[track]
                    moved, seconds = float(np.linalg.norm(place - last)), 1e-6 * (sweep.timestamp - stamp)
                    odd = moved > _TRACK * seconds + 1.0
                    self._jumps.look(odd, f"{track} {moved:.4g} m in {seconds:.3g} s, {where}")
                before[track] = (sweep.timestamp, place)

    def findings(self) -> list[Finding]:
        return [
            *self._twice.finding(
                "boxes twice", "warning", "boxes lie on another one of their name", "remove one of each pair"
            ),
            *self._tracks.finding(
                "tracks twice",
                "warning",
                "sweeps have several boxes of one track",
                "give each object a track of its own",
            ),
            *self._jumps.finding(
                "jumps of tracks",
                "warning",
                f"steps of a track are faster than {_TRACK:g} m/s",
                "compare the tracks, and the frames and poses of the boxes",
            ),
        ]


def _twice(boxes: Boxes) -> Iterator[str]:
    order = np.lexsort(boxes.centers.T) if len(boxes) else np.zeros(0, np.int64)
    for a, b in pairwise(order):
        apart = [values[a] - values[b] for values in (boxes.centers, boxes.sizes, boxes.yaws)]
        if boxes.names[a] == boxes.names[b] and all(np.abs(by).max() < _SAME for by in apart):
            yield boxes.names[a]


def _in_world(sweep: Sweep) -> Float64:
    assert sweep.boxes is not None
    pose = sweep.world_SE3_ego @ sweep.ego_SE3_lidar
    return sweep.boxes.centers @ pose[:3, :3].T + pose[:3, 3]
