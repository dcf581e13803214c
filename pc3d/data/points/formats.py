"""How a file of points is read, as a text that an index row carries.

    NAME                                    a format by its name, see `FORMATS`
    DECODER:COLUMN,...[;OPTION=VALUE...]    e.g. feather:x,y,z,intensity/255,time=offset_ns*1e-9

A column is `STANDARD[=SOURCE][*FACTOR | /DIVISOR][@]`: a standard column, the name that the file has for it
where that is another, what makes its unit the standard one, and `@` for absolute seconds, which the time of
the sweep is subtracted from. `_` skips a column of a file without names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from pc3d.data.errors import did_you_mean, fail

COLUMNS: dict[str, str] = {
    "x": "m",
    "y": "m",
    "z": "m",
    "intensity": "0 to 1",
    "ring": "number of the laser",
    "time": "s from the time of the sweep",
    "elongation": "of the pulse, the sensor's own scale",
    "return": "number of the return, from 1",
    "lidar": "number of the LiDAR, from 0",
}
"""The standard columns and their units."""
_SKIPPED = "_"
_OPTIONS = ("dtype", "where", "drop", "intensity", "tail")
_COLUMN = re.compile(r"(?P<name>\w+)(=(?P<source>[^*/@]+))?(?P<scale>[*/][-+.\deE]+)?(?P<absolute>@)?")


@dataclass(frozen=True)
class Column:
    """A standard column and how a file has it.

    Attributes:
        name: of `COLUMNS`, or `_`.
        source: its name in the file.
        divisor: what it is divided by: that many of its units make one standard unit.
        absolute: seconds of the epoch, not of the sweep.
    """

    name: str
    source: str
    divisor: float = 1.0
    absolute: bool = False


@dataclass(frozen=True)
class PointFormat:
    """A format of point files.

    Attributes:
        text: what it is written as.
        decoder: key of `decoders.DECODERS`.
        layout: the columns, in the order of a file without names.
        options: `dtype` of a file without names (`<f4`); `where` `COLUMN:VALUE`, the rows that are taken;
            `drop=invalid` leaves out points that are not finite or all zero; `intensity=tanh` squashes an
            intensity without bound; `tail=drop` leaves out bytes after the last whole point of a file without
            names.
    """

    text: str
    decoder: str
    layout: tuple[Column, ...]
    options: tuple[tuple[str, str], ...] = field(default=())

    @property
    def columns(self) -> tuple[str, ...]:
        """The standard columns that it gives."""
        return tuple(column.name for column in self.layout if column.name != _SKIPPED)

    @property
    def sources(self) -> tuple[str, ...]:
        """The names in the file of all of its columns, `_` for those that are skipped."""
        return tuple(column.source for column in self.layout)

    @property
    def intensity(self) -> float:
        """What stands for full intensity in a file: its range is 0 to this."""
        return next((column.divisor for column in self.layout if column.name == "intensity"), 1.0)

    def option(self, name: str) -> str:
        """The value of an option, "" if it is not set."""
        return dict(self.options).get(name, "")

    @property
    def point_bytes(self) -> int | None:
        """Bytes of a point in a file without names; None for the others."""
        return len(self.layout) * np.dtype(self.option("dtype") or "<f4").itemsize if self.bare else None

    @property
    def bare(self) -> bool:
        """It has no header: columns are told by their order."""
        return self.decoder == "bin"


FORMATS: dict[str, str] = {
    "nuscenes": "bin:x,y,z,intensity/255,ring",
    "kitti": "bin:x,y,z,intensity",
}
"""Formats by name."""


@lru_cache(maxsize=1024)
def point_format(text: str) -> PointFormat:
    """The format of a text.

    Raises:
        DataError: it is none; says which part.
    """
    spelt = FORMATS.get(text, text)
    decoder, colon, rest = spelt.partition(":")
    if not colon:
        fail(
            f"unknown LiDAR format {text!r}{did_you_mean(text, FORMATS)}",
            "lidar_format",
            f"use one of {sorted(FORMATS)}, or DECODER:COLUMN,... as pc3d.data.points.formats says",
        )
    columns, *options = rest.split(";")
    pairs = tuple((option.partition("=")[0], option.partition("=")[2]) for option in options)
    for name, value in pairs:
        if name not in _OPTIONS or not value:
            fail(f"unknown option {name!r} in the LiDAR format {text!r}", "lidar_format", f"use {_OPTIONS}")
    layout = tuple(_column(column, text) for column in columns.split(","))
    _check(layout, text)
    return PointFormat(text, decoder, layout, pairs)


def _column(text: str, whole: str) -> Column:
    found = _COLUMN.fullmatch(text.strip())
    name = found["name"] if found else text
    if found is None or (name != _SKIPPED and name not in COLUMNS):
        fail(
            f"{text!r} is no column in the LiDAR format {whole!r}{did_you_mean(name, COLUMNS)}",
            "lidar_format",
            f"write STANDARD[=SOURCE][*FACTOR or /DIVISOR][@]; standard: {', '.join(COLUMNS)}",
        )
    try:
        divisor = _divisor(found["scale"])
    except (ValueError, ZeroDivisionError):
        fail(f"{text!r} has no factor in the LiDAR format {whole!r}", "lidar_format", "write e.g. *1e-9")
    return Column(name, found["source"] or name, divisor, bool(found["absolute"]))


def _divisor(scale: str | None) -> float:
    if scale is None:
        return 1.0
    value = float(scale[1:]) if scale[0] == "/" else 1 / float(scale[1:])
    if not 0 < value < float("inf"):
        raise ValueError(scale)
    return value


def _check(layout: tuple[Column, ...], text: str) -> None:
    names = [column.name for column in layout if column.name != _SKIPPED]
    if not {"x", "y", "z"} <= set(names):
        fail(
            f"the LiDAR format {text!r} has no x, y, z", "lidar_format", "name the three, wherever they stand"
        )
    if len(set(names)) < len(names):
        fail(f"the LiDAR format {text!r} has a column twice", "lidar_format", "name each once")
