"""Data that break, a disk that is full, workers that die: one message, an exit code of its kind, --resume."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from engine_configs import CONFIGS, read_metrics
from run_trials import before_step, ended, prc

from pc3d.engine.pretrainer import pretrain
from pc3d.engine.runs.folder import read_marker
from pc3d.engine.runs.store import CheckpointStore
from pc3d.storage import disk

STEPS = 6


@pytest.fixture(scope="module")
def straight(tiny_index: Path, tiny_regions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("errors") / "straight"
    pretrain(prc(tiny_index, tiny_regions, STEPS), run)
    return run


def assert_same_run(run: Path, straight: Path) -> None:
    for name in ("backbone.safetensors", "heads.safetensors"):
        assert (run / name).read_bytes() == (straight / name).read_bytes()
    assert [row["step"] for row in read_metrics(run)] == list(range(1, STEPS + 1))


def assert_one_message(message: str, *parts: str) -> None:
    """Beside what the libraries log, one text with what, where and remedy."""
    assert message.count("error: ") == message.count("where: ") == message.count("remedy: ") == 1
    assert "Traceback" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("workers", "how"), [pytest.param(0, "removed", marks=pytest.mark.long), (2, "broken")]
)
def test_data_that_break_in_a_run(
    straight: Path,
    tiny_index: Path,
    tiny_regions: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    workers: int,
    how: str,
) -> None:
    """It saves, ends, and goes on to the same weights once the files are back."""
    regions, run = tmp_path / "regions", tmp_path / "run"
    for folder in tiny_regions.glob("clusters-*"):
        shutil.copytree(folder, regions / folder.name)
    config = prc(tiny_index, regions, STEPS, **{"data.workers": workers})

    def spoil(*_: Any) -> None:
        for path in regions.rglob("*.npz"):
            path.unlink() if how == "removed" else path.write_bytes(path.read_bytes()[:-40])

    with before_step(0, spoil):
        code, message = ended(lambda: pretrain(config, run), capsys)
    assert code == 2
    assert_one_message(message, str(regions), "regions.py" if how == "removed" else "broken")
    newest = CheckpointStore(run).find().newest
    assert newest is not None
    assert newest.step >= 1
    assert read_marker(run) is None
    shutil.copytree(tiny_regions, regions, dirs_exist_ok=True)
    assert ended(lambda: pretrain(config, run, resume=True), capsys)[0] == 0
    assert_same_run(run, straight)


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """A disk that takes `size` more bytes."""
    left, write = size, disk.write

    def writing(file: Any, data: Any) -> None:
        nonlocal left
        part = memoryview(data).cast("B")[:left]
        left -= len(part)
        write(file, part)
        if len(part) < len(memoryview(data).cast("B")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(disk, "write", writing)
        yield


def is_full_after(size: int, index: Path, regions: Path, run: Path, capsys: Any) -> bool:
    """Whether a run ends as its disk takes `size` more bytes after its third step; it must end well."""
    config = prc(index, regions, STEPS, **{"runtime.save_every": 2})
    with ExitStack() as stack:
        stack.enter_context(before_step(3, lambda *_: stack.enter_context(room_for(size))))
        code, message = ended(lambda: pretrain(config, run), capsys)
    if code == 0:
        return False
    assert code == 74
    assert_one_message(message, "the disk takes no more", "--resume")
    found = CheckpointStore(run).find(every=True)
    assert found.newest is not None
    assert found.newest.step >= 2
    assert not found.broken
    assert not list(run.glob(".*.partial"))
    assert ended(lambda: pretrain(config, run, resume=True), capsys)[0] == 0
    return True


def test_a_disk_that_fills_up(
    straight: Path, tiny_index: Path, tiny_regions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = int(0.3 * _written(straight))  # in the middle of a checkpoint
    assert is_full_after(size, tiny_index, tiny_regions, tmp_path, capsys)
    assert_same_run(tmp_path, straight)


def _written(straight: Path) -> int:
    """Bytes that a run writes from its third step on."""
    newest = CheckpointStore(straight).find().newest
    assert newest is not None
    weights = sum(path.stat().st_size for path in straight.glob("*.safetensors"))
    return 2 * newest.path.stat().st_size + weights


@pytest.mark.long
def test_a_disk_that_fills_up_anywhere(
    straight: Path, tiny_index: Path, tiny_regions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In two checkpoints, the weights, the marker and between them."""
    total = _written(straight)
    for number in range(40):
        size = total * number // 40 + 37 * number
        run = tmp_path / str(number)
        assert is_full_after(size, tiny_index, tiny_regions, run, capsys), size
        assert_same_run(run, straight)
        shutil.rmtree(run)


def test_a_worker_that_is_killed(
    straight: Path, tiny_index: Path, tiny_regions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a system short of memory does: one message, and the run goes on where it was saved."""
    config = prc(tiny_index, tiny_regions, STEPS, **{"data.workers": 2, "runtime.save_every": 1})

    def kill(*_: Any) -> None:
        for worker in multiprocessing.active_children():
            os.kill(worker.pid or 0, signal.SIGKILL)

    with before_step(2, kill):
        code, message = ended(lambda: pretrain(config, tmp_path), capsys)
    assert code == 2
    assert_one_message(message, "data worker", "data.workers", "--resume")
    assert not multiprocessing.active_children()
    assert ended(lambda: pretrain(config, tmp_path, resume=True), capsys)[0] == 0
    assert_same_run(tmp_path, straight)


def in_a_mount(folder: Path, megabytes: float, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command that finds a file system of that size at a folder; skips where that cannot be had."""
    kilobytes = int(1024 * megabytes)
    mount = f"mount -t tmpfs -o size={kilobytes}k tmpfs {folder}"
    if os.geteuid() or subprocess.run(["unshare", "-m", "sh", "-c", mount], check=False).returncode:
        pytest.skip("needs root, and mounts of its own")
    script = f'{mount} && exec "$@"'
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.long
def test_shared_memory_that_is_too_small(tiny_index: Path, tiny_regions: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.py"
    config.write_text(prc(tiny_index, tiny_regions, STEPS, **{"data.workers": 1}).pretty_text)
    tool = [sys.executable, str(CONFIGS.parent / "tools/pretrain.py"), str(config)]
    done = in_a_mount(Path("/dev/shm"), 0.25, [*tool, "--work-dir", str(tmp_path / "run")])
    assert done.returncode == 2, done.stderr
    assert_one_message(done.stderr, "shared memory", "--shm-size", "data.workers=0")


@pytest.mark.long
@pytest.mark.parametrize("megabytes", [0.02, 0.2, 0.5, 1.0, 1.5])
def test_a_small_file_system(tiny_index: Path, tiny_regions: Path, tmp_path: Path, megabytes: float) -> None:
    """A real one that is full: whatever is written there first, logs and metrics too."""
    config, run = tmp_path / "config.py", tmp_path / "run"
    run.mkdir()
    small = prc(tiny_index, tiny_regions, 40, **{"runtime.save_every": 1, "runtime.keep_checkpoints": 100})
    config.write_text(small.pretty_text)
    tool = f"{sys.executable} {CONFIGS.parent}/tools/pretrain.py {config} --work-dir {run}"
    keep = f"{tool}; code=$?; cp -r {run} {tmp_path}/kept; exit $code"
    done = in_a_mount(run, megabytes, ["sh", "-c", keep])
    assert done.returncode == 74, done.stderr
    assert_one_message(done.stderr, "the disk takes no more", "--resume")
    found = CheckpointStore(tmp_path / "kept").find(every=True)
    assert not found.broken
    assert (found.newest is not None) == (megabytes >= 1.0)
