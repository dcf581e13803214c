"""Files that an index would name and that are not there or empty, by scene and sensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pc3d.data.errors import fail
from pc3d.data.records import Sweep
from pc3d.data.survey.file_use import FileUse
from pc3d.data.survey.listing import FolderListing, why_missing
from pc3d.findings import Finding

KEY_FRAMES, SWEEPS, LABELS = "LiDAR of key frames", "LiDAR of sweeps between", "label files"
_SHOWN, _SENSORS = 10, 5

Counts = dict[str, tuple[int, int]]
"""(missing, named) files of each sensor."""


def named_files(sweep: Sweep) -> Iterator[tuple[str, Path]]:
    """Sensor and path of each file of a sweep."""
    yield KEY_FRAMES if sweep.is_key_frame else SWEEPS, sweep.path
    for lidar in sweep.lidars:
        yield f"LiDAR {lidar.name}", lidar.path
    for camera in sweep.cameras:
        yield camera.name, camera.path
    if sweep.lidarseg_path is not None:
        yield LABELS, sweep.lidarseg_path


class MissingFiles:
    """Counts the files of one scene after the other.

    Attributes:
        incomplete: scenes with missing files. scenes: all that were looked at.
    """

    def __init__(self) -> None:
        self.incomplete = 0
        self.scenes = 0
        self._listing = FolderListing()
        self._total: Counts = {}
        self._cameras: set[str] = set()
        self._shown: dict[str, Counts] = {}
        self._first = ""
        self._use = FileUse()

    def complete(self, sweeps: Sequence[Sweep]) -> bool:
        """Whether all files of a scene are there."""
        counts: Counts = {}
        for sweep in sweeps:
            self._cameras.update(camera.name for camera in sweep.cameras)
            for sensor, path in named_files(sweep):
                there = self._listing.size(path) > 0
                _add(counts, sensor, not there, 1)
                if not (there or self._first):
                    self._first = f"{path} {why_missing(path)}"
        self._use.look(sweeps, [self._listing.size(sweep.path) for sweep in sweeps])
        self.scenes += 1
        for sensor, (missing, of) in counts.items():
            _add(self._total, sensor, missing, of)
        if not any(missing for missing, _ in counts.values()):
            return True
        self.incomplete += 1
        if len(self._shown) < _SHOWN:
            self._shown[sweeps[0].scene] = counts
        return False

    def refuse(self, root: Path) -> None:
        """Raise DataError where something is missing: what of which scene, and what can be left out."""
        missing, of = self._sum()
        if missing:
            what = (
                f"{missing} of {of} files are missing or empty, in {self.incomplete} of {self.scenes} scenes"
                f"; first: {self._first}"
            )
            fail(f"{what}\n{self._table()}", root, self._remedy())

    def tables_only(self) -> list[Finding]:
        """What is not there of an index that is made of tables alone."""
        missing, of = self._sum()
        text = f"{missing} of {of} files are not there ({_text(self._total, most=len(self._total))})"
        remedy = "extract them before anything is loaded, then index again without --tables-only"
        return [Finding("missing files", "warning" if missing else "ok", text, remedy)]

    def findings(self) -> list[Finding]:
        """Scenes that `--skip-missing` left out; files that are named twice, or too small."""
        if not self.incomplete:
            return self._use.findings()
        scenes = "; ".join(f"{scene}: {_text(counts)}" for scene, counts in self._shown.items())
        more = (
            f"; and {self.incomplete - len(self._shown)} more" if self.incomplete > len(self._shown) else ""
        )
        text = (
            f"{self.incomplete} of {self.scenes} scenes have missing files and were left out: {scenes}{more}"
            f"; first: {self._first}"
        )
        remedy = "extract their archives, then index again"
        return [Finding("missing files", "warning", text, remedy), *self._use.findings()]

    def _sum(self) -> tuple[int, int]:
        return sum(missing for missing, _ in self._total.values()), sum(of for _, of in self._total.values())

    def _table(self) -> str:
        lines = [f"  {scene}: {_text(counts)}" for scene, counts in self._shown.items()]
        if self.incomplete > len(lines):
            lines.append(f"  and {self.incomplete - len(lines)} scenes more")
        return "\n".join([*lines, f"  all scenes: {_text(self._total, most=len(self._total))}"])

    def _remedy(self) -> str:
        """Whole sensors that are not there can be left out by an option, else whole scenes."""
        absent = {sensor for sensor, (missing, of) in self._total.items() if missing == of}
        if KEY_FRAMES in absent:
            return (
                "no LiDAR file is there: check ROOT, and extract the archives with the points into it; "
                "--tables-only makes an index of the tables alone"
            )
        options = []
        if cameras := self._cameras & absent:
            left = sorted(self._cameras - cameras) or ["none"]
            options.append(f"--cameras {' '.join(left)}")
        options += ["--no-labels"] * (LABELS in absent) + ["--no-sweeps"] * (SWEEPS in absent)
        partly = any(0 < missing < of for missing, of in self._total.values())
        options += ["--skip-missing (leaves incomplete scenes out)"] * (partly or not options)
        return f"extract what is missing, or index without it: {' '.join(options)}"


def _add(counts: Counts, sensor: str, missing: int, of: int) -> None:
    before = counts.get(sensor, (0, 0))
    counts[sensor] = (before[0] + missing, before[1] + of)


def _text(counts: Counts, most: int = _SENSORS) -> str:
    """What is missing, of `most` sensors at most."""
    parts = [f"{sensor} {missing} of {of}" for sensor, (missing, of) in counts.items() if missing]
    more = f", and of {len(parts) - most} sensors more" if len(parts) > most else ""
    return ", ".join(parts[:most]) + more
