"""One writer per run folder: `RUN/run.lock` says who, and is there only while somebody writes.

The holder keeps a `flock` on the file and touches it every 20 s. Where the file system refuses `flock`, or it
may hold on one machine only (the holder is on another host), that sign of life decides: a run without one for
120 s is gone. The file appears whole and locked, by one `link` or `rename`, and is never written again. Who
takes it over puts another in its place, so that the former holder finds a nonce that is not its own.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from pc3d.data.errors import fail
from pc3d.engine.runs.lock_owner import Owner, RunLocked
from pc3d.storage.whole import partial_name

LOCK = "run.lock"
HEARTBEAT, STALE = 20.0, 120.0
"""Seconds between two signs of life, and without one until the holder counts as gone."""
SETTLE = 1.0
"""Seconds after which two that took the same stale file without `flock` see which of them has it."""

_REFUSED = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EBADF}
_HELD: set[RunLock] = set()


def file_time(folder: Path) -> float:
    """Now, by the clock that dates the files of a folder: a file server may have one of its own."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:  # one may look only
        return time.time()


class RunLock:
    """The right to write into a run folder, as a context manager.

    Args:
        folder: of the run; made if it is not there. take_over: take the lock from a run that holds it.
        clock: seconds, of a folder, as its files are dated.

    Attributes:
        taken_from: who held it, where it was taken over from a run that seemed alive.
    """

    def __init__(
        self, folder: Path, take_over: bool = False, clock: Callable[[Path], float] = file_time
    ) -> None:
        self.folder, self.take_over = Path(folder), take_over
        self.taken_from: Owner | None = None
        self._path = self.folder / LOCK
        self._clock = clock
        self._owner: Owner | None = None
        self._file = -1
        self._ended = threading.Event()

    def __enter__(self) -> RunLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> Owner | None:
        """Take the lock.

        Returns:
            Who held it, where it was taken over from a run that seemed alive.

        Raises:
            RunLocked: another run holds it.
            DataError: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._acquire()
        except (PermissionError, FileExistsError, NotADirectoryError) as error:
            remedy = "give this user the right to write there, or name another --work-dir"
            fail(f"the run folder cannot be written: {error.strerror}", self.folder, remedy)
        self._ended = threading.Event()
        threading.Thread(target=self._beat, args=(self._file, self._ended), daemon=True).start()
        return self.taken_from

    def check(self) -> None:
        """Make sure that the lock is still this run's; to be called before each save.

        Raises:
            RunLocked: another run has taken it over, or the file is gone. Nothing may be written any more.
        """
        now = _read(self._path)
        if self._owner is None or now is None or now.nonce != self._owner.nonce:
            self._ended.set()
            raise RunLocked.lost(self.folder, now)

    def release(self) -> None:
        """Give the lock back; a copy of this object in a forked process gives nothing back."""
        if self not in _HELD:
            return
        _HELD.discard(self)
        self._ended.set()
        with contextlib.suppress(OSError):
            now = _read(self._path)
            if now is not None and self._owner is not None and now.nonce == self._owner.nonce:
                self._path.unlink()  # still locked: whoever has opened it finds another file, or none
        os.close(self._file)
        self._owner = None

    def _acquire(self) -> None:
        for attempt in range(20):
            before = _open(self._path)
            try:
                if before is None:
                    done = self._publish(None)
                else:
                    state = _flock(before)
                    if state is not False and not _is_named(before, self._path):
                        continue  # another one was quicker, or it was just given back
                    if state is False and attempt < 3 and not self.take_over:
                        time.sleep(0.1)  # a look at the file locks it for an instant, too
                        continue
                    self._judge(before, state)
                    done = self._publish(before)
            finally:
                if before is not None:
                    os.close(before)
            if done:
                return
        raise RunLocked.held(self.folder, _read(self._path), None)

    def _judge(self, file: int, state: bool | None) -> None:
        """Refuse, or note whose lock it is that is taken over."""
        owner, age = _read(file), self._clock(self.folder) - os.fstat(file).st_mtime
        if _alive(owner, age, state):
            if not self.take_over:
                raise RunLocked.held(self.folder, owner, age)
            self.taken_from = owner

    def _publish(self, before: int | None) -> bool:
        """Put a lock file of our own in the place of the one before; False where another one was quicker."""
        unfinished = partial_name(self._path)
        file = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        owner = replace(Owner.here(), flock=_flock(file) is True)
        try:
            os.write(file, owner.to_json().encode())
            exclusive = False
            if before is None:
                exclusive = _link(unfinished, self._path)
                if not exclusive and self._path.exists():
                    return False
            if not exclusive:
                os.replace(unfinished, self._path)
            self._owner, self._file = owner, file
            _HELD.add(self)
            file = -1
        finally:
            with contextlib.suppress(FileNotFoundError):
                unfinished.unlink()
            if file >= 0:
                os.close(file)
        if not owner.flock and not exclusive:
            time.sleep(SETTLE)
        try:
            self.check()
        except RunLocked:
            self.release()
            raise
        return True

    def _beat(self, file: int, ended: threading.Event) -> None:
        """Touch our own file, not whatever bears its name, until the lock is given back or lost."""
        while not ended.wait(HEARTBEAT):
            with contextlib.suppress(OSError):  # a file server that is away: `check` looks before each save
                os.utime(file)

    def _forget(self) -> None:
        os.close(self._file)
        self._owner = None


def _forget_in_child() -> None:
    """Close the locks' files in a forked process.

    `flock` belongs to the open file, which data workers share: one that outlives a killed run by seconds
    would keep its lock. POSIX locks (`lockf`) are not shared, but end when the process closes any file of
    that name, as each look at the holder does, and they let the same process lock twice. So: `flock`, and no
    worker keeps the file. Closing it there does not end the lock.
    """
    for lock in _HELD:
        lock._forget()
    _HELD.clear()


os.register_at_fork(after_in_child=_forget_in_child)


def holder(folder: Path, clock: Callable[[Path], float] = file_time) -> Owner | None:
    """Who writes into a run folder just now, or None; nothing is changed.

    Raises:
        OSError: the folder cannot be looked into.
    """
    file = _open(Path(folder) / LOCK)
    if file is None:
        return None
    try:
        state = _flock(file)
        owner, age = _read(file), clock(Path(folder)) - os.fstat(file).st_mtime
        return (owner or Owner.unknown()) if _alive(owner, age, state) else None
    finally:
        os.close(file)


def _alive(owner: Owner | None, age: float, locked: bool | None) -> bool:
    """Whether a lock is held.

    Args:
        owner: None for a file that cannot be read. age: seconds since the last sign of life.
        locked: whether we have its `flock` now; None where the file system refuses it.
    """
    if locked is False:
        return True
    if age > STALE:
        return False
    if owner is None:
        return locked is None
    if owner.is_of_this_machine():
        return not (locked and owner.flock) and owner.may_be_running()
    return True


def _open(path: Path) -> int | None:
    for mode in (os.O_RDWR, os.O_RDONLY):  # the file may be of another user
        try:
            return os.open(path, mode | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except PermissionError:
            continue
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def _flock(file: int) -> bool | None:
    """Lock an open file: True if we have it, False if another one has, None where that is not supported."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _REFUSED:
            return None
        raise
    return True


def _is_named(file: int, path: Path) -> bool:
    """Whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except OSError:
        return False


def _link(source: Path, target: Path) -> bool:
    """Give a file a second name if nothing has it; False also where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        return False
    return True


def _read(file: Path | int) -> Owner | None:
    """Whose lock a file is: opened anew, because a network file system then asks its server."""
    try:
        data = os.pread(file, 1 << 16, 0) if isinstance(file, int) else file.read_bytes()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
            return None
        raise
    return Owner.from_json(data)
