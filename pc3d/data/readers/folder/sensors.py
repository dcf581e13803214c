"""The sections of sensors in a calibration file: what a folder holds, and where its sensor is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pc3d.data.errors import did_you_mean
from pc3d.data.points.formats import COLUMNS
from pc3d.data.readers.folder.checked import (
    choice,
    number,
    numbers,
    one_of,
    positive,
    section_of,
    text,
    whole,
    within,
)
from pc3d.data.readers.folder.transforms import AXES, read_named_transform
from pc3d.data.records import Float64, check_intrinsics
from pc3d.geometry.camera import shift_pixel_centres
from pc3d.geometry.lens import MODELS, check_lens
from pc3d.geometry.rigid import make_SE3

UNITS = {"m": 1.0, "cm": 1e2, "mm": 1e3, "ft": 1 / 0.3048}
"""How many make a metre."""
SECONDS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
"""How many make a second."""
STARTS = ("sweep", "1970")
FRAMES = ("sensor", "ego", "world")
_LIDAR = (
    *("columns", "dtype", "units", "intensity", "time", "frame", "axes", "height"),
    *("ego_SE3_lidar", "lidar_SE3_ego"),
)
_CAMERA = (
    *("size", "intrinsics", "distortion", "model", "pixel_centre", "folder"),
    *("ego_SE3_cam", "cam_SE3_ego", "lidar_SE3_cam", "cam_SE3_lidar"),
)


@dataclass(frozen=True, eq=False)
class LidarEntry:
    """A LiDAR: what its file says; None where it says nothing, which `guesses.py` then proposes.

    Attributes:
        name: of its folder.
        columns: in the order of a file without names, or standard column to the name in the file.
        units: of x, y, z, key of `UNITS`. intensity: what stands for full intensity.
        time: unit and start of the times of points.
        frame: of the coordinates in its files, one of `FRAMES`.
        ego_SE3_lidar: (4, 4).
    """

    name: str
    columns: tuple[str, ...] | Mapping[str, str] | None = None
    dtype: str = "float32"
    units: str | None = None
    intensity: float | None = None
    time: tuple[str, str] | None = None
    frame: str = "sensor"
    ego_SE3_lidar: Float64 | None = None


@dataclass(frozen=True, eq=False)
class CameraEntry:
    """A camera; `ego_SE3_cam` or `lidar_SE3_cam` (of the first LiDAR) is given."""

    name: str
    folder: str
    intrinsics: Float64
    size: tuple[int, int] | None = None
    distortion: tuple[float, ...] = ()
    model: str = "brown"
    ego_SE3_cam: Float64 | None = None
    lidar_SE3_cam: Float64 | None = None


def lidar_entry(name: str, values: Any) -> LidarEntry:
    """The section of a LiDAR; ValueError says what is wrong in it."""
    with within(f"lidars.{name}"):
        section = section_of(values or {}, "it", _LIDAR)
        columns = section.get("columns")
        if columns is not None:
            columns = _columns(columns)
        time = section.get("time")
        if time is not None:
            time = _time(time)
        full = section.get("intensity")
        return LidarEntry(
            name=name,
            columns=columns,
            dtype=_dtype(section.get("dtype", "float32")),
            units=None if section.get("units") is None else choice(section["units"], "units", UNITS),
            intensity=None if full is None else positive(full, "intensity"),
            time=time,
            frame=one_of(section, "frame", FRAMES, "sensor"),
            ego_SE3_lidar=_mount(section),
        )


def _mount(section: Mapping[str, Any]) -> Float64 | None:
    pose = read_named_transform(section, "ego", "lidar")
    if "axes" not in section and "height" not in section:
        return pose
    if pose is not None:
        raise ValueError("axes and height say less than ego_SE3_lidar: leave them out beside it")
    if "axes" not in section or "height" not in section:
        raise ValueError("axes and height go together: give both, or ego_SE3_lidar")
    axes = AXES[choice(section["axes"], "axes", AXES)]
    return make_SE3(np.array(axes), [0.0, 0.0, number(section["height"], "height")])


def _columns(columns: Any) -> tuple[str, ...] | dict[str, str]:
    named = isinstance(columns, Mapping)
    if not named and not isinstance(columns, list):
        raise ValueError(f"columns is {str(columns)[:60]!r}, expected a list, or names of the file by column")
    for name in columns:
        if not isinstance(name, str) or (name not in COLUMNS and name != "_"):
            raise ValueError(
                f"columns has {name!r}{did_you_mean(name, COLUMNS)}; known: {', '.join(COLUMNS)}, _"
            )
    wanted = [name for name in columns if name != "_"]
    if len(set(wanted)) < len(wanted) or not {"x", "y", "z"} <= set(wanted):
        raise ValueError(f"columns are {', '.join(columns)}, expected x, y and z, each once")
    return {k: _source(v, k) for k, v in columns.items()} if named else tuple(columns)


def _source(name: Any, column: str) -> str:
    """A name in the file; a file without names counts its columns."""
    counted = isinstance(name, int) and not isinstance(name, bool)
    return str(name) if counted else text(name, f"columns.{column}")


def _time(values: Any) -> tuple[str, str]:
    section = section_of({"unit": values} if isinstance(values, str) else values, "time", ("unit", "start"))
    return choice(section.get("unit"), "time.unit", SECONDS), one_of(section, "start", STARTS, "sweep")


def _dtype(name: Any) -> str:
    try:
        dtype = np.dtype(str(name))
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "iuf":
        raise ValueError(f"dtype is {name!r}, expected float32, float64, >f4, int16, ...")
    return dtype.str


def camera_entry(name: str, values: Any) -> CameraEntry:
    """The section of a camera; ValueError says what is wrong in it."""
    with within(f"cameras.{name}"):
        section = section_of(values, "it", _CAMERA)
        model = choice(section.get("model", "brown"), "model", MODELS)
        distortion = numbers(section.get("distortion") or (), "distortion")
        check_lens(model, distortion)
        size = section.get("size")
        if size is not None and (not isinstance(size, list) or len(size) != 2):
            raise ValueError(f"size is {size!r}, expected [width, height]")
        in_ego, in_lidar = (read_named_transform(section, dst, "cam") for dst in ("ego", "lidar"))
        if (in_ego is None) == (in_lidar is None):
            raise ValueError("give one of ego_SE3_cam, lidar_SE3_cam, or the inverse of one")
        return CameraEntry(
            name=name,
            folder=text(section.get("folder", name), "folder"),
            intrinsics=_intrinsics(section),
            size=None if size is None else (whole(size[0], "width"), whole(size[1], "height")),
            distortion=distortion,
            model=model,
            ego_SE3_cam=in_ego,
            lidar_SE3_cam=in_lidar,
        )


def _intrinsics(section: Mapping[str, Any]) -> Float64:
    """(3, 3) with pixel centres at integer + 0.5."""
    rows = section.get("intrinsics") or []
    if not isinstance(rows, list):
        raise ValueError(f"intrinsics is {str(rows)[:60]!r}, expected [fx, fy, cx, cy] or a 3x3 matrix")
    flat = [value for row in rows for value in (row if isinstance(row, list) else [row])]
    given = np.array(numbers(flat, "intrinsics"))
    if given.size == 4:
        fx, fy, cx, cy = given
        given = np.array([fx, 0, cx, 0, fy, cy, 0, 0, 1])
    if given.size != 9:
        raise ValueError("intrinsics are missing or of another size: give [fx, fy, cx, cy] or a 3x3 matrix")
    centre = section.get("pixel_centre", 0)
    if isinstance(centre, (list, dict)) or centre not in (0, 0.5):
        raise ValueError(
            f"pixel_centre is {centre!r}, expected 0 (OpenCV) or 0.5: where the first pixel's is"
        )
    K = shift_pixel_centres(given.reshape(3, 3), 0.5 - centre)
    check_intrinsics(K)
    return K
