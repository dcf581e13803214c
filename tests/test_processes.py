"""Workers end with the command that started them, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from pc3d.processes import stopped_in_one_line, worker_pool
from pc3d.storage.whole import partial_name

REPOSITORY = Path(__file__).resolve().parents[1]

POOL = """
import os, sys, time
from pathlib import Path
from pc3d.processes import stopped_in_one_line, worker_pool

def work(number):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    with stopped_in_one_line("the work is kept"):
        with worker_pool(2) as pool:
            list(pool.map(work, range(50)))
"""


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def running(pid: int) -> bool:
    """Whether a process runs; one that ended and waits for its parent's look does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], object], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def stop(command: list[str], number: int, ready: Callable[[], bool], group: bool) -> tuple[int, str]:
    """Start a command, send it a signal once it is `ready`; its exit code and what it wrote to stderr."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    try:
        assert wait_for(ready, 120) or process.poll() is not None
        assert process.poll() is None, process.stderr.read()
        started = children(process.pid)
        assert len(started) >= 2
        os.killpg(process.pid, number) if group else process.send_signal(number)
        assert wait_for(lambda: not any(map(running, started)), 10)
        return process.wait(10), process.stderr.read()
    finally:
        process.kill()


@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGKILL", -9)])
@pytest.mark.parametrize("group", [False, True])
def test_a_stopped_command_leaves_no_workers(tmp_path: Path, number: str, code: int, group: bool) -> None:
    if group and number != "SIGINT":
        pytest.skip("a terminal sends Ctrl-C to the group")
    script, marks = tmp_path / "script.py", tmp_path / "marks"
    script.write_text(POOL)
    marks.mkdir()
    command = [sys.executable, str(script), str(marks)]
    ended, said = stop(command, getattr(signal, number), lambda: len(list(marks.iterdir())) == 2, group)
    assert ended == code
    if code != -9:
        assert said == f"stopped by {number}: the work is kept\n"


def test_an_error_gives_up_what_was_handed_out() -> None:
    def hand_out() -> None:
        with worker_pool(1) as pool:
            for _ in range(5):
                pool.submit(time.sleep, 60)
            raise ValueError("mine")

    began = time.monotonic()
    with pytest.raises(ValueError, match="mine"):
        hand_out()
    assert time.monotonic() - began < 20


def test_a_script_without_a_guard_is_told(tmp_path: Path) -> None:
    """Each worker imports the script, which would start workers again."""
    script = tmp_path / "script.py"
    body = POOL.replace('if __name__ == "__main__":', "if True:").replace("time.sleep(600)", "pass")
    script.write_text(body)
    ended = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True)
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("RuntimeError: no worker process could start: each imports your script first")
    assert last.endswith('under `if __name__ == "__main__":`')


def test_a_killed_worker_is_no_script_that_fails() -> None:
    with pytest.raises(BrokenProcessPool), worker_pool(1) as pool:
        pool.submit(os.kill, pool.submit(os.getpid).result(), signal.SIGKILL).result()


def test_handlers_come_back_and_other_exits_pass() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end, stopped_in_one_line(""):
        sys.exit(3)
    assert end.value.code == 3
    assert signal.getsignal(signal.SIGTERM) is before


def regions(index: Path, out: Path) -> list[str]:
    script = str(REPOSITORY / "data_prep/regions.py")
    return [sys.executable, script, str(index), "--out", str(out), "--kinds", "clusters", "--workers", "2"]


def test_regions_go_on_after_a_kill(tiny_index: Path, tmp_path: Path) -> None:
    out = tmp_path / "cache"
    stop(regions(tiny_index, out), signal.SIGKILL, lambda: any(out.rglob("*.npz")), group=False)
    kept = {path: path.read_bytes() for path in out.rglob("*.npz")}
    dead = subprocess.Popen(["true"])
    dead.wait()
    leftover = partial_name(next(iter(kept)))
    leftover = leftover.with_name(leftover.name.replace(f"-{os.getpid()}-", f"-{dead.pid}-"))
    leftover.write_bytes(b"half")
    subprocess.run(regions(tiny_index, out), check=True, capture_output=True)
    assert not list(out.rglob("*.partial"))
    assert len(list(out.rglob("*.npz"))) > len(kept)
    assert all(path.read_bytes() == content for path, content in kept.items())


@pytest.mark.long
@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_regions_end_with_one_line(tiny_index: Path, tmp_path: Path, number: str, code: int) -> None:
    ready = lambda: any(tmp_path.rglob("*.npz"))  # noqa: E731
    ended, said = stop(regions(tiny_index, tmp_path), getattr(signal, number), ready, number == "SIGINT")
    assert ended == code
    assert "Traceback" not in said
    assert said.rstrip().splitlines()[-1].startswith(f"stopped by {number}: what is done is kept")
