"""The Parquet row of a sweep and back; paths are stored relative to the data set root."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pc3d.data.records import Boxes, Camera, Float64, Lidar, Sweep

SCHEMA_VERSION = 2
"""Raise it whenever a stored column changes: an older index is then refused with its rebuild command."""

_POSE = pa.list_(pa.float64(), 12)  # the upper three rows of a 4x4 transform

_OPTIONAL = pa.list_(pa.float64())  # Parquet reads no null of a list of fixed length

_CAMERA = pa.struct(
    [
        ("name", pa.string()),
        ("path", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("intrinsics", pa.list_(pa.float64(), 9)),
        ("distortion", pa.list_(pa.float64())),
        ("ego_SE3_cam", _POSE),
        ("world_SE3_ego", _POSE),
        ("timestamp", pa.int64()),
        ("model", pa.string()),
        ("key", pa.string()),
    ]
)
_LIDAR = pa.struct(
    [
        ("name", pa.string()),
        ("path", pa.string()),
        ("key", pa.string()),
        ("lidar_format", pa.string()),
        ("lidar_SE3_sensor", _POSE),
        ("time_offset", pa.float64()),
    ]
)
_BOX = pa.struct(
    [
        ("center", pa.list_(pa.float64(), 3)),
        ("size", pa.list_(pa.float64(), 3)),
        ("yaw", pa.float64()),
        ("velocity", pa.list_(pa.float64(), 2)),
        ("name", pa.string()),
        ("track", pa.string()),
        ("num_lidar_pts", pa.int64()),
        ("attribute", pa.string()),
    ]
)
SCHEMA = pa.schema(
    [
        ("token", pa.string()),
        ("sample_token", pa.string()),
        ("scene", pa.string()),
        ("split", pa.string()),
        ("timestamp", pa.int64()),
        ("is_key_frame", pa.bool_()),
        ("path", pa.string()),
        ("key", pa.string()),
        ("lidar_format", pa.string()),
        ("lidar_SE3_points", _OPTIONAL),
        ("lidars", pa.list_(_LIDAR)),
        ("motion", _OPTIONAL),
        ("lidarseg_path", pa.string()),
        ("lidarseg_key", pa.string()),
        ("lidarseg_format", pa.string()),
        ("ego_SE3_lidar", _POSE),
        ("world_SE3_ego", _POSE),
        ("cameras", pa.list_(_CAMERA)),
        ("boxes", pa.list_(_BOX)),
    ]
)


def _pose_out(pose: Float64) -> list[float]:
    return pose[:3].reshape(-1).tolist()


def _pose_in(values: list[float]) -> Float64:
    pose = np.eye(4)
    pose[:3] = np.reshape(values, (3, 4))
    return pose


def _relative(path: Path, root: Path) -> str:
    """`path` below `root` with forward slashes; a path elsewhere stays absolute."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def sweep_to_row(sweep: Sweep, root: Path) -> dict[str, Any]:
    """The row of a sweep, by column of `SCHEMA`."""
    return {
        "token": sweep.token,
        "sample_token": sweep.sample_token,
        "scene": sweep.scene,
        "split": sweep.split,
        "timestamp": sweep.timestamp,
        "is_key_frame": sweep.is_key_frame,
        "path": _relative(sweep.path, root),
        "key": sweep.key,
        "lidar_format": sweep.lidar_format,
        "lidar_SE3_points": None if sweep.lidar_SE3_points is None else _pose_out(sweep.lidar_SE3_points),
        "lidars": [_lidar_to_row(lidar, root) for lidar in sweep.lidars],
        "motion": None if sweep.motion is None else sweep.motion.tolist(),
        "lidarseg_key": sweep.lidarseg_key,
        "lidarseg_format": sweep.lidarseg_format,
        "lidarseg_path": _relative(sweep.lidarseg_path, root) if sweep.lidarseg_path else None,
        "ego_SE3_lidar": _pose_out(sweep.ego_SE3_lidar),
        "world_SE3_ego": _pose_out(sweep.world_SE3_ego),
        "cameras": [_camera_to_row(camera, root) for camera in sweep.cameras],
        "boxes": None if sweep.boxes is None else _boxes_to_rows(sweep.boxes),
    }


def _lidar_to_row(lidar: Lidar, root: Path) -> dict[str, Any]:
    return {
        "name": lidar.name,
        "path": _relative(lidar.path, root),
        "key": lidar.key,
        "lidar_format": lidar.lidar_format,
        "lidar_SE3_sensor": _pose_out(lidar.lidar_SE3_sensor),
        "time_offset": lidar.time_offset,
    }


def _camera_to_row(camera: Camera, root: Path) -> dict[str, Any]:
    return {
        "name": camera.name,
        "path": _relative(camera.path, root),
        "width": camera.size[0],
        "height": camera.size[1],
        "intrinsics": camera.intrinsics.reshape(-1).tolist(),
        "distortion": list(camera.distortion),
        "ego_SE3_cam": _pose_out(camera.ego_SE3_cam),
        "world_SE3_ego": _pose_out(camera.world_SE3_ego),
        "timestamp": camera.timestamp,
        "model": camera.model,
        "key": camera.key,
    }


def _boxes_to_rows(boxes: Boxes) -> list[dict[str, Any]]:
    return [
        {
            "center": boxes.centers[n].tolist(),
            "size": boxes.sizes[n].tolist(),
            "yaw": float(boxes.yaws[n]),
            "velocity": boxes.velocities[n].tolist(),
            "name": boxes.names[n],
            "track": boxes.tracks[n],
            "num_lidar_pts": int(boxes.num_lidar_pts[n]),
            "attribute": boxes.attributes[n],
        }
        for n in range(len(boxes))
    ]


def row_to_sweep(row: dict[str, Any], root: Path) -> Sweep:
    """The sweep of a row; the inverse of `sweep_to_row`."""
    return Sweep(
        token=row["token"],
        sample_token=row["sample_token"],
        scene=row["scene"],
        split=row["split"],
        timestamp=row["timestamp"],
        is_key_frame=row["is_key_frame"],
        path=root / row["path"],
        key=row["key"],
        lidar_format=row["lidar_format"],
        lidar_SE3_points=None if row["lidar_SE3_points"] is None else _pose_in(row["lidar_SE3_points"]),
        lidars=tuple(_row_to_lidar(lidar, root) for lidar in row["lidars"]),
        motion=None if row["motion"] is None else np.array(row["motion"], dtype=np.float64),
        lidarseg_path=root / row["lidarseg_path"] if row["lidarseg_path"] else None,
        lidarseg_key=row["lidarseg_key"],
        lidarseg_format=row["lidarseg_format"],
        ego_SE3_lidar=_pose_in(row["ego_SE3_lidar"]),
        world_SE3_ego=_pose_in(row["world_SE3_ego"]),
        cameras=tuple(_row_to_camera(camera, root) for camera in row["cameras"]),
        boxes=None if row["boxes"] is None else _rows_to_boxes(row["boxes"]),
    )


def _row_to_lidar(row: dict[str, Any], root: Path) -> Lidar:
    return Lidar(
        name=row["name"],
        path=root / row["path"],
        key=row["key"],
        lidar_format=row["lidar_format"],
        lidar_SE3_sensor=_pose_in(row["lidar_SE3_sensor"]),
        time_offset=row["time_offset"],
    )


def _row_to_camera(row: dict[str, Any], root: Path) -> Camera:
    return Camera(
        name=row["name"],
        path=root / row["path"],
        size=(row["width"], row["height"]),
        intrinsics=np.reshape(row["intrinsics"], (3, 3)),
        distortion=tuple(row["distortion"]),
        ego_SE3_cam=_pose_in(row["ego_SE3_cam"]),
        world_SE3_ego=_pose_in(row["world_SE3_ego"]),
        timestamp=row["timestamp"],
        model=row["model"],
        key=row["key"],
    )


def _rows_to_boxes(rows: list[dict[str, Any]]) -> Boxes:
    def column(name: str, width: int) -> Float64:
        return np.array([row[name] for row in rows], dtype=np.float64).reshape(-1, width)

    return Boxes(
        centers=column("center", 3),
        sizes=column("size", 3),
        yaws=column("yaw", 1)[:, 0],
        velocities=column("velocity", 2),
        names=tuple(row["name"] for row in rows),
        tracks=tuple(row["track"] for row in rows),
        num_lidar_pts=np.array([row["num_lidar_pts"] for row in rows], dtype=np.int64),
        attributes=tuple(row["attribute"] for row in rows),
    )
