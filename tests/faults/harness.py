"""A fault: something wrong in data, calibration, settings or parts, and how a command ends on it."""

from __future__ import annotations

import os
import re
import runpy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
QUICK = [
    "data.batch_size=2",
    "data.workers=0",
    "runtime.log_every=1",
    "runtime.log_level=WARNING",
    "lidar.widths=(4,4,8,8,8,8,8,8)",
    "lidar.stem=4",
    "lidar.voxel_size=(0.5,0.5,0.5)",
    "lidar.bev_channels=8",
]
"""`--cfg-options` that make a run on a MinkUNet quick."""


@dataclass(frozen=True)
class Place:
    """Where a fault is made: a private copy of the tiny simulated data set, and what was made of it.

    Attributes:
        tmp: an empty folder. sound_root, index, regions: of the sound data set, not to be changed.
        real: the real samples, or None.
    """

    tmp: Path
    sound_root: Path
    index: Path
    regions: Path
    real: Path | None = None

    def copy_of_data(self, source: Path | None = None) -> Path:
        """A copy of the data set whose files are hard links: `rewrite` leaves the sound one whole."""
        target = self.tmp / "data"
        for folder, _, names in os.walk(source or self.sound_root):
            there = target / Path(folder).relative_to(source or self.sound_root)
            there.mkdir(parents=True)
            for name in names:
                link_or_copy(Path(folder) / name, there / name)
        return target

    def rewrite(self, path: Path, content: bytes) -> None:
        """Replace the content of a file of the copy."""
        path.unlink(missing_ok=True)
        path.write_bytes(content)


def link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or a read-only one
        target.write_bytes(source.read_bytes())


@dataclass(frozen=True)
class Fault:
    """A row of the table of faults in docs/reliability.md, and how it is tried.

    Attributes:
        name: what is wrong, as the table has it.
        when: it is said: `indexing`, `start` (before the first step or prediction), `first steps`, `frame`
            (when the frame is read), `regions`, `end`.
        code: exit code; 0 where it is said and the command goes on.
        says: regular expressions that the output holds.
        command: spoils something at a place and gives the command line: a script of the repository and its
            arguments.
        never: regular expressions that the output must not hold.
    """

    name: str
    when: str
    code: int
    says: Sequence[str]
    command: Callable[[Place], Sequence[str | Path]]
    never: Sequence[str] = field(default=("Traceback",))


def run_script(arguments: Sequence[str | Path], capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run a script of the repository in this process; its exit code and all that it printed."""
    script, *rest = map(str, arguments)
    capfd.readouterr()
    with patch.object(sys, "argv", [script, *rest]), patch.object(sys, "path", list(sys.path)):
        try:
            runpy.run_path(str(REPOSITORY / script), run_name="__main__")
            code: object = 0
        except SystemExit as end:
            code = end.code or 0
    out = capfd.readouterr()
    # A progress bar goes back to the start of its line.
    return (code if isinstance(code, int) else 1), (out.out + out.err).replace("\r", "\n")


def check(fault: Fault, place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    """The command ends as the fault says: its code, its words, one error with a place and a remedy."""
    code, text = run_script(fault.command(place), capfd)
    shown = f"exit code {code}\n{text[-3000:]}"
    for pattern in fault.says:
        assert re.search(pattern, text), f"{pattern!r} is not in: {shown}"
    for pattern in fault.never:
        assert not re.search(pattern, text), f"{pattern!r} is in: {shown}"
    assert code == fault.code, shown
    if fault.code:
        assert len(re.findall(r"^ *error: ", text, re.MULTILINE)) == 1, shown
