"""Boxes of a scan in a text file: `x y z length width height yaw category [track]`, or a CSV with names."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from pc3d.data.errors import fail
from pc3d.data.readers.text_files import read_lines
from pc3d.data.records import Boxes, Float64
from pc3d.geometry.rigid import transform_points

_NAMES = {
    **{name: (name, f"center_{name}", f"c{name}", f"center.{name}") for name in "xyz"},
    "length": ("length", "l", "dx", "length_m"),
    "width": ("width", "w", "dy", "width_m"),
    "height": ("height", "h", "dz", "height_m"),
    "yaw": ("yaw", "heading", "rotation_z", "rz"),
    "category": ("category", "class", "label", "name", "type"),
    "track": ("track", "track_id", "object_id", "instance", "uuid", "id"),
    "vx": ("vx", "velocity_x"),
    "vy": ("vy", "velocity_y"),
    "points": ("points", "num_points", "num_lidar_pts"),
}
_ORDER = ("x", "y", "z", "length", "width", "height", "yaw", "category", "track")
_NEEDED = _ORDER[:8]
_TURN = 2 * math.pi + 0.1
_REMEDY = f"write {' '.join(_NEEDED)} [track] a line, or a CSV that names them"


def read_boxes(path: Path, lidar_SE3_boxes: Float64) -> Boxes:
    """The boxes of a file in the LiDAR frame.

    Args:
        lidar_SE3_boxes: (4, 4) from the frame that they are written in; headings turn as seen from above.

    Raises:
        DataError: a line has other entries, or numbers that are no box.
    """
    rows = [line.strip() for line in read_lines(path, "boxes", _REMEDY)]
    rows = [row for row in rows if row and not row.startswith("#")]
    found = [_entry(row, path) for row in _with_names(rows, path)]
    numbers = np.array([[entry[name] for name in _ORDER[:7]] for entry in found], dtype=np.float64).reshape(
        -1, 7
    )
    if (turned := np.abs(numbers[:, 6])).size and turned.max() > _TURN:
        fail(f"yaw of a box is {turned.max():g}, more than a turn in radians", path, "write radians")
    heading = np.stack([np.cos(numbers[:, 6]), np.sin(numbers[:, 6]), np.zeros(len(found))], axis=1)
    heading = heading @ lidar_SE3_boxes[:3, :3].T
    speed = np.array([[entry["vx"], entry["vy"], 0.0] for entry in found]).reshape(-1, 3)
    try:
        return Boxes(
            centers=transform_points(lidar_SE3_boxes, numbers[:, :3]),
            sizes=numbers[:, 3:6],
            yaws=np.arctan2(heading[:, 1], heading[:, 0]),
            velocities=(speed @ lidar_SE3_boxes[:3, :3].T)[:, :2],
            names=tuple(str(entry["category"]) for entry in found),
            tracks=tuple(str(entry["track"]) for entry in found),
            num_lidar_pts=np.array([entry["points"] for entry in found], dtype=np.float64).astype(np.int64),
            attributes=("",) * len(found),
        )
    except ValueError as error:
        fail(f"boxes are wrong: {error}", path, _REMEDY)


def _with_names(rows: list[str], path: Path) -> list[dict[str, str]]:
    if not rows:
        return []
    known = {alias: name for name, aliases in _NAMES.items() for alias in aliases}
    separator = next((mark for mark in ",;\t" if mark in rows[0]), None)
    head = [word.strip().strip('"').lower() for word in rows[0].split(separator)]
    names, rest = _once([known.get(word, "") for word in head], head, path), rows[1:]
    if not {"x", "y", "z"} <= set(names):
        names, rest = list(_ORDER), rows
    elif missing := [name for name in _NEEDED if name not in names]:
        fail(f"the first line does not name {', '.join(missing)}", path, _REMEDY)
    found = []
    for row in rest:
        words = [word.strip().strip('"') for word in row.split(separator)]
        if not 8 <= len(words) <= len(names):
            fail(f"the line {row[:60]!r} has {len(words)} entries", path, _REMEDY)
        if separator is None and names == list(_ORDER) and len(words) == 9 and not _is_track(words[8]):
            fail(
                f"the line {row[:60]!r} ends on {words[7]!r} and {words[8]!r}: a category of two words?",
                path,
                "write the category in one word, or commas between entries; a track has a digit",
            )
        found.append({name: word for name, word in zip(names, words, strict=False) if name})
    return found


def _once(names: list[str], head: list[str], path: Path) -> list[str]:
    """Each meaning once; of several names of tracks the first of `_NAMES` counts: row numbers are ids too."""
    for name in _NAMES:
        at = [n for n, one in enumerate(names) if one == name]
        if len(at) > 1 and name != "track":
            fail(f"columns of one meaning: {', '.join(head[n] for n in at)}", path, "leave one")
        best = min(at, key=lambda n: _NAMES[name].index(head[n]), default=0)
        names = ["" if n in at and n != best else one for n, one in enumerate(names)]
    return names


def _is_track(word: str) -> bool:
    return any(letter.isdigit() for letter in word) or word in ("-", '""')


def _entry(row: dict[str, str], path: Path) -> dict[str, float | str]:
    entry: dict[str, float | str] = {"track": "", "vx": math.nan, "vy": math.nan, "points": -1.0}
    for name, word in row.items():
        if name in ("category", "track"):
            entry[name] = word
            continue
        try:
            entry[name] = float(word)
        except ValueError:
            fail(f"{name} of a box is {word!r}, expected a number", path, _REMEDY)
    if not entry.get("category"):
        fail("a box has no category", path, _REMEDY)
    return entry
