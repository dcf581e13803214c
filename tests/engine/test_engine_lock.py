"""One writer per run folder."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from pc3d.data.errors import DataError
from pc3d.engine.runs import lock
from pc3d.engine.runs.lock import LOCK, STALE, RunLock, holder
from pc3d.engine.runs.lock_owner import Owner, RunLocked

HOLD = """
import os, sys, time
from pathlib import Path
from pc3d.engine.runs.lock import RunLock
with RunLock(Path(sys.argv[1])) as lock:
    if len(sys.argv) > 2 and os.fork() == 0:  # as a data worker
        os.close(0), os.close(1)
        time.sleep(30)
        os._exit(0)
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def process(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its standard input is closed."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), *arguments], start_new_session=True, **pipes
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        yield child
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def write_owner(folder: Path, age: float = 0.0, **changes: object) -> None:
    """A lock file of a process that is not there to hold its flock."""
    facts = {**json.loads(Owner.here().to_json()), **changes}
    (folder / LOCK).write_text(json.dumps(facts))
    then = time.time() - age
    os.utime(folder / LOCK, (then, then))


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system without locks."""
    monkeypatch.setattr(lock, "SETTLE", 0.05)

    def refuse(file: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_two_processes(tmp_path: Path) -> None:
    folder = tmp_path / "work" / "run"
    with process(folder) as other:
        with pytest.raises(RunLocked, match="--take-over") as caught:
            RunLock(folder).acquire()
        assert f"process {other.pid} of " in str(caught.value)
        assert str(folder) in str(caught.value)
        assert "last sign of life 0 s ago" in str(caught.value)
        assert caught.value.owner is not None
        assert holder(folder) == caught.value.owner
        assert str(tmp_path) not in (folder / LOCK).read_text()
        other.communicate("")
    assert list(folder.iterdir()) == []
    with RunLock(folder) as mine:
        mine.check()
    assert holder(folder) is None
    assert list(folder.iterdir()) == []


def test_a_killed_holder_is_gone_at_once_though_its_worker_lives(tmp_path: Path) -> None:
    with process(tmp_path, "fork") as other:
        with pytest.raises(RunLocked):
            RunLock(tmp_path).acquire()
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        os.killpg(other.pid, 0)  # the worker is still there
        assert holder(tmp_path) is None
        with RunLock(tmp_path) as mine:
            assert mine.taken_from is None


def test_a_fork_gives_nothing_back(tmp_path: Path) -> None:
    with RunLock(tmp_path) as mine:
        child = os.fork()
        if child == 0:
            mine.release()
            os._exit(0 if (tmp_path / LOCK).exists() else 1)
        assert os.waitpid(child, 0)[1] == 0
        mine.check()
        with pytest.raises(RunLocked):
            RunLock(tmp_path).acquire()


def test_taken_over(tmp_path: Path) -> None:
    first = RunLock(tmp_path)
    assert first.acquire() is None
    second = RunLock(tmp_path, take_over=True)
    former = second.acquire()
    assert former is not None
    assert former.pid == os.getpid()
    second.check()
    with pytest.raises(RunLocked, match="taken over by process"):
        first.check()
    first.release()  # leaves the other's file
    second.check()
    with pytest.raises(RunLocked):
        RunLock(tmp_path).acquire()
    second.release()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_file_that_is_removed_is_noticed(tmp_path: Path) -> None:
    with RunLock(tmp_path) as mine:
        (tmp_path / LOCK).unlink()
        with pytest.raises(RunLocked, match="is gone"):
            mine.check()


def test_a_moved_folder_can_be_locked_under_its_new_name(tmp_path: Path) -> None:
    RunLock(tmp_path / "a").acquire()
    (tmp_path / "a").rename(tmp_path / "b")
    with pytest.raises(RunLocked):
        RunLock(tmp_path / "b").acquire()


@pytest.mark.parametrize(
    ("changes", "age", "held"),
    [
        ({"host": "elsewhere"}, 0, True),
        ({"host": "elsewhere"}, STALE - 10, True),
        ({"host": "elsewhere"}, STALE + 10, False),
        ({"boot": "before"}, 0, False),
        ({"pid": 2**22 + 1}, 0, False),  # beyond any process number
        ({"flock": True}, 0, False),  # it has died: its flock would be held; the number is another's now
        ({}, 0, True),  # held on a file system without flock
        ({}, STALE + 10, False),
        ({"pid": 2**22 + 1, "pid_namespace": "pid:[1]"}, 0, True),  # in another container
    ],
)
def test_who_is_alive(tmp_path: Path, changes: dict[str, object], age: float, held: bool) -> None:
    write_owner(tmp_path, age, **changes)
    assert (holder(tmp_path) is not None) == held
    if held:
        with pytest.raises(RunLocked):
            RunLock(tmp_path).acquire()
        with RunLock(tmp_path, take_over=True) as mine:
            assert mine.taken_from is not None
    else:
        with RunLock(tmp_path) as mine:
            mine.check()


def test_the_clock_of_the_folder_counts(tmp_path: Path) -> None:
    write_owner(tmp_path, host="elsewhere")
    later: Callable[[Path], float] = lambda folder: time.time() + STALE + 1  # noqa: E731
    assert holder(tmp_path) is not None
    assert holder(tmp_path, later) is None
    with RunLock(tmp_path, clock=later) as mine:
        assert mine.taken_from is None


@pytest.mark.usefixtures("no_flock")
class TestWithoutFlock:
    def test_the_heartbeat_decides(self, tmp_path: Path) -> None:
        with RunLock(tmp_path):
            assert not json.loads((tmp_path / LOCK).read_text())["flock"]
            with pytest.raises(RunLocked):
                RunLock(tmp_path).acquire()
            old = time.time() - STALE - 10
            os.utime(tmp_path / LOCK, (old, old))
            with RunLock(tmp_path) as second:
                second.check()

    def test_a_process_that_is_gone(self, tmp_path: Path) -> None:
        child = subprocess.Popen(["true"])
        child.wait()
        write_owner(tmp_path, pid=child.pid)
        with RunLock(tmp_path) as mine:
            mine.check()

    def test_a_file_that_nobody_can_read(self, tmp_path: Path) -> None:
        (tmp_path / LOCK).write_text("{")
        with pytest.raises(RunLocked, match="cannot be named"):
            RunLock(tmp_path).acquire()

    def test_one_of_many_gets_it(self, tmp_path: Path) -> None:
        assert race(tmp_path) == 1
        write_owner(tmp_path, STALE + 10, host="elsewhere")
        assert race(tmp_path) <= 1  # who took it over last has it; the others see so


def test_one_of_many_gets_it(tmp_path: Path) -> None:
    for _ in range(4):
        assert race(tmp_path) == 1
        write_owner(tmp_path, STALE + 10, host="elsewhere")
        assert race(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def race(folder: Path) -> int:
    """How many of eight that start at once hold the lock, after all have tried."""
    start, locks = threading.Barrier(8), [RunLock(folder) for _ in range(8)]
    won: list[RunLock] = []

    def attempt(mine: RunLock) -> None:
        start.wait()
        try:
            mine.acquire()
            won.append(mine)
        except RunLocked:
            pass

    threads = [threading.Thread(target=attempt, args=(mine,)) for mine in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    holding = 0
    for mine in won:
        try:
            mine.check()
            holding += 1
        except RunLocked:
            pass
    for mine in won:
        mine.release()
    return holding


def test_the_heartbeat_touches_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT", 0.02)
    with RunLock(tmp_path):
        os.utime(tmp_path / LOCK, (0, 0))
        deadline = time.monotonic() + 10
        while (tmp_path / LOCK).stat().st_mtime < 1 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (tmp_path / LOCK).stat().st_mtime > 1


def test_many_turns(tmp_path: Path) -> None:
    """Given back and taken without a pause, it is never with two, and no turn meets a file that is gone."""
    turns, inside = [0] * 4, threading.Lock()

    def work(number: int) -> None:
        while turns[number] < 20:
            try:
                with RunLock(tmp_path) as mine:
                    assert inside.acquire(blocking=False)
                    mine.check()
                    turns[number] += 1
                    inside.release()
            except RunLocked:
                continue

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert turns == [20] * 4


def test_a_file_that_was_given_back_while_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening and locking it, the first holder ends and a second one begins."""
    first, second, late = (RunLock(tmp_path) for _ in range(3))
    first.acquire()
    flock = lock._flock

    def interrupted(file: int) -> bool | None:
        monkeypatch.setattr(lock, "_flock", flock)
        first.release()
        second.acquire()
        return flock(file)

    monkeypatch.setattr(lock, "_flock", interrupted)
    with pytest.raises(RunLocked, match="held"):
        late.acquire()
    second.check()
    second.release()


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(DataError, match="--work-dir"):
            RunLock(folder).acquire()
