"""Kills at the calls of `pc3d.storage.disk`, and what a disk holds after a loss of power between them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any
from unittest.mock import patch

import torch
from run_trials import Killed

from pc3d.storage import disk

DISK_CALLS = ("create", "write", "sync", "sync_folder", "rename", "remove")


@contextmanager
def replaced(calls: Mapping[str, Any]) -> Iterator[None]:
    """Replace calls of the disk, by name, in this block."""
    with ExitStack() as stack:
        for name, call in calls.items():
            stack.enter_context(patch.object(disk, name, call))
        yield


@contextmanager
def killing_at(number: int, within: bool = False) -> Iterator[list[str]]:
    """In this block, the process "ends" at a call of the disk, from 0; nothing is done afterwards.

    Args:
        within: the call is done, a write by half; else it is not.

    Yields:
        names of the calls so far.
    """
    calls: list[str] = []
    dead = False

    def dying(name: str) -> Any:
        original = getattr(disk, name)

        def call(*args: Any) -> Any:
            nonlocal dead
            if dead:
                raise Killed  # what a handler would clean up is left as it is
            if len(calls) == number:
                dead = True
                if within:
                    original(args[0], args[1][: len(args[1]) // 2]) if name == "write" else original(*args)
                raise Killed
            calls.append(name)
            return original(*args)

        return call

    with replaced({name: dying(name) for name in DISK_CALLS}):
        yield calls


class Recorder:
    """Records what is done to a disk, so that any end of it can be played.

    Attributes:
        events: `("create", name, inode)`, `("write", inode, data)`, `("sync", inode)`, `("sync_folder",)`,
            `("rename", from, to)`, `("remove", name)`, and marks that were set.
    """

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self._inodes: dict[int, int] = {}

    def mark(self, *what: Any) -> None:
        self.events.append(("mark", *what))

    @contextmanager
    def recording(self) -> Iterator[None]:
        create, write, sync, sync_folder, rename, remove = (getattr(disk, name) for name in DISK_CALLS)

        def created(path: Path) -> IO[bytes]:
            file = create(path)
            self._inodes[id(file)] = inode = len(self.events)
            self.events.append(("create", path.name, inode))
            return file

        def written(file: IO[bytes], data: Any) -> None:
            self.events.append(("write", self._inodes[id(file)], bytes(data)))
            write(file, data)

        def synced(file: IO[bytes]) -> None:
            sync(file)
            self.events.append(("sync", self._inodes[id(file)]))

        def folder_synced(folder: Path) -> None:
            sync_folder(folder)
            self.events.append(("sync_folder",))

        def renamed(source: Path, target: Path) -> None:
            rename(source, target)
            self.events.append(("rename", Path(source).name, Path(target).name))

        def removed(path: Path) -> None:
            if Path(path).exists():
                self.events.append(("remove", Path(path).name))
            remove(path)

        calls = (created, written, synced, folder_synced, renamed, removed)
        with replaced(dict(zip(DISK_CALLS, calls, strict=True))):
            yield


def _apply(names: dict[str, int], event: tuple[Any, ...]) -> None:
    if event[0] == "create":
        names[event[1]] = event[2]
    elif event[0] == "rename":
        names[event[2]] = names.pop(event[1])
    elif event[0] == "remove":
        names.pop(event[1], None)


def states_after_power_loss(events: list[tuple[Any, ...]]) -> Iterator[dict[str, bytes]]:
    """Contents that a folder may have when the power goes after these events.

    Names: those of the last sync of the folder, and any number of the changes after it, in their order (as
    journals keep them); also those changes but one, where it depends on none that is left out. A file holds
    what it was synced with; what came after is there, is half there, or reads as zeros. Temporary
    files are left out.
    """
    last = max((n for n, event in enumerate(events) if event[0] == "sync_folder"), default=-1)
    certain: dict[str, int] = {}
    changes = []
    for number, event in enumerate(events):
        if event[0] in ("create", "rename", "remove"):
            _apply(certain, event) if number < last else changes.append(event)
    for kept in _kept(changes):
        names = dict(certain)
        try:
            for event in kept:
                _apply(names, event)
        except KeyError:
            continue  # a name was changed that was never there
        files = {name: inode for name, inode in names.items() if not name.endswith(".partial")}
        for how in ("all", "half", "zeros", "none"):
            yield {name: _content(events, inode, how) for name, inode in files.items()}


def _kept(changes: list[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    if len(changes) <= 5:
        for mask in itertools.product((True, False), repeat=len(changes)):
            yield list(itertools.compress(changes, mask))
        return
    for number in range(len(changes) + 1):
        yield changes[:number]
        yield changes[:number] + changes[number + 1 :]


def _content(events: list[tuple[Any, ...]], inode: int, how: str) -> bytes:
    certain, since = b"", b""
    for event in events:
        if event[:2] == ("write", inode):
            since += event[2]
        elif event == ("sync", inode):
            certain, since = certain + since, b""
    rest = {"all": since, "half": since[: len(since) // 2], "zeros": bytes(len(since)), "none": b""}
    return certain + rest[how]


def flipped(path: Path, bit: int) -> None:
    """Flip one bit of a file in place."""
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def save_of_0_1(folder: Path, step: int, state: dict[str, Any]) -> None:
    """A checkpoint as pc3d 0.1 (mmengine) wrote it."""
    path = folder / f"iter_{step}.pth"
    content = {"meta": {"iter": step}, "state_dict": state["model"], "optimizer": state["optimizer"]}
    torch.save(content, path)
    (folder / "last_checkpoint").write_text(str(path))
