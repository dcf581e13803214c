"""Files with the content of another: a sensor that stood still, a file that was copied over others."""

from __future__ import annotations

from pc3d.data.verify.notes import Notes
from pc3d.data.verify.opened import LIDAR, Opened

_MOVED = 0.5  # metres: a vehicle that stands sees the same, and a simulated one the very same
_KEPT = 4096


class Copies:
    """Compares the content of files within a scene, and the first points of scenes.

    Args:
        stated: the poses are those of a drive, so that they say whether it moved.
    """

    def __init__(self, stated: bool) -> None:
        self._stated = stated
        self._scene = ""
        self._seen: dict[str, dict[bytes, tuple[str, Opened]]] = {}
        self._starts: dict[bytes, str] = {}

    def look(self, opened: Opened, notes: Notes) -> None:
        """Look at the next sweep; those of a scene follow each other."""
        if opened.scene != self._scene:
            self._scene, self._seen = opened.scene, {}
            for sensor, _, content in opened.content:
                if sensor == LIDAR:
                    other = self._starts.setdefault(content, opened.scene)
                    where = f"{opened.scene} as {other}"
                    notes.look("copied scenes", other != opened.scene, where)
        for sensor, file, content in opened.content:
            seen = self._seen.setdefault(sensor, {})
            before = seen.setdefault(content, (file, opened))
            odd = before[0] != file and self._moved(before[1], opened, sensor)
            where = f"sweep {opened.token} as {before[1].token}"
            notes.look("copied files", odd, where, sensor)
            if len(seen) > _KEPT:
                del seen[next(iter(seen))]

    def _moved(self, one: Opened, other: Opened, sensor: str) -> bool:
        if not self._stated:
            return sensor == LIDAR  # no two scans of a real sensor are equal, a dark picture may be
        return sum((a - b) ** 2 for a, b in zip(one.position, other.position, strict=True)) > _MOVED**2
