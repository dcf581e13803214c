"""Where the files of an own folder are: its scenes, and in each the folders of sensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pc3d.data.point_files import decoder_of
from pc3d.data.readers.folder.description import Description

IMAGES = (".jpg", ".jpeg", ".png")
TABLES = (".csv", ".txt", ".npz")
LABEL_FILES = (".label", ".bin", ".npy", ".npz")
BOX_FILES = (".txt", ".csv")
RESERVED = ("labels", "boxes", "poses", "maps", "regions")
_LOOKED_AT = 64
_DEPTH = 3


@dataclass(frozen=True)
class Scene:
    """A drive: the folder that its sensor folders are in.

    `lidars` are the folders that count where no calibration names them, all of them if there is none.
    """

    name: str
    folder: Path
    lidars: tuple[str, ...] = ()


def is_points(path: Path) -> bool:
    """Whether a file holds points, by its name.

    What ends on `.csv`, `.txt` or `.npz` may hold anything: `.csv` counts where its name has a digit
    (poses.csv has none), the others never do.
    """
    return _is_shown(path) and path.suffix.lower() not in (".txt", ".npz") and _may_be_scan(path)


def point_files(folder: Path) -> list[Path]:
    """The files of points in a folder of a LiDAR, by name; a table beside them, timestamps.txt, is none."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _is_shown(path) and _may_be_scan(path))


def _may_be_scan(path: Path) -> bool:
    if path.suffix.lower() in TABLES and not any(letter.isdigit() for letter in path.stem):
        return False
    return path.suffix.lower() == ".bin" or bool(decoder_of(path))


def _is_shown(path: Path) -> bool:
    """Not hidden: macOS leaves `._000000.bin` beside each file."""
    return not path.name.startswith(".")


def image_files(folder: Path) -> list[Path]:
    """The images in a folder, by name."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if is_image(path))


def is_image(path: Path) -> bool:
    """Whether a file is an image, by its name."""
    return _is_shown(path) and path.suffix.lower() in IMAGES


def find_scenes(root: Path, description: Description | None) -> list[Scene]:
    """The scenes: the root, or folders at most three levels below it, that hold a LiDAR's folder."""
    names = [lidar.name for lidar in description.lidars] if description else []
    if holds(root, is_points) and (description is None or root.name in names):
        return [Scene(root.parent.name or "drive", root.parent, (root.name,))]
    return [
        Scene(folder.relative_to(root).as_posix() if folder != root else root.name, folder)
        for folder in _scenes_below(root, names, _DEPTH)
    ]


def _scenes_below(folder: Path, lidars: list[str], depth: int) -> list[Path]:
    if _is_scene(folder, lidars):
        return [folder]
    if not depth:
        return []
    inside = (e for e in sorted(folder.iterdir()) if e.is_dir() and not e.name.startswith("."))
    return [scene for entry in inside for scene in _scenes_below(entry, lidars, depth - 1)]


def _is_scene(folder: Path, lidars: list[str]) -> bool:
    if lidars:
        return any((folder / name).is_dir() for name in lidars)
    return bool(lidar_folders(folder))


def lidar_folders(scene: Path) -> list[str]:
    """Names of the folders of a scene that hold point files, where no calibration names them."""
    return [
        entry.name
        for entry in sorted(scene.iterdir())
        if entry.is_dir() and entry.name not in RESERVED and holds(entry, is_points)
    ]


def image_folders(scene: Path) -> list[str]:
    """Names of the folders of a scene that hold images."""
    return [
        entry.name
        for entry in sorted(scene.iterdir())
        if entry.is_dir() and entry.name not in RESERVED and holds(entry, is_image)
    ]


def holds(folder: Path, wanted: Callable[[Path], bool]) -> bool:
    """Whether one of the first files of a folder is wanted."""
    for number, entry in enumerate(folder.iterdir()):
        if entry.is_file() and wanted(entry):
            return True
        if number >= _LOOKED_AT:
            break
    return False
