"""Own folders of points at rest, seen from a vehicle whose way is known at every time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pc3d.data.points import load_sweep
from pc3d.data.records import Sweep
from pc3d.geometry.rigid import invert_SE3, make_SE3, matrix_to_quaternion, transform_points, yaw_matrix

START = 1_700_000_000.0
EGO_SE3_TOP = make_SE3(yaw_matrix(np.pi / 2), [0.9, 0.1, 1.8])
EGO_SE3_REAR = make_SE3(yaw_matrix(-1.0), [-1.0, -0.8, 1.2])
EGO_SE3_CAM = make_SE3(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), [1.5, 0, 1.5])
SPEED, TURN = 8.0, 0.4
Pose = Callable[[float], np.ndarray]


def circle(seconds: float) -> np.ndarray:
    """(4, 4) world_SE3_ego with one speed and one yaw rate."""
    a = TURN * seconds
    along = [SPEED * np.sin(a) / TURN, SPEED * (1 - np.cos(a)) / TURN, 0.0]
    return make_SE3(yaw_matrix(0.7), [1000.0, 2000.0, 3.0]) @ make_SE3(yaw_matrix(a), along)


def speeding(seconds: float) -> np.ndarray:
    """(4, 4) world_SE3_ego along a straight road with 6 m/s^2."""
    return make_SE3(yaw_matrix(0.7), [1000.0, 2000.0, 3.0]) @ make_SE3(np.eye(3), [3.0 * seconds**2, 0, 0])


def lidar_section(ego_SE3_lidar: np.ndarray = EGO_SE3_TOP, **more: Any) -> dict[str, Any]:
    columns = ["x", "y", "z", "intensity"]
    return {
        "columns": columns,
        "units": "m",
        "intensity": 1,
        "ego_SE3_lidar": ego_SE3_lidar[:3].tolist(),
        **more,
    }


TIMED = {"columns": ["x", "y", "z", "intensity", "time"], "time": {"unit": "us", "start": "sweep"}}


@dataclass
class MadeDrive:
    """Writes drives below a root; `truth` has the points of each scan in the world, in their order.

    Args:
        way: of the vehicle, by seconds. moving: points are measured over 0.1 s, else all at once.
    """

    root: Path
    way: Pose = circle
    moving: bool = False
    points: int = 600
    calibration: dict[str, Any] = field(
        default_factory=lambda: {
            "stamps": "us",
            "lidars": {"top": lidar_section()},
            "poses": {"file": "poses.csv", "of": "ego"},
        }
    )
    truth: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)

    def seen(self, time: float, ego_SE3_lidar: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(P, 3) points in the sensor, (P,) their times from `time`, (P, 3) the same in the world."""
        rng = np.random.default_rng(round(1000 * time) + 7)
        angle = np.sort(rng.uniform(0, 2 * np.pi, self.points))
        away = rng.uniform(4, 45, self.points)
        near = np.stack([away * np.cos(angle), away * np.sin(angle), rng.uniform(0, 4, self.points)], axis=1)
        world = transform_points(self.way(time), near)
        late = np.sort(rng.uniform(0, 0.1, self.points)) if self.moving else np.zeros(self.points)
        late = np.rint(late * 1e6) / 1e6
        local = [
            transform_points(invert_SE3(self.way(time + t) @ ego_SE3_lidar), p[None])[0]
            for t, p in zip(late, world, strict=True)
        ]
        return np.array(local), late, world

    def drive(
        self,
        times: Sequence[float] = (0.0, 0.2, 0.4),
        name: str = "d0",
        table: Callable[..., np.ndarray] | None = None,
        lidar: str = "top",
        ego_SE3_lidar: np.ndarray = EGO_SE3_TOP,
        stamp: Callable[[float], Any] = lambda t: round((START + t) * 1e6),
    ) -> None:
        """Write scans; `table(points, seconds, world, time)` gives what is in the file."""
        folder = self.root / name / lidar
        folder.mkdir(parents=True)
        for time in times:
            local, late, world = self.seen(time, ego_SE3_lidar)
            rows = np.column_stack([local, np.linspace(0, 1, len(local))])
            rows = rows.astype("<f4") if table is None else table(local, late, world, time)
            rows.tofile(folder / f"{stamp(time)}.bin")
            if lidar == "top":
                self.truth[name, round((START + time) * 1e6)] = world

    def poses(
        self,
        name: str = "d0",
        times: Sequence[float] = tuple(np.arange(-20, 60) / 20),
        head: str = "time",
        stamp: Callable[[float], Any] = lambda t: round((START + t) * 1e6),
    ) -> None:
        rows = [f"{head},x,y,z,qx,qy,qz,qw"]
        for time in times:
            pose = self.way(time)
            w, *xyz = matrix_to_quaternion(pose[:3, :3]).tolist()
            rows.append(",".join(map(str, [stamp(time), *pose[:3, 3].tolist(), *xyz, w])))
        (self.root / name / "poses.csv").write_text("\n".join(rows) + "\n")

    def describe(self) -> Path:
        """Write the calibration; gives the root."""
        (self.root / "calibration.yaml").write_text(yaml.safe_dump(self.calibration, sort_keys=False))
        return self.root

    def off(self, sweep: Sweep) -> float:
        """Metres by which the points of a sweep's first LiDAR lie elsewhere in the world, at most."""
        world = self.truth[sweep.scene, sweep.timestamp]
        points = load_sweep(sweep)[: len(world), :3].astype(np.float64)
        assert len(points) == len(world)
        found = transform_points(sweep.world_SE3_ego @ sweep.ego_SE3_lidar, points)
        return float(np.linalg.norm(found - world, axis=1).max())


def timed(local: np.ndarray, late: np.ndarray, world: np.ndarray, time: float) -> np.ndarray:
    """x y z intensity time, in microseconds from the scan."""
    return np.column_stack([local, np.zeros(len(local)), late * 1e6]).astype("<f4")
