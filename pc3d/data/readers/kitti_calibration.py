"""Calibration files of KITTI: rigid transforms and projections, by the names of their entries."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from pc3d.data.errors import fail
from pc3d.data.readers.text_files import read_lines
from pc3d.data.records import Float64, check_intrinsics, check_pose
from pc3d.geometry.rigid import make_SE3

_REMEDY = "extract the calibration archive of that date into the date folder"


class Projection(NamedTuple):
    """A rectified camera: its (3, 3) matrix K (pixel centres at integers), its place beside rectified
    camera 0 (4, 4), and the size of its images in pixels, None where the file does not say it."""

    K: Float64
    cam_SE3_rect: Float64
    size: tuple[float, ...] | None


class Calibration:
    """The entries of one calibration file (`name: number number ...`).

    Args:
        path: the file.
        remedy: for the error messages.

    Raises:
        DataError: the file cannot be read, an entry is missing, broken, or is not what it should be.
    """

    def __init__(self, path: Path, remedy: str = _REMEDY) -> None:
        self._path = path
        self._remedy = remedy
        self._entries: dict[str, str] = {}
        for line in read_lines(path, "calibration", remedy):
            name, _, values = (part.strip() for part in line.partition(":"))
            if self._entries.setdefault(name, values) != values:
                fail(f"calibration entry {name!r} is there twice, with other values", path, remedy)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def rigid(self) -> Float64:
        """(4, 4) transform of the entries R and T."""
        return self._rotation("R", self.entry("T", (3,)))

    def transform(self, name: str) -> Float64:
        """(4, 4) transform of an entry [R | t] of three rows."""
        entry = self.entry(name, (3, 4))
        return self._checked(name, make_SE3(entry[:, :3], entry[:, 3]))

    def rectification(self, name: str = "R_rect_00") -> Float64:
        """(4, 4) rect_SE3_cam of an entry R."""
        return self._rotation(name, np.zeros(3))

    def projection(self, name: str, size: str = "") -> Projection:
        """Of the entry P `name` and, where the file has it, the entry `size`."""
        P = self.entry(name, (3, 4))
        try:
            check_intrinsics(P[:, :3])
            # P = K [I | t]: the camera sits at -t beside the rectified camera 0.
            cam_SE3_rect = make_SE3(np.eye(3), np.linalg.solve(P[:, :3], P[:, 3]))
            check_pose("its place", cam_SE3_rect)
        except ValueError as error:
            fail(f"calibration entry {name} is no camera: {error}", self._path, self._remedy)
        return Projection(
            P[:, :3],
            cam_SE3_rect,
            tuple(self.entry(size, (2,)).tolist()) if size and size in self._entries else None,
        )

    def entry(self, name: str, shape: tuple[int, ...]) -> Float64:
        """An entry of finite numbers."""
        if name not in self._entries:
            fail(f"calibration entry {name} is missing", self._path, self._remedy)
        words, count = self._entries[name].split(), int(np.prod(shape))
        try:
            values = np.array([float(word) for word in words])
        except ValueError as error:
            fail(f"calibration entry {name} is broken: {error}", self._path, self._remedy)
        if len(values) != count:
            fail(
                f"calibration entry {name} has {len(values)} numbers, expected {count}",
                self._path,
                self._remedy,
            )
        if len(odd := np.flatnonzero(~np.isfinite(values))):
            what = f"calibration entry {name}: number {odd[0] + 1} is {words[odd[0]]!r}"
            fail(f"{what}, expected {count} finite numbers", self._path, self._remedy)
        return values.reshape(shape)

    def _rotation(self, name: str, translation: Float64) -> Float64:
        return self._checked(name, make_SE3(self.entry(name, (3, 3)), translation))

    def _checked(self, name: str, transform: Float64) -> Float64:
        try:
            check_pose(f"calibration entry {name}", transform)
        except ValueError as error:
            fail(str(error), self._path, self._remedy)
        return transform
