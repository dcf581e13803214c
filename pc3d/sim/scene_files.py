"""One simulated scene as nuScenes files: its sensor data on disk and its rows of the tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pc3d.geometry.camera import shift_pixel_centres
from pc3d.geometry.rigid import matrix_to_quaternion
from pc3d.sim.annotations import KeyFrame, annotate
from pc3d.sim.cameras import shoot
from pc3d.sim.lidar import scan
from pc3d.sim.sizes import SimSize
from pc3d.sim.tables import LIDAR, Row, Tables, link, sensor_token, token
from pc3d.sim.towns import ScenePlan
from pc3d.sim.types import Float, MapLayers, SimScene
from pc3d.sim.world import build_scene

JPEG_QUALITY = 92
SEMANTICS = "semantics"
"""Folder of one PNG per image: the lidarseg category of each pixel, 255 for the sky."""


@dataclass(frozen=True, eq=False)
class SceneRows:
    """What a worker hands back: the scene's rows by table, and its map."""

    tables: Tables
    layers: MapLayers


def write_scene(root: Path, version: str, plan: ScenePlan, size: SimSize) -> SceneRows:
    """Simulates one scene and writes its LiDAR, camera and label files below `root`."""
    scene = build_scene(plan.name, plan.seed, size, origin=plan.origin)
    return _SceneFiles(root, version, plan, scene).write()


class _SceneFiles:
    """Writes the files of one scene and collects their rows."""

    def __init__(self, root: Path, version: str, plan: ScenePlan, scene: SimScene) -> None:
        self.root, self.version, self.plan, self.scene = root, version, plan, scene
        self.namespace = plan.namespace
        self.samples = [self._token("sample", i) for i in range(len(scene.key_times))]
        self.tables: Tables = {name: [] for name in ("ego_pose", "sample_data", "lidarseg")}
        self.tables["calibrated_sensor"] = self._calibrations()

    def write(self) -> SceneRows:
        scene, samples = self.scene, self.samples
        self.tables["instance"], self.tables["sample_annotation"] = annotate(
            self._write_key_frames(), scene.tracks, scene.rig, self.namespace
        )
        for time in scene.sweep_times.tolist():
            self._write_lidar(time, scan(scene, time).points, is_key_frame=False)
        self._link_channels()
        rows: list[Row] = [
            {"token": sample, "timestamp": self._timestamp(time), "scene_token": self._token("scene")}
            for sample, time in zip(samples, scene.key_times.tolist(), strict=True)
        ]
        link(rows)
        self.tables["sample"] = rows
        self.tables["scene"] = [
            {
                "token": self._token("scene"),
                "log_token": self.plan.log_token,
                "nbr_samples": len(samples),
                "first_sample_token": samples[0],
                "last_sample_token": samples[-1],
                "name": scene.name,
                "description": scene.description,
            }
        ]
        return SceneRows(self.tables, scene.layers)

    def _write_key_frames(self) -> Iterator[KeyFrame]:
        """Writes the key frames one by one: the images of a whole scene would fill the memory."""
        for sample, time in zip(self.samples, self.scene.key_times.tolist(), strict=True):
            sweep = scan(self.scene, time)
            self._write_labels(self._write_lidar(time, sweep.points, is_key_frame=True), sweep.labels)
            shots = {channel: shoot(self.scene, time, channel) for channel in self.scene.rig.cameras}
            for channel, shot in shots.items():
                self._write_image(channel, time, shot.rgb, shot.labels)
            yield KeyFrame(sample, time, self.scene.ego_pose(time), sweep.points, shots)

    def _write_lidar(self, time: float, points: NDArray[np.float32], is_key_frame: bool) -> str:
        row = self._sample_data(LIDAR, time, is_key_frame, "pcd.bin")
        points.astype("<f4").tofile(self.root / row["filename"])
        return row["token"]

    def _write_labels(self, sample_data: str, labels: NDArray[np.uint8]) -> None:
        filename = f"lidarseg/{self.version}/{sample_data}_lidarseg.bin"
        labels.astype(np.uint8).tofile(self.root / filename)
        # LidarSegEval looks labels up by the token of their sample_data.
        self.tables["lidarseg"].append(
            {"token": sample_data, "sample_data_token": sample_data, "filename": filename}
        )

    def _write_image(
        self, channel: str, time: float, rgb: NDArray[np.uint8], labels: NDArray[np.uint8]
    ) -> None:
        row = self._sample_data(channel, time, True, "jpg", image_size=(rgb.shape[1], rgb.shape[0]))
        path = self.root / row["filename"]
        Image.fromarray(rgb).save(path, quality=JPEG_QUALITY)
        # The truth of every pixel, which no table names: for experiments that say so.
        Image.fromarray(labels).save(self.root / SEMANTICS / channel / f"{path.stem}.png")

    def _sample_data(
        self, channel: str, time: float, is_key_frame: bool, suffix: str, image_size: tuple[int, int] = (0, 0)
    ) -> Row:
        """Adds a row of `sample_data` and its ego pose, which carry the same token as in nuScenes."""
        timestamp = self._timestamp(time)
        name = self._token(channel, timestamp)
        folder = "samples" if is_key_frame else "sweeps"
        pose = self.scene.ego_pose(time)
        self.tables["ego_pose"].append({"token": name, "timestamp": timestamp, **_placement(pose)})
        row: Row = {
            "token": name,
            "sample_token": self.samples[self._next_sample(time)],
            "ego_pose_token": name,
            "calibrated_sensor_token": self._token("calibrated_sensor", channel),
            "timestamp": timestamp,
            "fileformat": suffix.split(".")[0],
            "is_key_frame": is_key_frame,
            "height": image_size[1],
            "width": image_size[0],
            "filename": f"{folder}/{channel}/{self.plan.logfile}__{channel}__{timestamp}.{suffix}",
        }
        self.tables["sample_data"].append(row)
        return row

    def _next_sample(self, time: float) -> int:
        """Number of the sample that follows `time` closest, as nuScenes assigns sweeps; else the last."""
        following = np.searchsorted(self.scene.key_times, time - 1e-6)
        return min(int(following), len(self.samples) - 1)

    def _link_channels(self) -> None:
        rows = self.tables["sample_data"]
        rows.sort(key=lambda row: row["timestamp"])
        for channel in {row["calibrated_sensor_token"] for row in rows}:
            link([row for row in rows if row["calibrated_sensor_token"] == channel])

    def _calibrations(self) -> list[Row]:
        rig = self.scene.rig
        sensors: dict[str, tuple[Float, list]] = {LIDAR: (rig.ego_SE3_lidar, [])}
        # The devkit puts pixel centres at integers.
        sensors |= {
            channel: (pose, shift_pixel_centres(K, -0.5).tolist())
            for channel, (pose, K) in rig.cameras.items()
        }
        return [
            {
                "token": self._token("calibrated_sensor", channel),
                "sensor_token": sensor_token(channel),
                **_placement(pose),
                "camera_intrinsic": intrinsics,
            }
            for channel, (pose, intrinsics) in sensors.items()
        ]

    def _token(self, *names: object) -> str:
        return token(self.namespace, *names)

    def _timestamp(self, time: float) -> int:
        return self.plan.start + round(time * 1e6)


def _placement(dst_SE3_src: Float) -> Row:
    return {
        "translation": dst_SE3_src[:3, 3].tolist(),
        "rotation": matrix_to_quaternion(dst_SE3_src[:3, :3]).tolist(),
    }
