"""The feature maps of a frozen image encoder, on disk: one file for each sweep and camera.

`engine/teacher_maps.py` fills the folder; the loader reads it instead of the images.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import DataError, fail
from pc3d.data.token_files import spread_file
from pc3d.storage.whole import read_json, write_bytes, write_json

Float16 = NDArray[np.float16]
NO_CAMERA = ""
"""Name of a camera that is missing: what the encoder makes of a black image."""
_REMEDY = "remove it and start the run again: what is missing is made anew"


@dataclass(frozen=True)
class TeacherCache:
    """The levels of one encoder for the images of one index, drawn in one way.

    Files are `SWEEP.CAMERA-HASH.npy` in 256 folders: float16, the levels one after the other, each (C, h, w).
    A file is whole or not there, so that any number of processes may fill a folder.

    Attributes:
        folder: of this encoder, index, and image size. shapes: (C, h, w) of each level, the finest first.
    """

    folder: Path
    shapes: tuple[tuple[int, int, int], ...]

    @classmethod
    def create(
        cls, folder: Path, shapes: Sequence[Sequence[int]], facts: dict[str, Any], durable: bool = True
    ) -> TeacherCache:
        """The cache in a folder, made if it is not there; `facts` says to a person what it holds."""
        folder.mkdir(parents=True, exist_ok=True)
        cache = cls(folder, tuple((int(c), int(h), int(w)) for c, h, w in shapes))
        if not (folder / "cache.json").is_file():
            write_json(folder / "cache.json", {**facts, "shapes": [list(s) for s in cache.shapes]}, durable)
        return cache

    @classmethod
    def open(cls, folder: Path) -> TeacherCache:
        """The cache that is in a folder.

        Raises:
            DataError: there is none.
        """
        try:
            shapes = read_json(folder / "cache.json")["shapes"]
            return cls(folder, tuple((int(c), int(h), int(w)) for c, h, w in shapes))
        except (OSError, ValueError, TypeError, LookupError) as error:
            raise DataError(
                f"no maps of a teacher: {error}\n  where: {folder}\n  remedy: {_REMEDY}"
            ) from error

    @property
    def image_bytes(self) -> int:
        """Bytes of the maps of one image."""
        return 2 * sum(map(prod, self.shapes))

    def path(self, token: str, camera: str) -> Path:
        """File of an image; tokens are spread over 256 folders, and any names may be given."""
        return spread_file(self.folder, f"{token}\0{camera}", f"{token}.{camera}", "image", 120, ".npy")

    def has(self, token: str, camera: str) -> bool:
        """Whether the maps of an image are there."""
        return self.path(token, camera).is_file()

    def save(self, token: str, camera: str, levels: Sequence[NDArray[np.floating]]) -> Path:
        """Write the maps of an image: the file appears whole or not at all.

        Raises:
            ValueError: other shapes than the cache has.
            DataError: a value is not finite, or too large for float16.
        """
        if [level.shape for level in levels] != list(self.shapes):
            found = [level.shape for level in levels]
            raise ValueError(f"maps of the shapes {found}, expected {self.shapes}")
        with np.errstate(over="ignore"):
            flat = np.concatenate([np.asarray(level).ravel() for level in levels]).astype(np.float16)
        path = self.path(token, camera)
        if not np.isfinite(flat).all():
            most = np.finfo(np.float16).max
            fail(
                f"the teacher's features of camera {camera} are not finite, or above {most:g}",
                f"sweep {token}",
                "train without data.teacher_cache: it keeps float16",
            )
        content = io.BytesIO()
        np.save(content, flat)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content.getvalue(), durable=False)
        return path

    def load(self, token: str, camera: str) -> list[Float16]:
        """The maps of an image, each (C, h, w), memory-mapped.

        Raises:
            DataError: they are not there, or of another size.
        """
        path = self.path(token, camera)
        try:
            flat = np.load(path, mmap_mode="r")
            count = self.image_bytes // 2
            if flat.dtype != np.float16 or flat.shape != (count,):
                raise ValueError(f"{flat.dtype} of shape {flat.shape}, expected {count} float16")
        except FileNotFoundError:
            image = f"camera {camera} of sweep {token}" if camera else "a missing camera"
            fail(f"the teacher cache has no maps of {image}", path, "start the run again: it makes them")
        except (OSError, ValueError, EOFError) as error:
            raise DataError(
                f"a teacher's maps are broken: {error}\n  where: {path}\n  remedy: {_REMEDY}"
            ) from error
        ends = np.cumsum([prod(shape) for shape in self.shapes])[:-1]
        parts = np.split(flat, ends)
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]
