"""Parts of a data set, each with files of its own: one that cannot be read is left out, and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import SequenceMatcher
from pathlib import Path
from typing import TypeVar

from pc3d.data.errors import DataError
from pc3d.findings import Finding, State

T = TypeVar("T")
_NEAR = 0.75
"""Likeness of two names: 0.93 of image_2 and image_02, 0.91 of labels and label, 0.6 of lidar and radar."""


class Parts:
    """Parts of one kind: frames, sequences, cameras, label files.

    Args:
        name: of the finding.
        what: the parts, in the plural, e.g. `sequences`.
        needed: without a single one there is nothing to use.
        remedy: of those that are missing.
        always: say that they are missing even where all are.
    """

    def __init__(
        self,
        name: str,
        what: str,
        needed: bool = False,
        remedy: str = "extract their archive again",
        always: bool = False,
    ) -> None:
        self._always = always
        self._name, self._what, self._needed, self._remedy = name, what, needed, remedy
        self._all: set[str] = set()
        self._absent: dict[str, None] = {}
        self._failed: dict[str, DataError] = {}

    def read(self, where: str, read: Callable[[], T]) -> T | None:
        """What `read` gives of the part `where`, None where it raises a DataError."""
        self._all.add(where)
        try:
            return read()
        except DataError as error:
            self._failed.setdefault(where, error)
            return None

    def count(self, where: str, there: bool) -> bool:
        """Count a part that may be missing; gives `there` back."""
        self._all.add(where)
        if not there:
            self._absent.setdefault(where)
        return there

    def check(self) -> None:
        """Raise the first error where the parts are needed and none could be read."""
        if self._needed and self._failed and len(self._failed) == len(self._all):
            raise next(iter(self._failed.values()))

    def findings(self) -> list[Finding]:
        """Which were left out, and which are missing where others are there.

        Raises:
            DataError: of the first, see `check`.
        """
        self.check()
        of, found = len(self._all), []
        if self._failed:
            where, error = next(iter(self._failed.items()))
            why, _, remedy = str(error).partition("\n  remedy: ")
            text = f"{len(self._failed)} of {of} {self._what} cannot be read and were left out"
            text += f", first: {where}: {' '.join(why.split())}"
            state: State = "problem" if len(self._failed) == of else "warning"
            found.append(Finding(self._name, state, text, remedy))
        if self._absent and (self._always or len(self._absent) < of):
            text = f"{len(self._absent)} of {of} {self._what} are missing, first: {next(iter(self._absent))}"
            found.append(Finding(self._name, "warning", text, self._remedy))
        return found


def nearly_named(
    folders: Iterable[Path], expected: Iterable[str], others: Iterable[str] = ()
) -> list[Finding]:
    """Find what is nearly named as what a folder should hold and does not.

    Args:
        folders: that are looked at.
        expected: names of the folders and files in them that are read.
        others: names that may be there besides.
    """
    names = list(expected)
    known = {*names, *others}
    odd: dict[str, tuple[Path, int]] = {}
    for folder in folders:
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        for name in sorted(there - known):
            likeness, near = max((SequenceMatcher(None, one, name).ratio(), one) for one in names)
            if near not in there and likeness >= _NEAR:
                first, count = odd.get(f"{name} is not read, {near} would be", (folder / name, 0))
                odd[f"{name} is not read, {near} would be"] = (first, count + 1)
    return [
        Finding("names", "warning", f"{text}: {count} times, first: {first}", "rename it, if it is that")
        for text, (first, count) in odd.items()
    ]
