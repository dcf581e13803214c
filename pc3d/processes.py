"""Worker processes that never outlive who started them; commands that end with one line when stopped.

A pool of the standard library leaves its workers waiting for ever where its process is killed, answers Ctrl-C
with a traceback of each, and waits for all that was handed out before an error comes through.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.synchronize import Event
from typing import NoReturn

GRACE = 30.0
"""Seconds that a worker has to end after SIGTERM: one that trains saves first."""
_NOT_STARTED = (
    "no worker process could start: each imports your script first, and that failed (above). Put what the "
    'script does under `if __name__ == "__main__":`'
)


@contextmanager
def worker_pool(
    workers: int, initializer: Callable[[], object] | None = None
) -> Iterator[ProcessPoolExecutor]:
    """A pool of spawned processes that end with this process, however it ends.

    They are spawned, not forked: a fork of a process with threads (a progress bar, torch, OpenMP) may hang.
    Ctrl-C, which a terminal sends to all of them, is left to this process. When an error or a signal leaves
    the block, what was handed out is given up and the workers are ended.

    Args:
        workers: processes, at least 1.
        initializer: called in each worker at its start.

    Raises:
        RuntimeError: no worker came to its start, as its import of the user's script failed.
        BrokenProcessPool: a worker was killed.
    """
    others = multiprocessing.active_children()
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    pool = ProcessPoolExecutor(workers, context, _start_worker, (started, initializer))
    try:
        yield pool
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        _end([child for child in multiprocessing.active_children() if child not in others])
        if isinstance(error, BrokenProcessPool) and not started.is_set():
            raise RuntimeError(_NOT_STARTED) from None
        raise
    pool.shutdown()


def _start_worker(started: Event, initializer: Callable[[], object] | None) -> None:
    started.set()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if initializer is not None:
        initializer()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _end(processes: list[multiprocessing.process.BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(GRACE)
        if process.is_alive():
            process.kill()


class Stopped(BaseException):
    """A signal asked the command to end; no `except Exception` takes it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def stopped_in_one_line(remark: str) -> Iterator[None]:
    """Turn SIGTERM and SIGINT (Ctrl-C) within the block into one line and exit code 143 or 130.

    Args:
        remark: what became of the work, and how to go on.
    """

    def stop(number: int, _: object) -> NoReturn:
        for one in before:
            signal.signal(one, signal.SIG_IGN)  # the end is not interrupted by a second one
        raise Stopped(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    except Stopped as stopped:
        print(f"stopped by {stopped}: {remark}", file=sys.stderr)
        sys.exit(128 + stopped.number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
