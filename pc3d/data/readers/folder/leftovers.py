"""Files of an own folder that no sweep takes: drives that are none, labels and boxes without a scan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pc3d.data.errors import did_you_mean
from pc3d.data.readers.folder.description import Description
from pc3d.data.readers.folder.scenes import (
    BOX_FILES,
    LABEL_FILES,
    RESERVED,
    Scene,
    holds,
    is_image,
    is_points,
    point_files,
)
from pc3d.data.readers.folder.stamps import stem_of
from pc3d.findings import Finding

_SHOWN = 5
_DEPTH = 8


def leftovers(root: Path, scenes: Sequence[Scene], description: Description) -> list[Finding]:
    """What lies in a root and is of no sweep."""
    main = description.lidars[0].name
    return [
        *_strays(root, scenes, description),
        *_without_scan("labels", description.labels[0], LABEL_FILES, scenes, main, description),
        *_without_scan("boxes", description.boxes[0], BOX_FILES, scenes, main, description),
    ]


def _strays(root: Path, scenes: Sequence[Scene], description: Description) -> list[Finding]:
    lidars = [lidar.name for lidar in description.lidars]
    found = [] if scenes[0].lidars else list(_outside(root, root, scenes, description, _DEPTH))
    if not found:
        return []
    shown = ", ".join(folder.relative_to(root).as_posix() for folder in found[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    other = (folder.name for folder in found if folder.name not in lidars)
    near = next((meant for name in other if (meant := did_you_mean(name, lidars))), "")
    text = f"{len(found)} folders hold points or images and are of no drive: {shown}{more}{near}"
    remedy = (
        f"a drive is a folder at most three levels below the root that has {' or '.join(lidars)}/; none lies "
        "in another"
    )
    return [Finding("folders", "warning", text, remedy)]


def _outside(
    folder: Path, root: Path, scenes: Sequence[Scene], description: Description, depth: int
) -> Iterator[Path]:
    """Folders below one that hold points or images and are of no scene. In a scene, only points count: beside
    the images of a camera may lie what was made of them."""
    if folder != root and (holds(folder, is_points) or holds(folder, is_image)):
        yield folder
        return
    inside = any(scene.folder == folder for scene in scenes)
    known = _known(description) if inside else frozenset()
    for entry in _folders(folder) if depth else ():
        if not inside:
            yield from _outside(entry, root, scenes, description, depth - 1)
        elif entry.name not in known and not holds(entry, is_points) and not holds(entry, is_image):
            yield from _drives_in(entry, depth - 1)


def _drives_in(folder: Path, depth: int) -> Iterator[Path]:
    """Folders of points below a folder of a scene, of drives that lie in it."""
    for entry in _folders(folder) if depth else ():
        if holds(entry, is_points):
            yield entry
        else:
            yield from _drives_in(entry, depth - 1)


def _known(description: Description) -> frozenset[str]:
    """First folders of the paths that a calibration names in a scene."""
    named = [lidar.name for lidar in description.lidars]
    named += [camera.folder for camera in description.cameras]
    named += [description.labels[0], description.boxes[0], *RESERVED]
    return frozenset(Path(name).parts[0] for name in named)


def _folders(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    return [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]


def _without_scan(
    what: str,
    folder: str,
    ends: tuple[str, ...],
    scenes: Sequence[Scene],
    main: str,
    description: Description,
) -> list[Finding]:
    """Files of labels or of boxes that no scan has by their names."""
    files = lost = 0
    there = False
    first = ""
    for scene in scenes:
        inside = scene.folder / folder
        if not inside.is_dir():
            continue
        there = True
        stems = {stem_of(scan) for scan in point_files(scene.folder / main)}
        for path in sorted(inside.iterdir()):
            if path.name.startswith(".") or not path.is_file():
                continue
            files += 1
            if path.suffix not in ends or path.name.removesuffix(path.suffix) not in stems:
                lost += 1
                first = first or path.relative_to(scene.folder).as_posix() + f" of {scene.name}"
    remedy = f"name it as its scan in {main}/ with one of {', '.join(ends)}"
    if what in description.stated and not files:
        where = "holds no file" if there else "is in no drive"
        text = f"the calibration names the folder {folder}/, which {where}"
        return [Finding(f"files of {what}", "warning", text, "correct its name, or leave it out")]
    if not lost:
        return []
    text = f"{lost} of {files} files in {folder}/ belong to no scan, first: {first}"
    return [Finding(f"files of {what}", "problem" if lost == files else "warning", text, remedy)]
