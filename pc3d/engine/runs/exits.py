"""How a run ends before its end, and the exit code of each kind."""

from __future__ import annotations

import errno
import re
import signal

OK, BAD_INPUT, NOT_FINITE, DISK = 0, 2, 3, 74
"""Exit codes; 74 is `EX_IOERR`. A signal ends a run with 128 + its number: 130, 138, 143."""

_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EROFS}
_SHM = "their shared memory is used up: give /dev/shm more (docker run --shm-size=8g)"
_KILLED = "most often it is killed for want of memory: take less `data.workers` or `data.batch_size`"


class Stopped(KeyboardInterrupt):
    """A signal has ended the run; what it had done is saved.

    Attributes:
        signal: its number. message: what a person is told.
    """

    def __init__(self, number: int, message: str = "") -> None:
        super().__init__(message)
        self.signal = number
        self.message = message or f"stopped by {signal.Signals(number).name}"

    @property
    def code(self) -> int:
        """Exit code of the process."""
        return 128 + self.signal


class NotFinite(FloatingPointError):
    """Losses, gradients or weights are not finite, and the run cannot go on."""


def is_disk_error(error: BaseException) -> bool:
    """Whether the disk is full, read-only or broken."""
    return isinstance(error, OSError) and error.errno in _DISK_ERRORS


def disk_message(error: OSError) -> str:
    """What a person reads of a disk that takes no more."""
    where = error.filename or "the output folder"
    return (
        f"the disk takes no more: {error.strerror}\n  where: {where}\n"
        "  remedy: make room and start it again, a training run with --resume: what was whole is untouched"
    )


def worker_message(error: BaseException) -> str | None:
    """What a person reads when a data worker died; None for any other error.

    torch raises plain `RuntimeError`s for that, which only their text tells apart.
    """
    text = str(error)
    if not isinstance(error, RuntimeError | OSError):
        return None
    killed = re.search(r"DataLoader worker \(pid\(?s?\)? ([\d, ]+)\)", text)
    memory = re.search(r"unable to \w+ .*(shared memory|torch_)|Bus error|shared memory", text)
    if killed is None and memory is None:
        return None
    who = f"data worker {killed[1].strip()}" if killed else "a data worker"
    return (
        f"{who} ended unexpectedly\n  where: the data loader\n"
        f"  remedy: {_SHM if memory else _KILLED}; `data.workers=0` reads without workers. Then go on with "
        "--resume"
    )
