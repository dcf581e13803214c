"""Regions of an index's key frames with all processes of a machine: progress, estimate, what came out."""

from __future__ import annotations

import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from pc3d.data.errors import fail
from pc3d.data.index import SweepIndex
from pc3d.processes import worker_pool
from pc3d.regions.build import BuildSummary, Params, build_regions, open_cache, prepare
from pc3d.regions.key_frame import key_frames
from pc3d.regions.semantics import SemanticParams
from pc3d.storage.whole import read_json, write_json

STATISTICS = "statistics.json"
_FIRST = 4
"""Key frames for each process after which the time of all of them is estimated."""


def cut_regions(
    index: SweepIndex,
    rows: NDArray[np.int64],
    out: Path,
    kinds: dict[str, Params],
    workers: int,
    table: bool = True,
) -> BuildSummary:
    """Compute the regions of key frames into the caches under `out`; what is there already stays.

    Args:
        rows: of the key frames. kinds: parameters by kind. workers: processes.
        table: print the statistics. They are in `statistics.json` in any case.

    Raises:
        DataError: regions of a sweep could not be made, the others are; or a worker was killed.
    """
    console = Console(stderr=True)
    with console.status("fitting what the sweeps share"):
        prepare(index, out, kinds)
    out.mkdir(parents=True, exist_ok=True)
    summary = _build(index, rows, out, kinds, workers, console)
    _write_statistics(summary, kinds, out)
    _report(summary, Console(), table)
    if summary.failures:
        first = summary.failures[0]
        fail(
            f"{len(summary.failures)} times the regions of a sweep could not be made",
            f"{first.kind} of sweep {first.token}, and those above",
            "mend what is said there and run it again: what is done is kept",
        )
    return summary


def missing_rows(index: SweepIndex, rows: NDArray[np.int64], out: Path, kinds: dict[str, Params]) -> int:
    """How many of the key frames lack regions of one of the kinds."""
    caches = [open_cache(out, kind, params) for kind, params in kinds.items()]
    return sum(not all(cache.has(index[int(row)].token) for cache in caches) for row in rows)


def _build(
    index: SweepIndex,
    rows: NDArray[np.int64],
    out: Path,
    kinds: dict[str, Params],
    workers: int,
    console: Console,
) -> BuildSummary:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    progress = Progress(TextColumn("regions"), *columns, console=console)
    estimate = _Estimate(len(rows), workers, console)
    try:
        with worker_pool(workers) as executor, progress:
            task = progress.add_task("regions", total=len(rows))

            def done() -> None:
                progress.advance(task)
                estimate.count()

            frames = key_frames(index, rows)
            return build_regions(frames, out, kinds, executor, in_flight=4 * workers, on_done=done)
    except BrokenProcessPool:
        fail(
            "a worker was killed, most often for want of memory",
            out,
            "run it again with fewer --workers: what is done is kept",
        )


class _Estimate:
    """Says once, after the first key frames, how long all will take."""

    def __init__(self, total: int, workers: int, console: Console) -> None:
        self.total, self.first, self.console = total, _FIRST * workers, console
        self.done, self.began = 0, 0.0

    def count(self) -> None:
        """One key frame more is done. The first one's time is left out: the workers start in it."""
        self.done += 1
        if self.done == 1:
            self.began = time.monotonic()
        if self.done == self.first + 1 and self.total > 2 * self.first:
            each = (time.monotonic() - self.began) / self.first
            left = duration(each * (self.total - self.done))
            self.console.print(
                f"{each:.2g} s a key frame, measured on the first {self.done}: about {left} for the "
                f"{self.total - self.done:,} that are left",
                highlight=False,
                soft_wrap=True,
            )


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{max(seconds, 1):.0f} seconds"


def _report(summary: BuildSummary, console: Console, table: bool) -> None:
    for kind, values in summary.statistics().items():
        console.print(f"{kind}: {summary.computed[kind]} sweeps computed, {summary.reused[kind]} reused")
        if table:
            _print_table(values, console)
    for failure in summary.failures:
        console.print(
            f"failed: {failure.kind} of sweep {failure.token}: {failure.error}",
            style="red",
            markup=False,
            soft_wrap=True,
        )


def _print_table(values: dict[str, float | None], console: Console) -> None:
    table = Table()
    table.add_column("statistic")
    table.add_column("value", justify="right")
    for name, value in values.items():
        table.add_row(name, "-" if value is None else f"{value:.4g}")
    console.print(table)


def _write_statistics(summary: BuildSummary, kinds: dict[str, Params], out: Path) -> None:
    """Add the statistics to `statistics.json`."""
    path, statistics = out / STATISTICS, summary.statistics()
    content = read_json(path) if path.is_file() else {}
    for kind, params in kinds.items():
        content[open_cache(out, kind, params).folder.name] = {
            "kind": kind,
            "made from labels": isinstance(params, SemanticParams) and params.uses_labels,
            "parameters": asdict(params),
            "statistics": statistics.get(kind, {}),
            "failures": [asdict(failure) for failure in summary.failures if failure.kind == kind],
        }
    write_json(path, content)
