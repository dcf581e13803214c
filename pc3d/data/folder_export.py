"""Writes sweeps of any reader as own folders: an example of the convention, and a way out of containers."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pc3d.data.classes import ClassSet
from pc3d.data.errors import fail
from pc3d.data.labels.load import PLAIN, drops, load_raw_labels
from pc3d.data.points.load import available, load_sweep
from pc3d.data.records import Boxes, Camera, Float64, Sweep
from pc3d.geometry.camera import shift_pixel_centres
from pc3d.geometry.rigid import matrix_to_quaternion
from pc3d.storage.whole import write_bytes

LIDAR = "lidar"
_POSE_COLUMNS = ("time", "x", "y", "z", "qx", "qy", "qz", "qw")
_BOX_COLUMNS = ("x", "y", "z", "length", "width", "height", "yaw", "category", "track", "vx", "vy", "points")


@dataclass
class FolderExport:
    """An own folder that is being written, sweep by sweep.

    Several LiDARs of a sweep are joined; label files, images and their times stay as they are.

    Args:
        folder: new, or empty.
        classes: of the data set.

    Raises:
        DataError: there is something in `folder`.
    """

    folder: Path
    classes: ClassSet | None = None
    _poses: dict[str, dict[int, Float64]] = field(default_factory=dict)
    _rig: dict[str, Any] = field(default_factory=dict)
    _scenes: dict[str, str] = field(default_factory=dict)
    _labels: str = ""
    _boxes: bool = False
    _apart: int = 50_000

    def __post_init__(self) -> None:
        if self.folder.exists() and any(self.folder.iterdir()):
            fail("the folder is not empty", self.folder, "name a new one")

    def add(self, sweep: Sweep) -> None:
        """Write one sweep.

        Raises:
            DataError: a file of it cannot be read; its rig is another than that of the sweeps before.
        """
        scene = self.folder / sweep.scene.replace("/", "_")
        self._scenes[scene.name] = sweep.split
        columns = [name for name in available(sweep) if name not in ("x", "y", "z", "intensity")]
        (scene / LIDAR).mkdir(parents=True, exist_ok=True)
        load_sweep(sweep, columns).astype("<f4").tofile(scene / LIDAR / f"{sweep.timestamp}.bin")
        self._same("lidars", LIDAR, _lidar_section(sweep, columns), sweep)
        self._poses.setdefault(scene.name, {})[sweep.timestamp] = sweep.world_SE3_ego
        for camera in sweep.cameras:
            self._same("cameras", camera.name, _camera_section(camera), sweep)
            self._poses[scene.name][camera.timestamp] = camera.world_SE3_ego
            self._apart = max(self._apart, abs(camera.timestamp - sweep.timestamp))
            _copy_image(camera, scene / camera.name)
        if sweep.lidarseg_path is not None and not sweep.lidars:
            self._add_labels(sweep, scene / "labels")
        if sweep.boxes is not None:
            self._boxes = True
            _write_boxes(sweep.boxes, scene / "boxes" / f"{sweep.timestamp}.csv")

    def _add_labels(self, sweep: Sweep, folder: Path) -> None:
        """The label file as it is where it has a plain number for each point, else its ids."""
        path = sweep.lidarseg_path
        assert path is not None
        if (sweep.lidarseg_format in PLAIN or path.suffix == ".npy") and not drops(sweep.lidar_format):
            self._labels = sweep.lidarseg_format
            _copy(path, folder / f"{sweep.timestamp}{'.npy' if path.suffix == '.npy' else '.bin'}")
            return
        self._labels = "int32"
        folder.mkdir(parents=True, exist_ok=True)
        ids = load_raw_labels(sweep, len(load_sweep(sweep)))
        ids.astype("<i4").tofile(folder / f"{sweep.timestamp}.bin")

    def _same(self, what: str, name: str, section: dict[str, Any], sweep: Sweep) -> None:
        sections = self._rig.setdefault(what, {})
        if sections.setdefault(name, section) != section:
            fail(
                f"{name} has another calibration than before",
                f"sweep {sweep.token}",
                "write scenes of one rig: a folder has one calibration file",
            )

    def finish(self, splits: bool = False) -> Path:
        """Write poses, calibration and classes; `splits` those too. Gives the folder."""
        for scene, poses in self._poses.items():
            _write_poses(poses, self.folder / scene / "poses.csv")
        facts = {
            "stamps": "us",
            **self._rig,
            "poses": {"file": "poses.csv", "of": "ego"},
            **({"labels": {"folder": "labels", "format": self._labels}} if self._labels else {}),
            **({"boxes": {"folder": "boxes", "frame": "lidar"}} if self._boxes else {}),
            # Microseconds, rounded up to whole milliseconds.
            **({"sync": -(-self._apart // 1000) / 1000} if self._rig.get("cameras") else {}),
        }
        _write(self.folder / "calibration.yaml", HEADER + _yaml(facts))
        if self.classes is not None:
            _write(self.folder / "classes.yaml", _yaml(self.classes.to_dict()))
        if splits:
            by_split: dict[str, list[str]] = {}
            for scene, split in self._scenes.items():
                by_split.setdefault(split, []).append(scene)
            _write(self.folder / "splits.json", json.dumps(by_split, indent=1) + "\n")
        return self.folder


HEADER = """\
# Calibration of the sensors, one file for all scenes. Transforms dst_SE3_src map points in src to points in
# dst, in metres; the ego frame has x forward, y left, z up, and its origin on the road. Cameras have x right,
# y down, z forward. intrinsics: [fx, fy, cx, cy] or 3x3; model: brown (k1 k2 p1 p2 k3), rational (8), fisheye
# (k1..k4), mei (xi k1 k2 p1 p2); pixel_centre: where the centre of the first pixel is, 0 (OpenCV) or 0.5.
# units: m, cm or mm. intensity: what stands for full. time: unit s, ms, us or ns; start: sweep, or '1970'.
# sync: seconds that an image may be from its scan.
"""


def export_folder(
    sweeps: Iterable[Sweep], folder: Path, classes: ClassSet | None = None, splits: bool = False
) -> Path:
    """Write sweeps as own folders; see `FolderExport`."""
    export = FolderExport(folder, classes)
    for sweep in sweeps:
        export.add(sweep)
    return export.finish(splits)


def _write(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def _yaml(facts: Any) -> str:
    class Dumper(yaml.SafeDumper):
        """Lists in one line."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    Dumper.add_representer(
        list, lambda d, v: d.represent_sequence("tag:yaml.org,2002:seq", v, flow_style=True)
    )
    return yaml.dump(facts, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=1000)


def _lidar_section(sweep: Sweep, columns: list[str]) -> dict[str, Any]:
    return {
        "columns": ["x", "y", "z", "intensity", *columns],
        "units": "m",
        "intensity": 1,
        **({"time": {"unit": "s", "start": "sweep"}} if "time" in columns else {}),
        "ego_SE3_lidar": _rows(sweep.ego_SE3_lidar),
    }


def _camera_section(camera: Camera) -> dict[str, Any]:
    K = shift_pixel_centres(camera.intrinsics, -0.5)
    return {
        "size": list(camera.size),
        "intrinsics": [float(f"{value:.12g}") for value in K.reshape(-1)],
        "pixel_centre": 0,
        "model": camera.model,
        "distortion": list(map(float, camera.distortion)),
        "ego_SE3_cam": _rows(camera.ego_SE3_cam),
    }


def _rows(pose: Float64) -> list[list[float]]:
    return [[float(f"{value:.12g}") for value in row] for row in pose]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copyfile(source, target)


def _copy_image(camera: Camera, folder: Path) -> None:
    if camera.key:
        from pc3d.data.containers import open_bytes

        content = open_bytes(camera.path, camera.key)
        end = ".png" if content.startswith(b"\x89PNG") else ".jpg"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{camera.timestamp}{end}").write_bytes(content)
        return
    _copy(camera.path, folder / f"{camera.timestamp}{camera.path.suffix.lower()}")


def _write_poses(poses: dict[int, Float64], path: Path) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(_POSE_COLUMNS)
        for time, pose in sorted(poses.items()):
            w, *xyz = matrix_to_quaternion(pose[:3, :3]).tolist()
            table.writerow([time, *(f"{value:.15g}" for value in (*pose[:3, 3], *xyz, w))])


def _write_boxes(boxes: Boxes, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(_BOX_COLUMNS)
        for n in range(len(boxes)):
            numbers = [*boxes.centers[n], *boxes.sizes[n], boxes.yaws[n]]
            named = [boxes.names[n], boxes.tracks[n], *boxes.velocities[n], boxes.num_lidar_pts[n]]
            table.writerow([*(f"{value:.12g}" for value in numbers), *named])
