"""Files that an index would name and that are not there or empty, by scene and sensor."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

from pc3d.data.errors import fail
from pc3d.data.records import Sweep
from pc3d.data.survey.tally import Tally
from pc3d.findings import Finding

KEY_FRAMES, SWEEPS, LABELS = "LiDAR of key frames", "LiDAR of sweeps between", "label files"
_SHOWN = 10

Counts = dict[str, tuple[int, int]]
"""(missing, named) files of each sensor."""


class FolderListing:
    """Whether files are there and hold something; a folder is listed once, because on a network disk a look
    at each file is a round trip.

    A listing holds 8 bytes a file (hashes of names), of the `folders` that were asked for last.
    """

    def __init__(self, folders: int = 256) -> None:
        self._folders = folders
        self._names: OrderedDict[str, array[int] | None] = OrderedDict()

    def holds(self, path: Path) -> bool:
        """Whether a file, or what its link leads to, has content."""
        folder, _, name = os.fspath(path).rpartition("/")
        names = self._listed(folder)
        if names is None:
            return False
        wanted = hash(name)
        at = bisect_left(names, wanted)
        if at < len(names) and names[at] == wanted:
            return True
        try:  # a file system may know the name in another spelling, or not let the folder be listed
            return os.path.isfile(path) and os.path.getsize(path) > 0
        except OSError:
            return False

    def _listed(self, folder: str) -> array[int] | None:
        """Sorted hashes of the names of files that are not empty; None: there is no such folder."""
        if folder in self._names:
            self._names.move_to_end(folder)
            return self._names[folder]
        try:
            with os.scandir(folder) as entries:
                found = sorted(hash(entry.name) for entry in entries if _has_content(entry))
                names: array[int] | None = array("q", found)
        except (FileNotFoundError, NotADirectoryError):
            names = None
        except OSError:
            names = array("q")
        self._names[folder] = names
        if len(self._names) > self._folders:
            self._names.popitem(last=False)
        return names


def _has_content(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file() and entry.stat().st_size > 0
    except OSError:
        return False


def named_files(sweep: Sweep) -> Iterator[tuple[str, Path]]:
    """Sensor and path of each file of a sweep."""
    yield KEY_FRAMES if sweep.is_key_frame else SWEEPS, sweep.path
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
        self._shared = Tally()

    def complete(self, sweeps: Sequence[Sweep]) -> bool:
        """Whether all files of a scene are there."""
        counts: Counts = {}
        for sweep in sweeps:
            self._cameras.update(camera.name for camera in sweep.cameras)
            for sensor, path in named_files(sweep):
                _add(counts, sensor, not self._listing.holds(path), 1)
        self._look_for_shared(sweeps)
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
            )
            fail(f"{what}\n{self._table()}", root, self._remedy())

    def _look_for_shared(self, sweeps: Sequence[Sweep]) -> None:
        paths: set[Path] = set()
        for sweep in sweeps:
            self._shared.look(sweep.path in paths, f"{sweep.path.name} of sweep {sweep.token}")
            paths.add(sweep.path)

    def findings(self) -> list[Finding]:
        """Scenes that `--skip-missing` left out; sweeps with the points of another one."""
        remedy = "correct the file names in the tables"
        shared = self._shared.finding(
            "shared files", "warning", "sweeps have the file of another in their scene", remedy
        )
        if not self.incomplete:
            return shared
        scenes = "; ".join(f"{scene}: {_text(counts)}" for scene, counts in self._shown.items())
        more = (
            f"; and {self.incomplete - len(self._shown)} more" if self.incomplete > len(self._shown) else ""
        )
        text = (
            f"{self.incomplete} of {self.scenes} scenes have missing files and were left out: {scenes}{more}"
        )
        remedy = "extract their archives, then index again"
        return [Finding("missing files", "warning", text, remedy), *shared]

    def _sum(self) -> tuple[int, int]:
        return sum(missing for missing, _ in self._total.values()), sum(of for _, of in self._total.values())

    def _table(self) -> str:
        lines = [f"  {scene}: {_text(counts)}" for scene, counts in self._shown.items()]
        if self.incomplete > len(lines):
            lines.append(f"  and {self.incomplete - len(lines)} scenes more")
        return "\n".join([*lines, f"  all scenes: {_text(self._total)}"])

    def _remedy(self) -> str:
        """Whole sensors that are not there can be left out by an option, else whole scenes."""
        absent = {sensor for sensor, (missing, of) in self._total.items() if missing == of}
        if KEY_FRAMES in absent:
            return "no LiDAR file is there: check ROOT, and extract the archives with samples/ into it"
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


def _text(counts: Counts) -> str:
    return ", ".join(f"{sensor} {missing} of {of}" for sensor, (missing, of) in counts.items() if missing)
