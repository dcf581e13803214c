"""Folders that are whole or not there: at every instant the old one or the new one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from pc3d.storage import disk
from pc3d.storage.folders import new_folder
from pc3d.storage.whole import write_bytes


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours handles it."""


def make(path: Path, text: bytes) -> None:
    with new_folder(path) as folder:
        disk.make_folder(folder / "inner")
        write_bytes(folder / "inner" / "a", text)


def test_it_appears_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    for text in (b"first", b"second"):
        make(tmp_path / "it", text)
        assert (tmp_path / "it/inner/a").read_bytes() == text
        assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    make(tmp_path / "it", b"first")
    with pytest.raises(ValueError, match="mine"), new_folder(tmp_path / "it"):
        raise ValueError("mine")
    assert (tmp_path / "it/inner/a").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    make(tmp_path / "it", b"first")
    (tmp_path / "link").symlink_to(tmp_path / "it")
    make(tmp_path / "link", b"second")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "it/inner/a").read_bytes() == b"second"


@pytest.mark.parametrize("swap", [True, False])
def test_a_kill_at_any_call_leaves_one_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap: bool
) -> None:
    """The folder is there at every instant where names can be swapped; else the next writer restores it."""
    if not swap:
        monkeypatch.setattr(disk, "exchange", lambda first, second: False)
    calls = 0

    def counted(call: Callable, last: int) -> Callable:
        def wrapper(*arguments: object) -> object:
            nonlocal calls
            calls += 1
            if calls > last:
                raise Killed
            return call(*arguments)

        return wrapper

    for last in range(100):
        path, calls = tmp_path / str(last) / "it", 0
        path.parent.mkdir()
        make(path, b"old")
        with monkeypatch.context() as patched:
            # After a kill nothing is tidied up either.
            patched.setattr("pc3d.storage.folders.shutil.rmtree", lambda *_, **__: None)
            for name in ("rename", "exchange", "make_folder", "write", "sync", "sync_folder", "remove"):
                patched.setattr(disk, name, counted(getattr(disk, name), last))
            try:
                make(path, b"new")
            except Killed:
                ended = False
            else:
                ended = True
        if swap:
            assert (path / "inner/a").read_bytes() in (b"old", b"new")
        with contextlib.suppress(Killed), new_folder(path):
            assert (path / "inner/a").read_bytes() in (b"old", b"new")
            raise Killed
        if ended:
            assert (path / "inner/a").read_bytes() == b"new"
            return
    pytest.fail("the writer never came to its end")
