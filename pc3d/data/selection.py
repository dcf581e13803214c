"""What of a data set an index takes: some cameras, labels or not, scenes that are whole."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from pc3d.data.errors import did_you_mean, fail
from pc3d.data.records import Sweep


@dataclass(frozen=True)
class Selection:
    """Everything, unless said otherwise.

    Attributes:
        cameras: names to take, () for none, None for all.
        labels: take the files of point labels. sweeps: take sweeps between key frames.
        skip_missing: leave out scenes with missing files.
        tables_only: files need not be there.
    """

    cameras: tuple[str, ...] | None = None
    labels: bool = True
    sweeps: bool = True
    skip_missing: bool = False
    tables_only: bool = False

    @classmethod
    def of(cls, args: argparse.Namespace) -> Selection:
        """The selection of the arguments of `add_selection`.

        Raises:
            DataError: `none` beside names of cameras.
        """
        names = None if args.cameras is None else tuple(name for name in args.cameras if name != "none")
        if names and "none" in args.cameras:
            fail("`none` stands beside names of cameras", "--cameras", "give one or the other")
        return cls(names, not args.no_labels, not args.no_sweeps, args.skip_missing, args.tables_only)

    def command_line(self) -> str:
        """The arguments that select this, each after a space."""
        names = " ".join(map(shlex.quote, self.cameras or ["none"]))
        return (
            ("" if self.cameras is None else f" --cameras {names}")
            + ("" if self.labels else " --no-labels")
            + ("" if self.sweeps else " --no-sweeps")
            + (" --skip-missing" if self.skip_missing else "")
            + (" --tables-only" if self.tables_only else "")
        )

    def take(self, sweeps: Iterable[Sweep]) -> Iterator[Sweep]:
        """The sweeps that are selected, with what is selected of them.

        Raises:
            DataError: at the end, a camera of that name was in no sweep.
        """
        seen: set[str] = set()
        for sweep in sweeps:
            seen.update(camera.name for camera in sweep.cameras)
            if sweep.is_key_frame or self.sweeps:
                yield self.part(sweep)
        for name in sorted(set(self.cameras or ()) - seen):
            there = ", ".join(sorted(seen)) or "no camera"
            fail(
                f"no sweep has a camera {name!r}{did_you_mean(name, seen)}",
                "--cameras",
                f"there are: {there}",
            )

    def part(self, sweep: Sweep) -> Sweep:
        """What is selected of a sweep."""
        if self.cameras is not None:
            sweep = replace(
                sweep, cameras=tuple(camera for camera in sweep.cameras if camera.name in self.cameras)
            )
        return sweep if self.labels or sweep.lidarseg_path is None else replace(sweep, lidarseg_path=None)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """The options of a `Selection`."""
    group = parser.add_argument_group("what is indexed (default: all of it)")
    group.add_argument("--cameras", nargs="+", metavar="NAME", help="only these cameras; `none` for none")
    group.add_argument("--no-labels", action="store_true", help="without the files of point labels")
    group.add_argument("--no-sweeps", action="store_true", help="key frames only")
    group.add_argument("--skip-missing", action="store_true", help="without scenes that have missing files")
    group.add_argument(
        "--tables-only",
        action="store_true",
        help="what the tables say; files need not be there, none is opened",
    )
