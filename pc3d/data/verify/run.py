"""An index, verified: scenes pass by here, and their files are opened by several processes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from statistics import median

from pc3d.data.calibration import calibration_findings
from pc3d.data.classes import ClassSet
from pc3d.data.errors import DataError, did_you_mean, fail
from pc3d.data.index import SweepIndex
from pc3d.data.records import Sweep
from pc3d.data.survey import Look
from pc3d.data.survey.cameras import Cameras
from pc3d.data.survey.classes import BoxCategories
from pc3d.data.survey.heading import Heading
from pc3d.data.survey.key_frames import KeyFrames
from pc3d.data.survey.labels import Unlabelled
from pc3d.data.survey.poses import NO_POSES, Poses
from pc3d.data.survey.times import Times
from pc3d.data.verify.copies import Copies
from pc3d.data.verify.drives import Motion, Mounts, Objects, SharedFiles
from pc3d.data.verify.notes import Notes
from pc3d.data.verify.opened import LIDAR, Opened, open_sweep
from pc3d.data.verify.orphans import OrphanLabels
from pc3d.data.verify.report import Verification
from pc3d.findings import Finding
from pc3d.processes import worker_pool

PIECE = 4096
"""Sweeps of a scene that are looked at side by side; longer scenes pass in pieces that overlap by one."""
CHUNK = 16
"""Sweeps that a process opens at a time."""
_AHEAD = 4
_FEW = 5  # sweeps that say what is usual
_SMALL, _SMALLER = 0.5, 0.2


def verify_index(
    index: SweepIndex,
    *,
    workers: int = 1,
    split: str | None = None,
    every: int = 1,
    calibration: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Look at everything that an index names.

    Args:
        workers: processes that open files; 1 opens them in this one.
        split: only its sweeps.
        every: open the files of every so many sweeps of a scene only.
        calibration: compare scans with images, too.
        progress: called with the sweeps that passed, and how many there are.

    Raises:
        DataError: the index is damaged; there is no such split.
        ImportError: a package that reads the files is not installed.
    """
    if workers < 1 or every < 1:
        raise ValueError(f"workers is {workers} and every {every}, expected at least 1")
    splits = set(index.splits)
    if split is not None and split not in splits:
        near = did_you_mean(split, splits)
        fail(f"no key frame is in split {split!r}{near}", index.folder, f"use one of {sorted(splits)}")
    start, run = time.monotonic(), _Run(index, split, every)
    for passed in run.pass_by(workers):
        if progress is not None:
            progress(passed, len(index))
    findings = run.findings()
    if calibration:
        findings += _calibration(index)
    return Verification(
        index=str(index.folder),
        root=str(index.root),
        fingerprint=index.fingerprint,
        sweeps=run.sweeps,
        opened=run.opened,
        files=run.files,
        seconds=round(time.monotonic() - start, 1),
        findings=tuple(findings),
        places=run.notes.places(),
    )


class _Run:
    """The state of one verification."""

    def __init__(self, index: SweepIndex, split: str | None, every: int) -> None:
        self._index, self._split, self._every = index, split, every
        self._classes = ClassSet.of(index.metadata)
        notes = index.metadata.get("notes", ())
        stated = not any(str(note).startswith(NO_POSES) for note in notes)
        self._looks: list[Look] = [
            Times(),
            Poses(stated),
            Heading(),
            Motion(),
            Mounts(),
            Cameras(),
            BoxCategories(self._classes),
            KeyFrames(),
            Objects(),
            Unlabelled(False),
            SharedFiles(),
        ]
        self._orphans = OrphanLabels()
        self._copies = Copies(stated)
        self.notes = Notes()
        self.sweeps = self.opened = self.files = 0

    def pass_by(self, workers: int) -> Iterator[int]:
        """Look at all sweeps; gives how many have passed, again and again."""
        if workers == 1:
            look = _FileLook(self._index)
            for passed, rows in self._chunks():
                self._take(*look.open(rows))
                yield passed
            return
        pending: deque[tuple[int, Future[tuple[list[Opened], Notes]]]] = deque()
        with worker_pool(workers, partial(_start, self._index.folder, self._index.root)) as pool:
            for passed, rows in self._chunks():
                pending.append((passed, pool.submit(_open, rows)))
                while len(pending) > _AHEAD * workers:
                    yield self._taken(pending.popleft())
            while pending:
                yield self._taken(pending.popleft())

    def _taken(self, done: tuple[int, Future[tuple[list[Opened], Notes]]]) -> int:
        self._take(*done[1].result())
        return done[0]

    def _take(self, opened: Sequence[Opened], notes: Notes) -> None:
        self.notes.add(notes)
        self.opened += len(opened)
        for one in opened:
            self.files += len(one.content)
            self._copies.look(one, self.notes)

    def _chunks(self) -> Iterator[tuple[int, list[int]]]:
        """The rows that passed, and rows whose files are to be opened; they were looked at side by side."""
        row = 0
        while row < len(self._index):
            scene = self._index.scene_rows(row)
            for first in range(scene.start, scene.stop, PIECE):
                # One more at the start: the step from the piece before is looked at, too.
                rows = range(max(scene.start, first - 1), min(first + PIECE, scene.stop))
                wanted = [(n, sweep) for n in rows if self._fits(sweep := self._index[n])]
                if wanted:
                    self._side_by_side([sweep for _, sweep in wanted])
                opened = [n for n, _ in wanted if n >= first and (n - scene.start) % self._every == 0]
                self.sweeps += sum(n >= first for n, _ in wanted)
                for at in range(0, len(opened), CHUNK):
                    chunk = opened[at : at + CHUNK]
                    yield chunk[-1] + 1, chunk
            row = scene.stop
            yield row, []

    def _fits(self, sweep: Sweep) -> bool:
        return self._split is None or sweep.split == self._split

    def _side_by_side(self, sweeps: list[Sweep]) -> None:
        for look in self._looks:
            look.look(sweeps)
        self._orphans.look(sweeps)

    def findings(self) -> list[Finding]:
        found = [finding for look in self._looks for finding in look.findings()]
        # The labels of other splits lie in the same folders.
        found += self._orphans.findings() if self._split is None else []
        return found + self.notes.findings(self._classes)


class _FileLook:
    """Opens the files of rows of an index."""

    def __init__(self, index: SweepIndex) -> None:
        self._index, self._classes = index, ClassSet.of(index.metadata)

    def open(self, rows: Sequence[int]) -> tuple[list[Opened], Notes]:
        notes = Notes()
        opened = [open_sweep(self._index[row], self._classes, notes) for row in rows]
        for sensor in sorted({sensor for one in opened for sensor in one.points}):
            counts = [one.points[sensor] for one in opened if sensor in one.points]
            usual = median(counts) if len(counts) >= _FEW else 0
            # What further LiDARs see is close by, and comes and goes.
            least = usual * (_SMALL if sensor == LIDAR else _SMALLER)
            for one in opened:
                count = one.points.get(sensor, 0)
                where = f"{count} points where {usual:.0f} are usual, sweep {one.token}"
                notes.look("few points", 0 < count < least, where, "" if sensor == LIDAR else sensor)
        return opened, notes


_LOOK: _FileLook | None = None


def _start(folder: Path, root: Path) -> None:
    global _LOOK
    _LOOK = _FileLook(SweepIndex.open(folder, root))


def _open(rows: Sequence[int]) -> tuple[list[Opened], Notes]:
    assert _LOOK is not None  # `_start` ran before
    return _LOOK.open(rows)


def _calibration(index: SweepIndex) -> list[Finding]:
    try:
        return calibration_findings(index)
    except DataError as error:  # of a damaged file, which was found before
        what = " ".join(str(error).split())
        return [Finding("calibration", "warning", f"it could not be looked at: {what}", "mend the file")]
