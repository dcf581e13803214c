"""Folders of images that have the names of their scans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pc3d.data.errors import fail
from pc3d.data.image_file import open_image


def image_of(folder: Path, stem: str) -> Path | None:
    """The image of a scan, None where there is none."""
    return next((p for ending in (".png", ".jpg") if (p := folder / f"{stem}{ending}").exists()), None)


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of an image."""
    with open_image(path) as image:
        return image.size


def first_image_size(folder: Path) -> tuple[int, int]:
    """(width, height) of the first image of a folder.

    Raises:
        DataError: it has none, or it cannot be read.
    """
    first = next((path for path in sorted(folder.iterdir()) if path.suffix in (".png", ".jpg")), None)
    if first is None:
        fail("no image", folder, "extract the drive again, or remove the empty camera folder")
    return image_size(first)


def lacking_images(what: str, folders: Iterable[tuple[str, Path]], keys: Sequence[Path]) -> list[str]:
    """Notes on cameras (name, folder) that have no image of some of the scans `keys`."""
    notes = []
    for name, folder in folders:
        lacking = sum(image_of(folder, scan.stem) is None for scan in keys)
        if lacking:
            notes.append(f"{what} lacks {lacking} of {len(keys)} images of {name}")
    return notes
