"""Bags that tests write: messages by the package rosbags, their content by the test."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore

from pc3d.data.readers import open_reader
from pc3d.data.records import Sweep
from pc3d.findings import Finding

ROS2 = get_typestore(Stores.ROS2_HUMBLE)
_CODES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}
START = 1_700_000_000 * 10**9

Row = tuple[str, str, int, Any]
"""Topic, type without its `msg`, log time in ns, message."""


def _make(kind: str, **fields: Any) -> Any:
    package, _, name = kind.partition("/")
    return ROS2.types[f"{package}/msg/{name}"](**fields)


def header(stamp: int, frame: str) -> Any:
    time = _make("builtin_interfaces/Time", sec=stamp // 10**9, nanosec=stamp % 10**9)
    return _make("std_msgs/Header", stamp=time, frame_id=frame)


def cloud(stamp: int, frame: str, columns: dict[str, np.ndarray]) -> Any:
    """A PointCloud2 of one row, its fields one after the other."""
    dtype = np.dtype([(name, values.dtype) for name, values in columns.items()])
    points = np.empty(len(next(iter(columns.values()))), dtype)
    for name, values in columns.items():
        points[name] = values
    fields = [
        _make(
            "sensor_msgs/PointField",
            name=n,
            offset=dtype.fields[n][1],
            datatype=_CODES[v.dtype.str[1:]],
            count=1,
        )
        for n, v in columns.items()
    ]
    return _make(
        "sensor_msgs/PointCloud2",
        header=header(stamp, frame),
        height=1,
        width=len(points),
        fields=fields,
        is_bigendian=False,
        point_step=dtype.itemsize,
        row_step=dtype.itemsize * len(points),
        data=np.frombuffer(points.tobytes(), np.uint8),
        is_dense=True,
    )


def image(stamp: int, frame: str, rgb: np.ndarray) -> Any:
    height, width = rgb.shape[:2]
    return _make(
        "sensor_msgs/Image",
        header=header(stamp, frame),
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=3 * width,
        data=rgb.reshape(-1),
    )


def camera_info(stamp: int, frame: str, size: tuple[int, int], K: np.ndarray, D: Iterable[float] = ()) -> Any:
    roi = _make("sensor_msgs/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return _make(
        "sensor_msgs/CameraInfo",
        header=header(stamp, frame),
        height=size[1],
        width=size[0],
        distortion_model="plumb_bob",
        d=np.array(list(D), np.float64),
        k=K.reshape(-1),
        r=np.eye(3).reshape(-1),
        p=np.column_stack([K, np.zeros(3)]).reshape(-1),
        binning_x=0,
        binning_y=0,
        roi=roi,
    )


def _vector(kind: str, xyz: Iterable[float]) -> Any:
    x, y, z = map(float, xyz)
    return _make(kind, x=x, y=y, z=z)


def _quaternion(xyzw: Iterable[float]) -> Any:
    x, y, z, w = map(float, xyzw)
    return _make("geometry_msgs/Quaternion", x=x, y=y, z=z, w=w)


def tf(*transforms: tuple[int, str, str, Iterable[float], Iterable[float]]) -> Any:
    """A TFMessage of (stamp, parent, child, translation, quaternion x y z w)."""
    rows = [
        _make(
            "geometry_msgs/TransformStamped",
            header=header(stamp, parent),
            child_frame_id=child,
            transform=_make(
                "geometry_msgs/Transform",
                translation=_vector("geometry_msgs/Vector3", xyz),
                rotation=_quaternion(xyzw),
            ),
        )
        for stamp, parent, child, xyz, xyzw in transforms
    ]
    return ROS2.types["tf2_msgs/msg/TFMessage"](transforms=rows)


def odometry(stamp: int, frame: str, child: str, xyz: Iterable[float], xyzw: Iterable[float]) -> Any:
    pose = _make(
        "geometry_msgs/Pose", position=_vector("geometry_msgs/Point", xyz), orientation=_quaternion(xyzw)
    )
    still = _make(
        "geometry_msgs/Twist",
        linear=_vector("geometry_msgs/Vector3", (0, 0, 0)),
        angular=_vector("geometry_msgs/Vector3", (0, 0, 0)),
    )
    return _make(
        "nav_msgs/Odometry",
        header=header(stamp, frame),
        child_frame_id=child,
        pose=_make("geometry_msgs/PoseWithCovariance", pose=pose, covariance=np.zeros(36)),
        twist=_make("geometry_msgs/TwistWithCovariance", twist=still, covariance=np.zeros(36)),
    )


def write_ros2(folder: Path, rows: Iterable[Row], compressed: bool = False) -> Path:
    """A ROS 2 bag of messages, in the order of their log times; MCAP, or sqlite3 compressed as a file."""
    plugin = StoragePlugin.SQLITE3 if compressed else StoragePlugin.MCAP
    connections: dict[str, Any] = {}
    writer = Writer2(folder, version=9, storage_plugin=plugin)
    if compressed:
        writer.set_compression(CompressionMode.FILE, CompressionFormat.ZSTD)
    with writer:
        for topic, kind, log, message in sorted(rows, key=lambda row: row[2]):
            msgtype = kind.replace("/", "/msg/")
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, msgtype, typestore=ROS2)
            writer.write(connections[topic], log, ROS2.serialize_cdr(message, msgtype))
    return folder


def read(root: Path, **options: object) -> tuple[list[Sweep], dict[str, Finding]]:
    """The sweeps of bags, and what was found by name."""
    reader = open_reader("bag", root, **options)
    sweeps = list(reader.sweeps())
    return sweeps, {finding.name: finding for finding in reader.findings}
