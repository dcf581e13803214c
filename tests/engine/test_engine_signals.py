"""Signals: the run saves at its next step boundary, ends with the code of the signal, and goes on equal."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import resource_sharer
from pathlib import Path

import pytest
import torch.distributed as dist
import torch.multiprocessing as mp
from engine_configs import BEV, CONFIGS, pretrain_config, read_metrics
from run_trials import before_step, before_steps, ended, prc

from pc3d.engine import pretrainer
from pc3d.engine.data import MixedDataset
from pc3d.engine.pretrainer import pretrain
from pc3d.engine.runs.exits import Stopped
from pc3d.engine.runs.folder import FINISHED
from pc3d.engine.runs.store import CheckpointStore

STEPS = 20
CODES = {signal.SIGTERM: 143, signal.SIGUSR1: 138, signal.SIGINT: 130}


@pytest.fixture(scope="module")
def straight(tiny_index: Path, tiny_regions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("signals") / "straight"
    pretrain(prc(tiny_index, tiny_regions, STEPS), run)
    return run


def send(number: int, times: int = 1) -> Callable[..., None]:
    def sending(*_: object) -> None:
        for _ in range(times):
            os.kill(os.getpid(), number)

    return sending


def newest_step(run: Path) -> int | None:
    newest = CheckpointStore(run).find().newest
    return newest.step if newest else None


def assert_same_weights(run: Path, straight: Path) -> None:
    for name in ("backbone.safetensors", "heads.safetensors"):
        assert (run / name).read_bytes() == (straight / name).read_bytes()
    assert [row["step"] for row in read_metrics(run)] == [row["step"] for row in read_metrics(straight)]


@pytest.mark.parametrize("number", CODES)
def test_a_signal_inside_a_step(
    tiny_index: Path, tiny_regions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    config, handler = prc(tiny_index, tiny_regions, STEPS), signal.getsignal(number)
    with before_step(1, send(number)):
        code, message = ended(lambda: pretrain(config, tmp_path), capsys)
    name = signal.Signals(number).name
    assert (code, message) == (CODES[number], f"stopped by {name}; saved at step 2: --resume goes on\n")
    assert newest_step(tmp_path) == 2
    assert not (tmp_path / FINISHED).exists()
    assert signal.getsignal(number) == handler


def test_an_impatient_interrupt_ends_inside_the_step(
    tiny_index: Path, tiny_regions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last whole checkpoint stays."""
    config = prc(tiny_index, tiny_regions, STEPS, **{"runtime.save_every": 1})
    with before_step(3, send(signal.SIGINT, times=2)):
        code, message = ended(lambda: pretrain(config, tmp_path), capsys)
    assert (code, message) == (130, "stopped by SIGINT\n")
    assert newest_step(tmp_path) == 3


def test_a_signal_before_the_first_step(
    tiny_index: Path, tiny_regions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """While the model is built, and while the first batch is read: at once, the folder is as good as new."""
    config = prc(tiny_index, tiny_regions, STEPS)
    places = ((pretrainer, "build_pretrainer", ""), (MixedDataset, "__getitem__", "; before the first step"))
    for owner, name, what in places:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(owner, name, send(signal.SIGTERM))
            code, message = ended(lambda: pretrain(config, tmp_path), capsys)
        assert (code, message) == (143, f"stopped by SIGTERM{what}\n")
        assert newest_step(tmp_path) is None
    short = prc(tiny_index, tiny_regions, 1)
    pretrain(short, tmp_path, overwrite=True)
    assert newest_step(tmp_path) == 1


def test_a_signal_while_a_batch_is_read(
    tiny_index: Path, tiny_regions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    getitem, read = MixedDataset.__getitem__, []

    def reading(data: MixedDataset, key: tuple[int, int]) -> object:
        read.append(key)
        if len(read) == 6:
            send(signal.SIGTERM)()
        return getitem(data, key)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(MixedDataset, "__getitem__", reading)
        code, message = ended(lambda: pretrain(prc(tiny_index, tiny_regions, STEPS), tmp_path), capsys)
    assert (code, message) == (143, "stopped by SIGTERM; saved at step 2: --resume goes on\n")
    assert newest_step(tmp_path) == 2


def test_a_signal_while_a_worker_hands_a_batch_over(
    tiny_index: Path, tiny_regions: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The worker finds that nobody listens any more; it has nothing to say about that."""

    def hang_up(ident: tuple[str, int]) -> object:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(ident[0])
        send(signal.SIGTERM)()
        raise AssertionError

    def start(*_: object) -> None:
        patched.setattr(resource_sharer._resource_sharer, "get_connection", hang_up)

    config = prc(tiny_index, tiny_regions, STEPS, **{"data.workers": 1})
    with pytest.MonkeyPatch.context() as patched, before_step(0, start):
        code, message = ended(lambda: pretrain(config, tmp_path), capfd)
    assert (code, message) == (143, "stopped by SIGTERM; saved at step 1: --resume goes on\n")


def begun(config: Path, run: Path) -> subprocess.Popen[str]:
    """The command line's process, in a group of its own, once it has done two steps."""
    command = [sys.executable, str(CONFIGS.parent / "tools/pretrain.py"), str(config), "--work-dir", str(run)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    until = time.monotonic() + 120
    metrics = run / "metrics.jsonl"
    while time.monotonic() < until and not (metrics.exists() and metrics.read_text().count("\n") >= 2):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    return process


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("number", "whole_group"),
    [
        (signal.SIGTERM, True),
        *(pytest.param(number, False, marks=pytest.mark.long) for number in CODES),
        pytest.param(signal.SIGINT, True, marks=pytest.mark.long),
    ],
)
def test_a_signal_to_the_command(
    straight: Path, tiny_index: Path, tiny_regions: Path, tmp_path: Path, number: int, whole_group: bool
) -> None:
    """Also to its workers, as a terminal or Slurm sends it: one message, nothing is left running."""
    config = prc(tiny_index, tiny_regions, STEPS, **{"data.workers": 2})
    file, run = tmp_path / "config.py", tmp_path / "run"
    file.write_text(config.pretty_text)
    process = begun(file, run)
    os.killpg(process.pid, number) if whole_group else os.kill(process.pid, number)
    sent = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - sent < 30
    assert process.returncode == CODES[number], errors
    saved = re.findall(rf"stopped by {signal.Signals(number).name}; saved at step (\d+): --resume", errors)
    assert len(saved) == 1, errors
    assert "Traceback" not in errors
    assert "rror" not in errors
    assert not alive(process.pid)
    assert newest_step(run) == int(saved[0])
    assert 2 <= int(saved[0]) < STEPS
    pretrain(config, run, resume=True)
    assert_same_weights(run, straight)


@pytest.mark.long
def test_a_signal_in_the_second_stage(
    tiny_index: Path, tiny_regions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = pretrain_config(tiny_index, tiny_regions, 3, "sim_calico", narrow=False, **BEV)
    pretrain(config, tmp_path / "straight")
    run = tmp_path / "run"

    def stop(loop, batch) -> None:
        if loop.keeper.run.folder.name == "rad" and loop.iter == 1:
            send(signal.SIGTERM)()

    with before_steps(stop):
        code, message = ended(lambda: pretrain(config, run), capsys)
    assert (code, message) == (143, "stopped by SIGTERM; saved at step 2: --resume goes on\n")
    marked = (run / "prc" / FINISHED).stat().st_mtime_ns
    pretrain(config, run, resume=True)
    assert (run / "prc" / FINISHED).stat().st_mtime_ns == marked
    for name in ("backbone", "camera", "heads"):
        expected = (tmp_path / f"straight/{name}.safetensors").read_bytes()
        assert (run / f"{name}.safetensors").read_bytes() == expected


def _process(rank: int, index: str, regions: str, folder: str, what: str) -> None:
    """One of two processes; only the second one is sent a signal, in its second step."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    store = f"file://{folder}/{what}.store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    config = prc(Path(index), Path(regions), 4, launcher="pytorch", **{"data.batch_size": 1})
    run = Path(folder) / ("straight" if what == "straight" else "run")
    if what != "stopped":
        pretrain(config, run, resume=what == "resumed")
    else:
        with (
            before_step(1, send(signal.SIGTERM) if rank else lambda *_: None),
            pytest.raises(Stopped) as stop,
        ):
            pretrain(config, run)
        (Path(folder) / f"{rank}.txt").write_text(f"{stop.value.code} {stop.value.message}")
    dist.destroy_process_group()


@pytest.mark.long
def test_all_processes_end_at_the_same_step(tiny_index: Path, tiny_regions: Path, tmp_path: Path) -> None:
    for what in ("straight", "stopped", "resumed"):
        mp.spawn(_process, (str(tiny_index), str(tiny_regions), str(tmp_path), what), nprocs=2)
        if what == "stopped":
            assert newest_step(tmp_path / "run") == 2
    expected = "143 stopped by SIGTERM; saved at step 2: --resume goes on"
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)] == [expected] * 2
    assert_same_weights(tmp_path / "run", tmp_path / "straight")
