"""nuScenes and what follows its format: JSON tables read directly, LiDAR sweeps out."""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pc3d.data.classes import load_class_set
from pc3d.data.errors import fail, some
from pc3d.data.readers.columns import PIXELS, take_columns
from pc3d.data.readers.json_tables import Row
from pc3d.data.readers.nuscenes_boxes import AnnotationTable
from pc3d.data.readers.nuscenes_splits import odd_splits, split_of_scenes
from pc3d.data.readers.nuscenes_tables import LYFT_FOLDERS, NuScenesTables, first_folder, versions
from pc3d.data.records import Camera, Float64, Lidar, Sweep
from pc3d.findings import Finding
from pc3d.geometry.camera import shift_pixel_centres
from pc3d.geometry.rigid import invert_SE3, make_SE3, quaternion_to_matrix

DEFAULT_VERSION = "v1.0-trainval"


def detect(root: Path) -> str | None:
    """Why a folder is of this format, None where it is not."""
    # Lyft's tables are the same; its files lie in other folders.
    found = [name for name in versions(root) if first_folder(root / name) not in LYFT_FOLDERS]
    return f"{found[0]}/sample_data.json" if found else None


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the reader, by the names of its arguments."""
    parser.add_argument(
        "--version",
        help=f"version folder (default: the only one; of several {DEFAULT_VERSION}, if it is one of them)",
    )
    parser.add_argument("--lidar", default="LIDAR_TOP", help="channel of the LiDAR (default %(default)s)")


class NuScenesReader:
    """Reads a data set root in nuScenes format; `lyft.py` reads what differs little from it.

    Every LiDAR sweep becomes a `Sweep`; key frames carry their cameras (each with the ego pose of its
    own exposure), boxes in the LiDAR frame and the lidarseg file. Splits come from `splits.json` in
    the version folder, else from the devkit's official lists; a scene in none is in split "none".

    The devkit draws projected points on images whose pixel centres are at integers, so its intrinsics
    are moved by half a pixel.

    Args:
        root: folder with `samples/`, `sweeps/` and the version folder.
        version: name of the version folder, e.g. `v1.0-mini`; None takes the only one, or `v1.0-trainval`.
        lidar: channel of the LiDAR.

    Raises:
        DataError: wrong root or version; a missing or broken table; a token that leads nowhere.
    """

    _dataset = "nuscenes"
    _joins = False
    """Whether the other LiDARs of a sample are joined to the sweep."""

    def __init__(self, root: Path, version: str | None = None, lidar: str = "LIDAR_TOP") -> None:
        self._root = Path(root).resolve()
        self._lidar = lidar
        folder = self._version_folder(version)
        self._tables = NuScenesTables(folder)
        self._follow = self._tables.follow
        self.findings: list[Finding] = []
        self._read_scenes()
        self.findings += odd_splits(folder, self._scene_names.values())
        self._files = self._root
        self._read_sensors()
        self._read_sample_data()
        self._poses = self._read_poses()
        self._annotations = self._read_annotations()
        self.metadata: dict[str, Any] = {
            "dataset": self._dataset,
            "version": folder.relative_to(self._root).as_posix(),
            "root": str(self._root),
            "classes": load_class_set(self._dataset).to_dict(),
            "frames": {"lidar": "x right, y forward, z up", "ego": "x forward, y left, z up"},
            "scene_locations": self._locations,
            "notes": ["boxes are in the LiDAR frame", "intrinsics: pixel centres at integer + 0.5"],
        }

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._sweeps.values())

    def sweeps(self) -> Iterator[Sweep]:
        """The scenes by name, each ascending in time."""
        split_of = self._splits()
        for scene in sorted(self._scene_names, key=self._scene_names.__getitem__):
            name = self._scene_names[scene]
            for row in sorted(self._sweeps.get(scene, ()), key=lambda row: row["timestamp"]):
                yield self._sweep(row, name, split_of.get(name, "none"))

    def _version_folder(self, version: str | None) -> Path:
        found = versions(self._root)
        version = version or (found[0] if len(found) == 1 else DEFAULT_VERSION)
        if not (self._root / version).is_dir():
            fail(
                f"there is no version folder {version!r}",
                self._root,
                f"use --version {' or '.join(found)}"
                if found
                else "name the folder that holds v1.0-*/ and samples/",
            )
        return self._root / version

    def _splits(self) -> dict[str, str]:
        """Split of each scene by name."""
        return split_of_scenes(self._tables.folder, self._scene_names.values())

    def _read_annotations(self) -> AnnotationTable:
        return AnnotationTable.read(self._tables)

    def _read_scenes(self) -> None:
        """Name and location (by which its map is found) of each scene, scene of each sample."""
        self._scene_names = self._tables.column("scene", "name")
        twice = [name for name, count in Counter(self._scene_names.values()).items() if count > 1]
        if twice:
            where = self._tables.path("scene")
            fail(f"there are two scenes of the name {twice[0]!r}", where, "name each scene differently")
        logs = self._tables.column("scene", "log_token")
        places = self._follow(self._tables.column("log", "location"), "log", logs.values(), "scene", logs)
        self._locations = dict(zip(self._scene_names.values(), places, strict=True))
        self._scene_of = self._tables.column("sample", "scene_token")
        self._follow(self._scene_names, "scene", self._scene_of.values(), "sample", self._scene_of)

    def _read_sensors(self) -> None:
        sensors = {row["token"]: (row["channel"], row["modality"]) for row in self._tables.rows("sensor")}
        modality_of = dict(sensors.values())
        if modality_of.get(self._lidar, "lidar") != "lidar":
            lidars = sorted(channel for channel, modality in modality_of.items() if modality == "lidar")
            what = f"{self._lidar} is a {modality_of[self._lidar]}; LiDARs: {', '.join(lidars) or 'none'}"
            fail(what, self._tables.path("sensor"), "name one of them: --lidar")
        self._sensors: dict[str, tuple[str, str, Float64, Float64 | None]] = {}
        for rows, columns in self._tables.read("calibrated_sensor"):
            of = ("calibrated_sensor", columns["token"])
            kinds = self._follow(sensors, "sensor", columns["sensor_token"], *of)
            for row, (channel, modality) in zip(rows, kinds, strict=True):
                K = row["camera_intrinsic"]
                matrix = shift_pixel_centres(np.array(K, dtype=np.float64)) if K else None
                pose = make_SE3(quaternion_to_matrix(row["rotation"]), row["translation"])
                self._sensors[row["token"]] = (channel, modality, pose, matrix)

    def _read_sample_data(self) -> None:
        """Keep LiDAR sweeps by scene and key-frame images by sample: a tenth of the largest table."""
        self._sweeps: dict[str, list[Row]] = defaultdict(list)
        self._cameras: dict[str, list[Row]] = defaultdict(list)
        self._further: dict[str, list[Row]] = defaultdict(list)
        labelled = self._read_lidarseg()
        for rows, columns in self._tables.read("sample_data"):
            of = ("sample_data", columns["token"])
            sensors = self._follow(
                self._sensors, "calibrated_sensor", columns["calibrated_sensor_token"], *of
            )
            scenes = self._follow(self._scene_of, "sample", columns["sample_token"], *of)
            labelled.difference_update(columns["token"])
            for row, scene, time, (channel, modality, *_) in zip(
                rows, scenes, columns["timestamp"].tolist(), sensors, strict=True
            ):
                row["timestamp"] = time
                if channel == self._lidar:
                    self._sweeps[scene].append(row)
                elif modality == "camera" and row["is_key_frame"]:
                    self._cameras[row["sample_token"]].append(row)
                elif modality == "lidar" and self._joins:
                    self._further[row["sample_token"]].append(row)
        self._follow({}, "sample_data", sorted(labelled), "lidarseg", sorted(labelled))
        self._look_at_labelled()
        self._check_images()
        if not self._sweeps:
            channels = {channel for channel, modality, *_ in self._sensors.values() if modality == "lidar"}
            fail(
                f"no sweep of sensor {self._lidar!r}",
                self._tables.folder,
                f"use --lidar with a channel of the sensor table: {', '.join(sorted(channels)) or 'none'}",
            )

    def _read_lidarseg(self) -> set[str]:
        """Files of point labels by sweep; gives the tokens of the sweeps."""
        self._lidarseg: dict[str, str] = {}
        if self._tables.path("lidarseg").is_file():
            for row in self._tables.rows("lidarseg"):
                sweep = row["sample_data_token"]
                if self._lidarseg.setdefault(sweep, row["filename"]) != row["filename"]:
                    where = self._tables.path("lidarseg")
                    fail(f"sweep {sweep!r} has two label files", where, "leave it one of them")
        return set(self._lidarseg)

    def _look_at_labelled(self) -> None:
        """Find labels of what is no key frame of the LiDAR."""
        frames = (row for rows in self._sweeps.values() for row in rows if row["is_key_frame"])
        beside = sorted(self._lidarseg.keys() - {row["token"] for row in frames})
        if beside:
            text = (
                f"{some(beside, len(self._lidarseg))} of table lidarseg are no key frames of {self._lidar}: "
                f"the first has {self._lidarseg[beside[0]]}"
            )
            remedy = "correct sample_data_token there, or index another --lidar"
            self.findings.append(Finding("label files", "warning", text, remedy))

    def _check_images(self) -> None:
        """Refuse key-frame images without a size or a camera matrix, and two of one camera and sample."""
        path = self._tables.path("sample_data")
        for sample, rows in self._cameras.items():
            take_columns(rows, {"width": PIXELS, "height": PIXELS}, path)
            channels: set[str] = set()
            for row in rows:
                channel, _, _, K = self._sensors[row["calibrated_sensor_token"]]
                if K is None:
                    where = (
                        f"{self._tables.path('calibrated_sensor')} (token {row['calibrated_sensor_token']})"
                    )
                    fail(f"camera {channel} has no intrinsics", where, "correct camera_intrinsic there")
                if channel in channels:
                    fail(
                        f"sample {sample!r} has two key-frame images of {channel}",
                        f"{path} (token {row['token']})",
                        "set is_key_frame of one sample_data row for each sample and channel",
                    )
                channels.add(channel)

    def _read_poses(self) -> dict[str, Float64]:
        """Quaternion and translation of the poses that are used."""
        used = [*self._sweeps.values(), *self._cameras.values(), *self._further.values()]
        wanted = {row["ego_pose_token"]: row["token"] for rows in used for row in rows}
        poses = {
            token: pose.copy()
            for _, columns in self._tables.read("ego_pose")
            for token, pose in zip(
                columns["token"], np.hstack([columns["rotation"], columns["translation"]]), strict=True
            )
            if token in wanted
        }
        self._follow(poses, "ego_pose", wanted, "sample_data", wanted.values())
        return poses

    def _ego_pose(self, row: Row) -> Float64:
        values = self._poses[row["ego_pose_token"]]
        return make_SE3(quaternion_to_matrix(values[:4]), values[4:])

    def _sweep(self, row: Row, scene: str, split: str) -> Sweep:
        ego_SE3_lidar = self._sensors[row["calibrated_sensor_token"]][2]
        world_SE3_ego = self._ego_pose(row)
        key = row["is_key_frame"]
        sample = row["sample_token"]
        lidarseg = self._lidarseg.get(row["token"])
        return Sweep(
            token=row["token"],
            scene=scene,
            timestamp=row["timestamp"],
            is_key_frame=key,
            path=self._files / row["filename"],
            lidar_format=self._format(row),
            ego_SE3_lidar=ego_SE3_lidar,
            world_SE3_ego=world_SE3_ego,
            split=split,
            cameras=self._images(sample) if key else (),
            boxes=self._annotations.boxes(sample, invert_SE3(world_SE3_ego @ ego_SE3_lidar)) if key else None,
            lidarseg_path=self._root / lidarseg if lidarseg else None,
            sample_token=sample,
            lidars=self._lidars(row, world_SE3_ego @ ego_SE3_lidar),
        )

    def _format(self, row: Row) -> str:
        return "nuscenes"

    def _lidars(self, row: Row, world_SE3_lidar: Float64) -> tuple[Lidar, ...]:
        """Further LiDARs of a sweep."""
        return ()

    def _images(self, sample: str) -> tuple[Camera, ...]:
        cameras = []
        for row in self._cameras.get(sample, ()):
            channel, _, ego_SE3_cam, K = self._sensors[row["calibrated_sensor_token"]]
            assert K is not None  # of every image that was kept
            cameras.append(
                Camera(
                    name=channel,
                    path=self._files / row["filename"],
                    size=(row["width"], row["height"]),
                    intrinsics=K,
                    ego_SE3_cam=ego_SE3_cam,
                    world_SE3_ego=self._ego_pose(row),
                    timestamp=row["timestamp"],
                )
            )
        return tuple(sorted(cameras, key=lambda camera: camera.name))
