"""Compute the regions of every key frame of an index once: LiDAR clusters and image superpixels.

What the cache has already is kept, so an interrupted run goes on where it stopped; other parameters have
a cache of their own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

# Run as a script, this folder stands first on the path and its nuscenes.py hides the nuscenes-devkit.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).parent.resolve()]

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

from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.regions.build import KINDS, BuildSummary, Params, build_regions

EXAMPLES = """examples:
  python data_prep/regions.py index/mini --out cache/mini
  python data_prep/regions.py index/mini --out cache/mini --kinds clusters --workers 8
  python data_prep/regions.py index/mini --out cache/mini --kinds superpixels --superpixels-width 800

What the parameters mean: RegionParams in pc3d.regions.ground,
SuperpixelParams in pc3d.regions.superpixels.
"""

PREFIX = {"clusters": "", "superpixels": "superpixels-"}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("index", type=Path, metavar="INDEX", help="index folder")
    parser.add_argument("--out", type=Path, required=True, metavar="CACHE", help="folder of the caches")
    parser.add_argument("--root", type=Path, help="data set root, if it is not where the index was made")
    parser.add_argument("--split", help="only the key frames of this split (default: all)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="default: all")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (default %(default)s)")
    for kind, params in KINDS.items():
        group = parser.add_argument_group(f"parameters of {kind}")
        for name, default in asdict(params()).items():
            # The two that are None by default are a height in metres and a width in pixels.
            convert = {"sensor_height": float, "width": int}.get(name, type(default))
            group.add_argument(_flag(kind, name), type=convert, default=default, help="default %(default)s")
    args = parser.parse_args()
    if args.workers < 1:
        parser.error(f"--workers is {args.workers}, expected at least 1")
    return args


def _flag(kind: str, name: str) -> str:
    return "--" + PREFIX[kind] + name.replace("_", "-")


def _params(kind: str, args: argparse.Namespace) -> Params:
    values = vars(args)
    chosen: dict[str, Any] = {
        field.name: values[_flag(kind, field.name)[2:].replace("-", "_")] for field in fields(KINDS[kind])
    }
    return KINDS[kind](**chosen)


def _report(summary: BuildSummary, kinds: dict[str, Params], out: Path, console: Console) -> None:
    """Print the statistics and write them to `statistics.json`."""
    statistics = summary.statistics()
    for kind, values in statistics.items():
        console.print(f"{kind}: {summary.computed[kind]} sweeps computed, {summary.reused[kind]} reused")
        table = Table()
        table.add_column("statistic")
        table.add_column("value", justify="right")
        for name, value in values.items():
            table.add_row(name, "-" if value is None else f"{value:.4g}")
        console.print(table)
    for failure in summary.failures:
        console.print(
            f"failed: {failure.kind} of sweep {failure.token}: {failure.error}",
            style="red",
            markup=False,
            soft_wrap=True,
        )
    content = {
        "parameters": {kind: asdict(params) for kind, params in kinds.items()},
        "statistics": statistics,
        "failures": [asdict(failure) for failure in summary.failures],
    }
    (out / "statistics.json").write_text(json.dumps(content, indent=2) + "\n")


def main() -> None:
    args = _parse()
    console = Console(stderr=True)
    try:
        kinds = {kind: _params(kind, args) for kind in args.kinds}
        index = SweepIndex.open(args.index, root=args.root)
        rows = index.key_rows(args.split)
    except (DataError, ValueError) as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)
    args.out.mkdir(parents=True, exist_ok=True)
    progress = Progress(
        TextColumn("regions"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    # Spawned, not forked: the progress bar has a thread.
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(args.workers, mp_context=context) as executor, progress:
            task = progress.add_task("regions", total=len(rows))
            summary = build_regions(
                (index[int(row)] for row in rows),
                args.out,
                kinds,
                executor,
                in_flight=4 * args.workers,
                on_done=lambda: progress.advance(task),
            )
    except BrokenProcessPool:
        console.print(
            "error: a worker was killed, most often for want of memory. Run it again with fewer --workers: "
            "what is done is kept",
            style="red",
            soft_wrap=True,
        )
        sys.exit(1)
    _report(summary, kinds, args.out, Console())
    sys.exit(1 if summary.failures else 0)


if __name__ == "__main__":
    main()
