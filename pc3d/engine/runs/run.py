"""A run in its folder: who may write there, what it goes on from, and its end."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import Self

from pc3d.engine.runs.contract import LENGTH, Contract
from pc3d.engine.runs.folder import FINISHED, Start, begin, mark_finished
from pc3d.engine.runs.lock import RunLock
from pc3d.engine.runs.ranks import on_first, rank
from pc3d.engine.runs.signals import STOPS
from pc3d.engine.runs.store import CheckpointStore
from pc3d.storage import disk


@dataclass(frozen=True)
class Mode:
    """What a start does with what is in its folder.

    Attributes:
        resume: go on with it. overwrite: remove it; with both, go on where the settings are the same.
        allow_change: settings, or sections of them, that may differ when a run is resumed.
        take_over: take a folder from a run that holds its lock.
        part_of: folder of the run that this one is a stage of; once this stage has begun, that run is no
            longer finished.
    """

    resume: bool = False
    overwrite: bool = False
    allow_change: tuple[str, ...] = ()
    take_over: bool = False
    part_of: Path | None = None


class Run:
    """A context in which one run writes to its folder.

    Args:
        folder: of the run. contract: what the run is. mode: see `Mode`. keep: checkpoints that stay.

    Attributes:
        store: of the checkpoints. start: where the run begins, known inside the context.

    Raises:
        DataError: on entering, in every process: another run holds the folder, or `begin` refuses.
    """

    def __init__(self, folder: Path, contract: Contract, mode: Mode, keep: int = 2) -> None:
        self.folder, self.contract, self.mode = Path(folder), contract, mode
        self.store = CheckpointStore(folder, keep)
        self.start = Start()
        self._lock = RunLock(self.folder, mode.take_over)
        self._exit = ExitStack()

    @property
    def iterations(self) -> int:
        """Steps of the whole run."""
        return self.contract[LENGTH]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(STOPS.installed())
            self.start = on_first(lambda: self._begin(stack))
            self._exit = stack.pop_all()
        if rank() == 0:
            for note in self.start.notes:
                print(note, flush=True)
        return self

    def _begin(self, stack: ExitStack) -> Start:
        stack.enter_context(self._lock)
        mode = self.mode
        start = begin(self.store, self.contract, mode.resume, mode.overwrite, mode.allow_change)
        if mode.part_of is not None and not start.finished:
            disk.remove(mode.part_of / FINISHED)
        return start

    def __exit__(self, *error: object) -> None:
        self._exit.close()

    def check(self) -> None:
        """Refuse to write when another run has taken the folder over (first process).

        Raises:
            DataError: says whose it is now.
        """
        self._lock.check()

    def finish(self, files: Iterable[Path]) -> None:
        """Write the marker of a finished run (first process)."""
        self.check()
        mark_finished(self.folder, self.contract, self.iterations, files)
