"""The LiDAR format of a completed LiDAR entry."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pc3d.data.points.formats import COLUMNS
from pc3d.data.readers.folder.description import SECONDS, UNITS, LidarEntry


def lidar_format_of(
    entry: LidarEntry, decoder: str, raw: Mapping[str, NDArray], sources: Mapping[str, str]
) -> str:
    """The LiDAR format of the files of a LiDAR, `PointFormat.text`.

    Args:
        entry: with nothing left open but the mount.
        decoder: of its files. raw: columns of one. sources: name in the file by standard column.
    """
    scale = UNITS[entry.units or "m"]
    bare = decoder == "bin" or all(name.isdigit() for name in raw)
    columns = []
    for name in _ordered(entry, raw, sources) if bare else [n for n in COLUMNS if n in sources]:
        if name == "_" or name not in sources:
            columns.append("_")
            continue
        divisor = {"intensity": entry.intensity or 1.0, **dict.fromkeys("xyz", scale)}.get(name, 1.0)
        text = name if bare or sources[name] == name else f"{name}={sources[name]}"
        if name == "time" and entry.time is not None:
            divisor = SECONDS[entry.time[0]]
        text += "" if divisor == 1 else f"/{divisor:.17g}"
        columns.append(text + "@" * (name == "time" and entry.time is not None and entry.time[1] == "1970"))
    options = ""
    if decoder == "bin" and np.dtype(entry.dtype) != np.dtype("<f4"):
        options += f";dtype={entry.dtype}"
    # Rays without an echo may come in any scan, not only in the one that was looked at.
    return f"{decoder}:{','.join(columns)}{options};drop=invalid"


def _ordered(entry: LidarEntry, raw: Mapping[str, NDArray], sources: Mapping[str, str]) -> list[str]:
    """The standard columns in the order of a file without names, `_` for the others."""
    if isinstance(entry.columns, tuple):
        return list(entry.columns)
    back = {source: name for name, source in sources.items()}
    return [back.get(name, "_") for name in raw]
