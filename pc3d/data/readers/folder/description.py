"""The calibration file of an own folder: what each sensor folder holds, and where its sensor is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pc3d.data.errors import DataError, fail
from pc3d.data.labels.load import LABEL_DECODERS, PLAIN
from pc3d.data.plain_files import read_plain
from pc3d.data.readers.folder.checked import choice, one_of, positive, section_of, text, whole
from pc3d.data.readers.folder.sensors import (
    SECONDS,
    UNITS,
    CameraEntry,
    LidarEntry,
    camera_entry,
    lidar_entry,
)

__all__ = [
    "NAMES",
    "SECONDS",
    "UNITS",
    "CameraEntry",
    "Description",
    "LidarEntry",
    "PosesEntry",
    "find_description",
    "read_description",
]
NAMES = ("calibration.yaml", "calibration.yml", "calibration.json")
_TOP = ("lidars", "cameras", "poses", "labels", "boxes", "stamps", "key_every", "sync", "classes", "notes")
_POSES = ("file", "of", "unit", "format", "angles")
_LABELS = ("folder", "format")
_BOXES = ("folder", "frame")


@dataclass(frozen=True)
class PosesEntry:
    """The file of poses in a scene: of which frame, stamps and angles in which unit, how it is written."""

    file: str
    of: str | None = None
    unit: str | None = None
    format: str | None = None
    angles: str | None = None


@dataclass(frozen=True, eq=False)
class Description:
    """All that a calibration file says.

    Attributes:
        path: of the file, for the messages.
        stamp_unit: of the numbers in file names; rate_hz: of numbers that only count.
        sync: seconds that an image may be from its sweep, None: half of the time between images.
        labels: folder and format (None: by its size). boxes: folder and frame.
        stated: keys of the file.
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
    stated: tuple[str, ...] = ()


def find_description(folder: Path) -> Path | None:
    """The calibration file of a folder, None where it has none."""
    return next((folder / name for name in NAMES if (folder / name).is_file()), None)


def read_description(path: Path) -> Description:
    """Read a calibration file, YAML or JSON.

    Raises:
        DataError: it cannot be read, has a key twice, or says what cannot be (names the section and the key);
            a second calibration file lies beside it.
    """
    beside = [name for name in NAMES if name != path.name and (path.parent / name).is_file()]
    if beside:
        fail(f"there are {path.name} and {beside[0]}", path.parent, "leave one: which is right, no file says")
    values = read_plain(path, "the calibration")
    try:
        return _description(path, values)
    except (ValueError, TypeError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        fail(f"the calibration is wrong: {error}", path, "correct it; docs/own-data.md has every key")


def _description(path: Path, values: Any) -> Description:
    top = section_of(values, "the file", _TOP)
    lidars = section_of(top.get("lidars") or {}, "lidars")
    if not lidars:
        raise ValueError("it names no LiDAR: give `lidars`, by the names of their folders")
    cameras = section_of(top.get("cameras") or {}, "cameras")
    labels = section_of(_folder(top.get("labels")), "labels", _LABELS)
    boxes = section_of(_folder(top.get("boxes")), "boxes", _BOXES)
    unit, rate = _stamps(top.get("stamps"))
    kind = labels.get("format")
    return Description(
        path=path,
        lidars=tuple(lidar_entry(name, section) for name, section in lidars.items()),
        cameras=tuple(camera_entry(name, section) for name, section in cameras.items()),
        poses=_poses(top.get("poses")),
        labels=(
            text(labels.get("folder", "labels"), "labels.folder"),
            None if kind is None else _label_format(kind),
        ),
        boxes=(
            text(boxes.get("folder", "boxes"), "boxes.folder"),
            one_of(boxes, "frame", ("lidar", "ego", "world"), "lidar"),
        ),
        stamp_unit=unit,
        rate_hz=rate,
        key_every=whole(top.get("key_every", 1), "key_every"),
        sync=None if top.get("sync") is None else positive(top["sync"], "sync"),
        classes=None if top.get("classes") is None else text(top["classes"], "classes"),
        stated=tuple(top),
    )


def _stamps(values: Any) -> tuple[str | None, float | None]:
    """(unit, rate) of stamps, one of them or none."""
    if values is None:
        return None, None
    if not isinstance(values, Mapping):
        return choice(values, "stamps", SECONDS), None
    section = section_of(values, "stamps", ("unit", "rate_hz"))
    if len(section) != 1:
        raise ValueError("stamps has unit and rate_hz, expected one: stamps are times, or they only count")
    if "unit" in section:
        return choice(section["unit"], "stamps.unit", SECONDS), None
    return None, positive(section["rate_hz"], "stamps.rate_hz")


def _label_format(value: Any) -> str:
    name = text(value, "labels.format").partition(":")[0]
    choice(name, "labels.format", (*PLAIN, *LABEL_DECODERS))
    return str(value)


def _folder(section: Any) -> Any:
    return {"folder": section} if isinstance(section, str) else section or {}


def _poses(values: Any) -> PosesEntry | None:
    if values is None:
        return None
    section = section_of({"file": values} if isinstance(values, str) else values, "poses", _POSES)
    unit = section.get("unit")
    return PosesEntry(
        file=text(section.get("file"), "poses.file"),
        of=None if section.get("of") is None else text(section["of"], "poses.of"),
        unit=None if unit is None else choice(unit, "poses.unit", SECONDS),
        format=one_of(section, "format", ("csv", "tum", "kitti"), None),
        angles=one_of(section, "angles", ("degrees", "radians"), None),
    )
