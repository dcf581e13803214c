"""One whole, verified checkpoint at every instant: kills, lost power, full disks and flipped bits."""

from __future__ import annotations

import errno
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from disk_trials import Recorder, flipped, killing_at, save_of_0_1, states_after_power_loss
from hypothesis import given, settings
from hypothesis import strategies as st
from run_trials import Killed

from pc3d.data.errors import DataError
from pc3d.engine.runs.store import POINTER, CheckpointStore
from pc3d.storage import disk
from pc3d.storage.whole import leftovers

CONTRACT = {"optimizer.lr": 0.1}


def state_of(step: int) -> dict[str, Any]:
    values = torch.arange(40, dtype=torch.float32) + step
    return {"model": {"w": values}, "optimizer": {"state": {0: {"m": values / 2}}, "param_groups": []}}


def save(folder: Path, step: int, keep: int = 1) -> None:
    CheckpointStore(folder, keep).save(state_of(step), step, 2 * step, CONTRACT)


def newest(folder: Path) -> int:
    """Step of the checkpoint that would be resumed, its content looked at; -1 where there is none."""
    store = CheckpointStore(folder)
    checkpoint = store.find().newest
    if checkpoint is None:
        return -1
    state = store.read(checkpoint)
    assert torch.equal(state["model"]["w"], state_of(checkpoint.step)["model"]["w"])
    assert torch.equal(state["optimizer"]["state"][0]["m"], state_of(checkpoint.step)["model"]["w"] / 2)
    assert (state["step"], state["samples"]) == (checkpoint.step, 2 * checkpoint.step)
    assert checkpoint.contract == CONTRACT
    return checkpoint.step


def states(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("iter_*"))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trials count the calls that wait for the disk; the wait itself they do not need."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.mark.parametrize("before", [0, 1, 2])
@pytest.mark.parametrize("half", [False, True], ids=["before a call", "within a call"])
def test_a_kill_at_every_call_leaves_a_whole_checkpoint(before: int, half: bool, tmp_path: Path) -> None:
    """`within` is half of the data of a write, and of any other call its end."""
    killed = 0
    for number in range(1000):
        folder = tmp_path / str(number)
        folder.mkdir()
        for step in range(before):
            save(folder, step + 1, keep=2)
        try:
            with killing_at(number, half):
                save(folder, 5)
        except Killed:
            killed += 1
        else:
            break
        assert newest(folder) in ({before, 5} if before else {-1, 5})
        save(folder, 6)
        assert newest(folder) == 6
        assert states(folder) == ["iter_6.json", "iter_6.pth"]
        assert (folder / POINTER).read_text() == "iter_6.pth\n"
    assert killed == number > 20


def _lay(folder: Path, content: dict[str, bytes]) -> None:
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(data)


@pytest.mark.parametrize("keep", [1, 2])
def test_a_loss_of_power_at_any_point_leaves_a_whole_checkpoint(keep: int, tmp_path: Path) -> None:
    """After a save has returned its checkpoint is there, whatever was not synced is lost or not."""
    recorder, run = Recorder(), tmp_path / "run"
    run.mkdir()
    with recorder.recording():
        for step in range(1, 7):
            save(run, step, keep)
            recorder.mark(step)
    events = recorder.events
    tried: set[tuple[int, frozenset[tuple[str, bytes]]]] = set()
    for end in range(len(events) + 1):
        done = max((event[1] for event in events[:end] if event[0] == "mark"), default=0)
        for content in states_after_power_loss(events[:end]) if done else ():
            if (key := (done, frozenset(content.items()))) in tried:
                continue
            tried.add(key)
            _lay(folder := tmp_path / f"{end}-{len(tried)}", content)
            assert newest(folder) in (done, done + 1), (events[end - 1][:1], sorted(content))
            save(folder, 9, keep)
            assert newest(folder) == 9
    assert len(tried) > 20


def test_a_loss_of_power_needs_each_sync(tmp_path: Path) -> None:
    """The trial above notices a writer that does not wait for the disk."""
    for lazy in ("sync", "sync_folder"):
        recorder, run = Recorder(), tmp_path / lazy
        run.mkdir()
        with recorder.recording():
            for step in (1, 2):
                save(run, step)
                recorder.mark(step)
        events = [event for event in recorder.events if event[0] != lazy]
        found = []
        for number, content in enumerate(states_after_power_loss(events)):
            _lay(folder := tmp_path / f"{lazy}-{number}", content)
            with suppress(AssertionError):
                found.append(newest(folder))
        assert set(found) - {2}, lazy


def _raised(function: Callable[[], object]) -> Exception | None:
    try:
        function()
    except Exception as error:
        return error
    return None


def test_a_full_disk_reaches_the_caller_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1, keep=2)
    save(tmp_path, 2, keep=2)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write, full = disk.write, 0
    for number in range(1000):
        calls = 0

        def filling(file: Any, data: Any, number: int = number) -> None:
            nonlocal calls
            calls += 1
            if calls > number:
                write(file, data[: len(data) // 2])
                raise OSError(errno.ENOSPC, "No space left on device")
            write(file, data)

        with monkeypatch.context() as patched:
            patched.setattr(disk, "write", filling)
            raised = _raised(lambda: save(tmp_path, 3, keep=1))
        if raised is None:
            break
        assert isinstance(raised, OSError)
        assert raised.errno == errno.ENOSPC
        assert str(tmp_path) in raised.filename
        full += 1
        assert not list(tmp_path.glob(".*"))
        after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert {name: after[name] for name in before} == before
        for path in tmp_path.glob("iter_3.*"):
            path.unlink()
    assert full == number > 5
    assert newest(tmp_path) == 3


def save_new(folder: Path, step: int) -> None:
    save(folder, step, keep=2)


def save_old(folder: Path, step: int) -> None:
    save_of_0_1(folder, step, state_of(step))


def _loaded(folder: Path) -> tuple[int, Any, Any]:
    """Step, contract and content of what would be resumed."""
    store = CheckpointStore(folder)
    checkpoint = store.find().newest
    assert checkpoint is not None
    state = store.read(checkpoint)
    state.pop("meta", None)
    return checkpoint.step, (checkpoint.samples, checkpoint.contract), state


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        same_keys = isinstance(second, dict) and first.keys() == second.keys()
        return same_keys and all(_same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(_same, first, second))
    return bool(first == second)


@pytest.mark.parametrize("write", [save_new, save_old], ids=["today", "pc3d 0.1"])
def test_flipped_bits_are_noticed(write: Callable[[Path, int], None], tmp_path: Path) -> None:
    """200 of them: the older checkpoint is taken, and why is said, or the content is the same."""
    for step in (1, 2):
        write(tmp_path, step)
    older = tmp_path.with_name(f"{tmp_path.name}-older")
    older.mkdir()
    write(older, 1)
    expected = {1: _loaded(older), 2: _loaded(tmp_path)}
    files = sorted(path for path in tmp_path.glob("iter_2.*"))
    sizes = [8 * path.stat().st_size for path in files]
    draw, noticed = random.Random(0), 0
    for number in range(200):
        file = number % len(files)
        bit = draw.randrange(sizes[file])
        whole = files[file].read_bytes()
        flipped(files[file], bit)
        loaded = _loaded(tmp_path)
        assert _same(loaded, expected[loaded[0]]), (files[file].name, bit)
        if loaded[0] == 1:
            noticed += 1
            assert "iter_2.pth" in CheckpointStore(tmp_path).find().broken
        files[file].write_bytes(whole)
    assert noticed > 100
    print(f"{noticed} of 200 noticed, the others changed nothing")


@pytest.mark.parametrize("pointer", ["http://127.0.0.1:9/iter_9.pth", "{other}/iter_9.pth", "", None])
def test_the_pointer_is_never_followed(pointer: str | None, tmp_path: Path) -> None:
    other, run = tmp_path / "other", tmp_path / "run"
    other.mkdir()
    save(other, 9)
    shutil.copytree(other, run)
    for path in run.iterdir():
        path.unlink()
    save(run, 1, keep=2)
    save(run, 2, keep=2)
    (run / POINTER).unlink()
    if pointer is not None:
        (run / POINTER).write_text(pointer.format(other=other))
    assert newest(run) == 2
    save(run, 3, keep=2)
    assert (run / POINTER).read_text() == "iter_3.pth\n"
    assert newest(other) == 9


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    save(tmp_path, 1)
    torch.save({"meta": {"iter": 2}, "state_dict": Harmful(), "optimizer": {}}, tmp_path / "iter_2.pth")
    assert newest(tmp_path) == 1
    assert "iter_2.pth" in CheckpointStore(tmp_path).find().broken
    assert not (tmp_path / "ran").exists()


ENDS = st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 40)), st.booleans()), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(ends=ENDS, keep=st.integers(1, 3))
def test_any_sequence_of_saves_and_kills(
    ends: list[tuple[int | None, bool]], keep: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, done = tmp_path_factory.mktemp("sequence"), -1
    for step, (number, within) in enumerate(ends, 1):
        try:
            with killing_at(-1 if number is None else number, within):
                save(folder, step, keep)
        except Killed:
            assert newest(folder) in (done, step)
            done = newest(folder)
        else:
            done = step
            assert newest(folder) == step
            assert len(list(folder.glob("iter_*.pth"))) <= keep
    assert not leftovers(folder)  # those of this very process are not counted


def test_a_broken_state_is_an_error_that_can_be_read(tmp_path: Path) -> None:
    save(tmp_path, 1)
    checkpoint = CheckpointStore(tmp_path).find().newest
    assert checkpoint is not None
    checkpoint.path.write_bytes(b"no archive")
    with pytest.raises(DataError, match="cannot be read"):
        CheckpointStore(tmp_path).read(checkpoint)
