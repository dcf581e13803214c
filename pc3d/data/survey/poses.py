"""Poses of the vehicle and mounts of its sensors: what no drive has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pc3d.data.records import Float64, Sweep
from pc3d.data.survey.tally import Tally
from pc3d.data.survey.times import LONGEST, SHORTEST, median_step, sweep_steps
from pc3d.findings import Finding

NO_POSES = "poses are the identity"
"""How a note in the metadata of a reader begins whose drives have no poses."""

_SPEED, _NOISE = 100.0, 1.0  # m/s; metres that a pose may be off without being a jump
_UPRIGHT = 0.5  # z of the ego's z axis in the world: a slope of 60 degrees
_MOUNT = 20.0  # metres


class Poses:
    """Looks at the poses of one scene after the other.

    Args:
        stated: the data set has poses of its own.
    """

    def __init__(self, stated: bool) -> None:
        self._stated = stated
        self._jumps, self._tilted, self._apart = Tally(), Tally(), Tally()
        self._lidar, self._cameras = Tally(), Tally()
        self._identity = 0

    def look(self, sweeps: Sequence[Sweep]) -> None:
        poses = np.array([sweep.world_SE3_ego for sweep in sweeps])
        self._identity += int((poses == np.eye(4)).all(axis=(1, 2)).sum())
        self._look_at_jumps(sweeps, poses[:, :3, 3])
        for sweep, upright in zip(sweeps, poses[:, 2, 2], strict=True):
            self._tilted.look(upright < _UPRIGHT, f"sweep {sweep.token} of scene {sweep.scene}")
            mount = _length(sweep.ego_SE3_lidar[:3, 3])
            self._lidar.look(mount > _MOUNT, f"{mount:.4g} m, sweep {sweep.token}")
            for camera in sweep.cameras:
                mount = _length(camera.ego_SE3_cam[:3, 3])
                self._cameras.look(mount > _MOUNT, f"{mount:.4g} m, {camera.name} of sweep {sweep.token}")
                moved = _length(camera.world_SE3_ego[:3, 3] - sweep.world_SE3_ego[:3, 3])
                seconds = 1e-6 * abs(camera.timestamp - sweep.timestamp)
                odd = moved > _SPEED * seconds + _NOISE
                self._apart.look(odd, f"{moved:.4g} m, {camera.name} of sweep {sweep.token}")

    def _look_at_jumps(self, sweeps: Sequence[Sweep], positions: Float64) -> None:
        steps = sweep_steps(sweeps)
        median = median_step(steps)
        if median is not None and not SHORTEST <= median <= LONGEST:
            return  # of these times no speed follows
        moved = np.linalg.norm(np.diff(positions, axis=0), axis=1)
        self._jumps.of += len(steps)
        for number in np.flatnonzero(moved > _SPEED * steps + _NOISE):
            place = f"before sweep {sweeps[number + 1].token} of scene {sweeps[0].scene}"
            self._jumps.see(f"{moved[number]:.4g} m in {steps[number]:.3g} s {place}")

    def findings(self) -> list[Finding]:
        return [
            *self._no_poses(),
            *self._jumps.finding(
                "jumps",
                "warning",
                f"steps between sweeps are faster than {_SPEED:g} m/s",
                "correct the poses (metres, world_SE3_ego), or make two scenes of it",
            ),
            *self._tilted.finding(
                "ego axes",
                "problem",
                "poses have a vehicle on its side or roof (z axis of the ego in the world below 0.5)",
                "poses are world_SE3_ego with z up; quaternions are w x y z",
            ),
            *self._apart.finding(
                "poses of images",
                "warning",
                f"images have a pose that is faster than {_SPEED:g} m/s from that of their sweep",
                "give an image the pose of the vehicle at its own time, in the same world",
            ),
            *self._lidar.finding(
                "mount of the LiDAR",
                "problem",
                f"sweeps have a LiDAR more than {_MOUNT:g} m from the ego's origin",
                "ego_SE3_lidar is in metres, from LiDAR to ego",
            ),
            *self._cameras.finding(
                "mounts of cameras",
                "problem",
                f"images have a camera more than {_MOUNT:g} m from the ego's origin",
                "ego_SE3_cam is in metres, from camera to ego",
            ),
        ]

    def _no_poses(self) -> list[Finding]:
        """All identity is no drive; a vehicle that stands has one pose, but another."""
        if self._tilted.of < 2 or self._identity < self._tilted.of:
            return []
        text = "every pose is the identity: objectives that compare two times mean nothing"
        if self._stated:
            return [Finding("poses", "warning", text, "give the poses of the drive")]
        return [Finding("poses", "ok", text, "estimate those of drives: --poses kiss-icp")]


def _length(vector: Float64) -> float:
    return float(np.sqrt(vector @ vector))
