"""The calibration file of an own folder: what each sensor folder holds, and where its sensor is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pc3d.data.errors import DataError, did_you_mean, fail
from pc3d.data.points.formats import COLUMNS
from pc3d.data.readers.folder.transforms import AXES, read_named_transform
from pc3d.data.records import Float64, check_intrinsics
from pc3d.geometry.camera import shift_pixel_centres
from pc3d.geometry.lens import MODELS
from pc3d.geometry.rigid import make_SE3

NAMES = ("calibration.yaml", "calibration.yml", "calibration.json")
UNITS = {"m": 1.0, "cm": 1e2, "mm": 1e3, "ft": 1 / 0.3048}
"""How many make a metre."""
SECONDS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
"""How many make a second."""
STARTS = ("sweep", "1970")
FRAMES = ("sensor", "ego", "world")
_TOP = ("lidars", "cameras", "poses", "labels", "boxes", "stamps", "key_every", "sync", "classes", "notes")
_LIDAR = (
    *("columns", "dtype", "units", "intensity", "time", "frame", "axes", "height"),
    *("ego_SE3_lidar", "lidar_SE3_ego"),
)
_CAMERA = (
    *("size", "intrinsics", "distortion", "model", "pixel_centre", "folder"),
    *("ego_SE3_cam", "cam_SE3_ego", "lidar_SE3_cam", "cam_SE3_lidar"),
)
_POSES = ("file", "of", "unit", "format")
_LABELS = ("folder", "format")
_BOXES = ("folder", "frame")


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


@dataclass(frozen=True)
class PosesEntry:
    """The file of poses in a scene: of which frame, stamps in which unit, and how it is written."""

    file: str
    of: str | None = None
    unit: str | None = None
    format: str | None = None


@dataclass(frozen=True, eq=False)
class Description:
    """All that a calibration file says.

    Attributes:
        path: of the file, for the messages.
        stamp_unit: of the numbers in file names; rate_hz: of numbers that only count.
        sync: seconds that an image may be from its sweep, None: half of the time between images.
        labels: folder and format (None: by its size). boxes: folder and frame.
    """

    path: Path
    lidars: tuple[LidarEntry, ...] = ()
    cameras: tuple[CameraEntry, ...] = ()
    poses: PosesEntry | None = None
    labels: tuple[str, str | None] = ("labels", None)
    boxes: tuple[str, str] = ("boxes", "lidar")
    stamp_unit: str | None = None
    rate_hz: float | None = None
    key_every: int = 1
    sync: float | None = None
    classes: str | None = None
    notes: tuple[str, ...] = field(default=())


def find_description(folder: Path) -> Path | None:
    """The calibration file of a folder, None where it has none."""
    return next((folder / name for name in NAMES if (folder / name).is_file()), None)


def read_description(path: Path) -> Description:
    """Read a calibration file, YAML or JSON.

    Raises:
        DataError: it cannot be read, or says what cannot be; names the section and the key.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        what = " ".join(str(error).split())
        raise DataError(
            f"the calibration cannot be read: {what}\n  where: {path}\n  remedy: mend it"
        ) from error
    try:
        return _description(path, values)
    except (ValueError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        fail(f"the calibration is wrong: {error}", path, "correct it; docs/own-data.md has every key")


def _description(path: Path, values: Any) -> Description:
    top = _section(values, "the file", _TOP)
    lidars = _section(top.get("lidars") or {}, "lidars")
    cameras = _section(top.get("cameras") or {}, "cameras")
    stamps = top.get("stamps")
    labels = _section(_folder(top.get("labels")), "labels", _LABELS)
    boxes = _section(_folder(top.get("boxes")), "boxes", _BOXES)
    rate = stamps.get("rate_hz") if isinstance(stamps, Mapping) else None
    return Description(
        path=path,
        lidars=tuple(_lidar(str(name), section) for name, section in lidars.items()),
        cameras=tuple(_camera(str(name), section) for name, section in cameras.items()),
        poses=_poses(top.get("poses")),
        labels=(str(labels.get("folder", "labels")), labels.get("format")),
        boxes=(
            str(boxes.get("folder", "boxes")),
            _one_of(boxes, "frame", ("lidar", "ego", "world"), "lidar"),
        ),
        stamp_unit=None if stamps is None or rate is not None else _choice(stamps, "stamps", SECONDS),
        rate_hz=None if rate is None else _positive(rate, "stamps.rate_hz"),
        key_every=_whole(top.get("key_every", 1), "key_every"),
        sync=None if top.get("sync") is None else _positive(top["sync"], "sync"),
        classes=top.get("classes"),
    )


def _folder(section: Any) -> Any:
    return {"folder": section} if isinstance(section, str) else section or {}


def _section(values: Any, name: str, keys: tuple[str, ...] | None = None) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise ValueError(f"{name} is {str(values)[:60]!r}, expected keys with values")
    for key in values:
        if keys is not None and key not in keys:
            near = did_you_mean(key, keys) or f"; known: {', '.join(keys)}"
            raise ValueError(f"{name} has the unknown key {key!r}{near}")
    return values


@contextmanager
def _within(name: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _lidar(name: str, values: Any) -> LidarEntry:
    with _within(f"lidars.{name}"):
        section = _section(values or {}, "it", _LIDAR)
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
            units=None if section.get("units") is None else _choice(section["units"], "units", UNITS),
            intensity=None if full is None else _positive(full, "intensity"),
            time=time,
            frame=_one_of(section, "frame", FRAMES, "sensor"),
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
    axes = AXES[_choice(section["axes"], "axes", AXES)]
    return make_SE3(np.array(axes), [0.0, 0.0, _number(section["height"], "height")])


def _columns(columns: Any) -> tuple[str, ...] | dict[str, str]:
    named = isinstance(columns, Mapping)
    if not named and not isinstance(columns, list):
        raise ValueError(f"columns is {str(columns)[:60]!r}, expected a list, or names of the file by column")
    for name in columns:
        if name not in COLUMNS and name != "_":
            raise ValueError(
                f"columns has {name!r}{did_you_mean(name, COLUMNS)}; known: {', '.join(COLUMNS)}, _"
            )
    wanted = [name for name in columns if name != "_"]
    if len(set(wanted)) < len(wanted) or not {"x", "y", "z"} <= set(wanted):
        raise ValueError(f"columns are {', '.join(columns)}, expected x, y and z, each once")
    return {str(k): str(v) for k, v in columns.items()} if named else tuple(columns)


def _time(values: Any) -> tuple[str, str]:
    section = _section({"unit": values} if isinstance(values, str) else values, "time", ("unit", "start"))
    return _choice(section.get("unit"), "time.unit", SECONDS), _one_of(section, "start", STARTS, "sweep")


def _dtype(name: Any) -> str:
    try:
        dtype = np.dtype(str(name))
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "iuf":
        raise ValueError(f"dtype is {name!r}, expected float32, float64, >f4, int16, ...")
    return dtype.str


def _camera(name: str, values: Any) -> CameraEntry:
    with _within(f"cameras.{name}"):
        section = _section(values, "it", _CAMERA)
        model = _choice(section.get("model", "brown"), "model", MODELS)
        distortion = tuple(float(value) for value in section.get("distortion") or ())
        size = section.get("size")
        if size is not None and (not isinstance(size, list) or len(size) != 2):
            raise ValueError(f"size is {size!r}, expected [width, height]")
        in_ego, in_lidar = (read_named_transform(section, dst, "cam") for dst in ("ego", "lidar"))
        if (in_ego is None) == (in_lidar is None):
            raise ValueError("give one of ego_SE3_cam, lidar_SE3_cam, or the inverse of one")
        return CameraEntry(
            name=name,
            folder=str(section.get("folder", name)),
            intrinsics=_intrinsics(section),
            size=None if size is None else (_whole(size[0], "width"), _whole(size[1], "height")),
            distortion=distortion,
            model=model,
            ego_SE3_cam=in_ego,
            lidar_SE3_cam=in_lidar,
        )


def _intrinsics(section: Mapping[str, Any]) -> Float64:
    """(3, 3) with pixel centres at integer + 0.5."""
    given = np.array(section.get("intrinsics", []), dtype=np.float64).reshape(-1)
    if given.size == 4:
        fx, fy, cx, cy = given
        given = np.array([fx, 0, cx, 0, fy, cy, 0, 0, 1])
    if given.size != 9:
        raise ValueError("intrinsics are missing or of another size: give [fx, fy, cx, cy] or a 3x3 matrix")
    centre = section.get("pixel_centre", 0)
    if centre not in (0, 0.5):
        raise ValueError(
            f"pixel_centre is {centre!r}, expected 0 (OpenCV) or 0.5: where the first pixel's is"
        )
    K = shift_pixel_centres(given.reshape(3, 3), 0.5 - centre)
    check_intrinsics(K)
    return K


def _poses(values: Any) -> PosesEntry | None:
    if values is None:
        return None
    section = _section({"file": values} if isinstance(values, str) else values, "poses", _POSES)
    if not section.get("file"):
        raise ValueError("poses has no `file`")
    unit = section.get("unit")
    return PosesEntry(
        file=str(section["file"]),
        of=section.get("of"),
        unit=None if unit is None else _choice(unit, "poses.unit", SECONDS),
        format=_one_of(section, "format", ("csv", "tum", "kitti"), None),
    )


def _choice(value: Any, name: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"{name} is {value!r}{did_you_mean(value, known)}; known: {', '.join(known)}")
    return str(value)


def _one_of(section: Mapping[str, Any], key: str, known: tuple[str, ...], default: Any) -> Any:
    return _choice(section[key], key, known) if section.get(key) is not None else default


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise ValueError(f"{name} is {value!r}, expected a number")
    return float(value)


def _positive(value: Any, name: str) -> float:
    if not _number(value, name) > 0:
        raise ValueError(f"{name} is {value!r}, expected a number above 0")
    return float(value)


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is {value!r}, expected a whole number above 0")
    return value
