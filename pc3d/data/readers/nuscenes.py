"""nuScenes and what follows its format: JSON tables read directly, LiDAR sweeps out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pc3d.data.errors import DataError, fail
from pc3d.data.label_maps import NUSCENES_LIDARSEG_CLASSES
from pc3d.data.readers.json_tables import stream_rows
from pc3d.data.readers.nuscenes_boxes import AnnotationTable
from pc3d.data.readers.nuscenes_splits import listed_splits
from pc3d.data.records import Camera, Float64, Sweep
from pc3d.geometry.camera import shift_pixel_centres
from pc3d.geometry.rigid import invert_SE3, make_SE3, quaternion_to_matrix

OFFICIAL_SPLITS: dict[str, tuple[str, ...]] = {
    "v1.0-trainval": ("train", "val"),
    "v1.0-test": ("test",),
    "v1.0-mini": ("mini_train", "mini_val"),
}
"""The devkit's splits that partition each official version."""


class NuScenesReader:
    """Reads a data set root in nuScenes format.

    Every LiDAR sweep becomes a `Sweep`; key frames carry their cameras (each with the ego pose of its
    own exposure), boxes in the LiDAR frame and the lidarseg file. Splits come from `splits.json` in
    the version folder, else from the devkit's official lists; a scene in none is in split "none".

    The devkit draws projected points on images whose pixel centres are at integers, so its intrinsics
    are moved by half a pixel.

    Args:
        root: folder with `samples/`, `sweeps/` and the version folder.
        version: name of the version folder, e.g. `v1.0-mini`.
        lidar: channel of the LiDAR.

    Raises:
        DataError: wrong root or version; a missing or broken table; a token that leads nowhere.
    """

    def __init__(self, root: Path, version: str = "v1.0-trainval", lidar: str = "LIDAR_TOP") -> None:
        self._root = Path(root).resolve()
        self._tables = self._root / version
        self._lidar = lidar
        if not self._tables.is_dir():
            found = sorted(folder.parent.name for folder in self._root.glob("*/sample_data.json"))
            fail(
                f"there is no version folder {version!r}",
                self._root,
                f"use --version {' or '.join(found)}"
                if found
                else "name the folder that holds v1.0-*/ and samples/",
            )
        self._read_small_tables()
        self._read_sample_data()
        self._poses = self._read_poses()
        self._annotations = AnnotationTable.read(self._tables)
        self.metadata: dict[str, Any] = {
            "dataset": "nuscenes",
            "version": version,
            "root": str(self._root),
            "class_names": list(NUSCENES_LIDARSEG_CLASSES),
            "label_map": "nuscenes_lidarseg",
            "frames": {"lidar": "x right, y forward, z up", "ego": "x forward, y left, z up"},
            "scene_locations": self._scene_locations(),
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

    def _table(self, name: str) -> Iterator[dict[str, Any]]:
        return stream_rows(self._tables / f"{name}.json")

    def _read_small_tables(self) -> None:
        self._scene_names = {row["token"]: row["name"] for row in self._table("scene")}
        self._scene_of = {row["token"]: row["scene_token"] for row in self._table("sample")}
        sensors = {row["token"]: (row["channel"], row["modality"]) for row in self._table("sensor")}
        self._sensors: dict[str, tuple[str, str, Float64, Float64 | None]] = {}
        for row in self._table("calibrated_sensor"):
            channel, modality = self._get(sensors, row["sensor_token"], "sensor", row["token"])
            K = row["camera_intrinsic"]
            matrix = shift_pixel_centres(np.array(K, dtype=np.float64)) if K else None
            self._sensors[row["token"]] = (channel, modality, self._pose(row), matrix)
        self._lidarseg: dict[str, str] = {}
        if (self._tables / "lidarseg.json").is_file():
            self._lidarseg = {row["sample_data_token"]: row["filename"] for row in self._table("lidarseg")}

    def _scene_locations(self) -> dict[str, str]:
        """Location of each scene name, by which its map is found."""
        locations = {row["token"]: row["location"] for row in self._table("log")}
        return {
            row["name"]: self._get(locations, row["log_token"], "log", row["token"])
            for row in self._table("scene")
        }

    def _read_sample_data(self) -> None:
        """Keep LiDAR sweeps by scene and key-frame images by sample: a tenth of the largest table."""
        self._sweeps: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._cameras: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in self._table("sample_data"):
            channel, modality, *_ = self._get(
                self._sensors, row["calibrated_sensor_token"], "calibrated_sensor", row["token"]
            )
            if channel == self._lidar:
                scene = self._get(self._scene_of, row["sample_token"], "sample", row["token"])
                self._get(self._scene_names, scene, "scene", row["sample_token"])
                self._sweeps[scene].append(row)
            elif modality == "camera" and row["is_key_frame"]:
                self._cameras[row["sample_token"]].append(row)
        if not self._sweeps:
            channels = {channel for channel, modality, *_ in self._sensors.values() if modality == "lidar"}
            fail(
                f"no sweep of sensor {self._lidar!r}",
                self._tables,
                f"use --lidar with a channel of the sensor table: {', '.join(sorted(channels)) or 'none'}",
            )

    def _read_poses(self) -> dict[str, Float64]:
        wanted = {row["ego_pose_token"] for rows in self._sweeps.values() for row in rows}
        wanted |= {row["ego_pose_token"] for rows in self._cameras.values() for row in rows}
        return {
            row["token"]: np.array(row["rotation"] + row["translation"], dtype=np.float64)
            for row in self._table("ego_pose")
            if row["token"] in wanted
        }

    def _splits(self) -> dict[str, str]:
        """Split of each scene name."""
        lists = listed_splits(self._tables)
        if lists is None:
            lists = _official_splits(self._tables.name)
        # The first list that names a scene wins.
        return {scene: split for split in reversed(lists) for scene in lists[split]}

    def _get(self, table: dict[str, Any], token: str, name: str, of: str) -> Any:
        try:
            return table[token]
        except KeyError:
            fail(
                f"token {token!r} is not in table {name}",
                f"{self._tables} (row {of})",
                "extract the metadata archives of one version into one folder",
            )

    def _pose(self, row: dict[str, Any]) -> Float64:
        try:
            return make_SE3(quaternion_to_matrix(row["rotation"]), row["translation"])
        except ValueError as error:
            raise DataError(
                f"pose is broken: {error}\n  where: {self._tables} (row {row['token']})\n  remedy: extract "
                "the metadata archive again"
            ) from error

    def _ego_pose(self, row: dict[str, Any]) -> Float64:
        values = self._get(self._poses, row["ego_pose_token"], "ego_pose", row["token"])
        return self._pose({"rotation": values[:4], "translation": values[4:], "token": row["ego_pose_token"]})

    def _sweep(self, row: dict[str, Any], scene: str, split: str) -> Sweep:
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
            path=self._root / row["filename"],
            lidar_format="nuscenes",
            ego_SE3_lidar=ego_SE3_lidar,
            world_SE3_ego=world_SE3_ego,
            split=split,
            cameras=self._images(sample) if key else (),
            boxes=self._annotations.boxes(sample, invert_SE3(world_SE3_ego @ ego_SE3_lidar)) if key else None,
            lidarseg_path=self._root / lidarseg if lidarseg else None,
            sample_token=sample,
        )

    def _images(self, sample: str) -> tuple[Camera, ...]:
        cameras = []
        for row in self._cameras.get(sample, ()):
            channel, _, ego_SE3_cam, K = self._sensors[row["calibrated_sensor_token"]]
            if K is None:
                fail(f"camera {channel} has no intrinsics", self._tables, "correct table calibrated_sensor")
            cameras.append(
                Camera(
                    name=channel,
                    path=self._root / row["filename"],
                    size=(row["width"], row["height"]),
                    intrinsics=K,
                    ego_SE3_cam=ego_SE3_cam,
                    world_SE3_ego=self._ego_pose(row),
                    timestamp=row["timestamp"],
                )
            )
        return tuple(sorted(cameras, key=lambda camera: camera.name))


def _official_splits(version: str) -> dict[str, list[str]]:
    if version not in OFFICIAL_SPLITS:
        return {}
    try:
        from nuscenes.utils.splits import create_splits_scenes
    except ImportError as error:
        raise ImportError(
            "official nuScenes splits need nuscenes-devkit: pip install nuscenes-devkit"
        ) from error
    scenes = create_splits_scenes()
    return {split: scenes[split] for split in OFFICIAL_SPLITS[version]}
