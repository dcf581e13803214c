"""The JSON of a sequence of ONCE: cameras and frames, checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pc3d.data.errors import DataError, fail
from pc3d.data.readers.columns import shown
from pc3d.data.records import Boxes, Float64, check_intrinsics, check_pose
from pc3d.geometry.rigid import compose_SE3, invert_SE3, make_SE3, quaternion_to_matrix

LIDAR_SE3_RAW = make_SE3(np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.zeros(3))
"""From the axes of the files (x left, y back, z up) to x forward, y left, z up."""

_REMEDY = "extract the annotation archive again"


@dataclass(frozen=True, eq=False)
class OnceCamera:
    """(3, 3) matrix K (pixel centres at integers), coefficients of its lens, (4, 4) lidar_SE3_cam."""

    K: Float64
    distortion: tuple[float, ...]
    lidar_SE3_cam: Float64


@dataclass(frozen=True, eq=False)
class OnceFrame:
    """Milliseconds, (4, 4) world_SE3_lidar or None, boxes in the LiDAR frame or None."""

    time: int
    pose: Float64 | None
    boxes: Boxes | None


def read_sequence(path: Path) -> tuple[dict[str, OnceCamera], list[OnceFrame]]:
    """The cameras by name and the frames, ascending in time, of a sequence.

    Raises:
        DataError: the file cannot be read, or holds something else.
    """
    content = _object(_load(path), "the file", path)
    calib = _object(content.get("calib", {}), "calib", path)
    cameras = {str(name): _camera(entry, f"{path}, calib of {name}") for name, entry in calib.items()}
    rows = content.get("frames")
    if not isinstance(rows, list) or not rows:
        fail("`frames` is no list of frames", path, _REMEDY)
    frames = [_frame(row, path.stem, f"{path}, frame {number}") for number, row in enumerate(rows)]
    frames.sort(key=lambda frame: frame.time)
    times = [frame.time for frame in frames]
    if len(set(times)) < len(times):
        fail("two frames have the same frame_id", path, _REMEDY)
    return cameras, frames


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"sequence file is no JSON: {error}\n  where: {path}\n  remedy: {_REMEDY}") from error


def _object(value: Any, what: str, where: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        fail(f"{what} is {shown(value)}, expected an object", where, _REMEDY)
    return value


def _numbers(value: Any, shape: tuple[int, ...], what: str, where: str) -> Float64:
    """Finite numbers of a shape, in which -1 stands for any length."""
    try:
        array = np.array(value, dtype=np.float64)
        if array.size == 0 and shape[0] == -1:
            array = array.reshape(0, *shape[1:])
        fits = len(array.shape) == len(shape) and all(
            want in (-1, got) for want, got in zip(shape, array.shape, strict=True)
        )
    except (ValueError, TypeError, OverflowError):
        fits = False
    if not fits or not np.isfinite(array).all():
        fail(f"{what} is {shown(value)}, expected finite numbers of shape {shape}", where, _REMEDY)
    return array


def _camera(entry: Any, where: str) -> OnceCamera:
    values = _object(entry, "the entry", where)
    K = _numbers(values.get("cam_intrinsic"), (3, 3), "cam_intrinsic", where)
    raw_SE3_cam = _numbers(values.get("cam_to_velo"), (4, 4), "cam_to_velo", where)
    distortion = _numbers(values.get("distortion", []), (-1,), "distortion", where)
    try:
        check_intrinsics(K)
        check_pose("cam_to_velo", raw_SE3_cam)
    except ValueError as error:
        fail(str(error), where, _REMEDY)
    return OnceCamera(K, tuple(distortion.tolist()), compose_SE3(LIDAR_SE3_RAW, raw_SE3_cam))


def _frame(row: Any, sequence: str, where: str) -> OnceFrame:
    values = _object(row, "the frame", where)
    stamp = str(values.get("frame_id"))
    if not (stamp.isdigit() and stamp.isascii() and len(stamp) == 13):
        fail(f"frame_id is {shown(stamp)}, expected 13 digits of milliseconds", where, _REMEDY)
    annos = values.get("annos")
    boxes = _boxes(annos, f"{sequence}/{stamp}", where) if annos else None
    return OnceFrame(int(stamp), _pose(values.get("pose"), where), boxes)


def _pose(value: Any, where: str) -> Float64 | None:
    """(4, 4) world_SE3_lidar; None where there is none, which may be nothing, an empty list or zeros."""
    if not value or not any(value):
        return None
    numbers = _numbers(value, (7,), "pose", where)
    x, y, z, w = numbers[:4]
    if abs(float(np.linalg.norm(numbers[:4])) - 1) > 0.01:
        fail(f"pose starts with {numbers[:4].tolist()}, expected a unit quaternion x y z w", where, _REMEDY)
    world_SE3_raw = make_SE3(quaternion_to_matrix([w, x, y, z]), numbers[4:])
    return compose_SE3(world_SE3_raw, invert_SE3(LIDAR_SE3_RAW))


def _boxes(annos: Any, token: str, where: str) -> Boxes:
    values = _object(annos, "annos", where)
    names = values.get("names", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        fail(f"names is {shown(names)}, expected a list of texts", where, _REMEDY)
    numbers = _numbers(values.get("boxes_3d", []), (-1, 7), "boxes_3d", where)
    if len(numbers) != len(names):
        fail(f"there are {len(names)} names and {len(numbers)} boxes", where, _REMEDY)
    try:
        return Boxes(
            centers=numbers[:, :3] @ LIDAR_SE3_RAW[:3, :3].T,
            sizes=numbers[:, 3:6],
            # The heading (cos, sin) turned by the same quarter.
            yaws=np.arctan2(np.cos(numbers[:, 6]), -np.sin(numbers[:, 6])),
            velocities=np.full((len(names), 2), np.nan),
            names=tuple(names),
            tracks=tuple(f"{token}/{number}" for number in range(len(names))),
            num_lidar_pts=np.full(len(names), -1, dtype=np.int64),
            attributes=("",) * len(names),
        )
    except ValueError as error:
        fail(str(error), where, _REMEDY)
