"""Signals end a run between two steps, never inside one.

While a run trains, SIGTERM, SIGUSR1 (Slurm's warning before the time limit) and SIGINT are noted, and the run
looks at them at its next step boundary. Elsewhere, before the first step or while the loader is waited for,
they raise `Stopped` at once.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from pc3d.engine.runs.exits import Stopped

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopRequests:
    """The signals that this process was sent.

    Attributes:
        number: the first signal, or None.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._deferred = 0
        self._installed = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again = self.number is not None
        self.number = self.number or int(number)
        if not self._deferred or (again and number == signal.SIGINT):
            raise Stopped(number)

    @contextmanager
    def installed(self) -> Iterator[StopRequests]:
        """Handle the signals in this block; in a thread, or inside such a block, nothing changes."""
        if self._installed or threading.current_thread() is not threading.main_thread():
            yield self
            return
        before: dict[int, Any] = {}
        self._installed, self.number = True, None
        try:
            for number in HANDLED:
                before[int(number)] = signal.signal(number, self._handle)
            yield self
        finally:
            for restored, handler in before.items():
                signal.signal(restored, handler if handler is not None else signal.SIG_DFL)
            self._installed, self.number = False, None

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Signals in this block are noted only; whoever opened it looks at `number`."""
        self._deferred += 1
        try:
            yield
        finally:
            self._deferred -= 1

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside `deferred`: a signal raises `Stopped`, as the block changes nothing."""
        deferred, self._deferred = self._deferred, 0
        try:
            if self.number is not None and deferred:
                raise Stopped(self.number)
            yield
        finally:
            self._deferred = deferred


STOPS = StopRequests()
"""Signals belong to the process, so there is one."""


def ignore_in_worker() -> None:
    """Data workers outlive a signal to the whole process group: the run ends them when it has saved."""
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)
    sys.excepthook = _unless_hung_up


def _unless_hung_up(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A run may stop while a tensor is handed over; errors of the data reach it in another way."""
    if not issubclass(kind, EOFError | ConnectionError):
        sys.__excepthook__(kind, error, trace)
