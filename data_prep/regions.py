"""Compute the regions of every key frame of an index once: what belongs together, in points and pixels.

What the cache has already is kept, so an interrupted run goes on where it stopped; other parameters have
a cache of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from concurrent.futures.process import BrokenProcessPool
from dataclasses import MISSING, Field, asdict, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

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

from pc3d.data.errors import fail
from pc3d.data.index import SweepIndex
from pc3d.engine.command_line import run_command
from pc3d.processes import stopped_in_one_line, worker_pool
from pc3d.regions.build import KINDS, BuildSummary, Params, build_regions, open_cache, prepare
from pc3d.regions.ground import GroundParams
from pc3d.regions.key_frame import key_frames
from pc3d.regions.semantics import SemanticParams
from pc3d.storage.whole import read_json, write_json

EXAMPLES = """examples:
  python data_prep/regions.py index/mini --out cache/mini
  python data_prep/regions.py index/mini --out cache/mini --kinds clusters --workers 8
  python data_prep/regions.py index/mini --out cache/mini --kinds superpixels --superpixels-width 800
  python data_prep/regions.py index/mini --out cache/mini --kinds semantics --semantics-clusters 64
  python data_prep/regions.py index/mini --out cache/mini --kinds semantics --semantics-source png \
      --semantics-folder maps/mini
  python data_prep/regions.py index/mini --out cache/mini --kinds supervoxels tracks --sensor-height 1.8

What the parameters mean: the classes named beside them.
"""

DEFAULT_KINDS = ["clusters", "superpixels"]
GROUND = [field.name for field in fields(GroundParams)]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        usage="%(prog)s INDEX --out CACHE [options]",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("index", type=Path, metavar="INDEX", help="index folder")
    parser.add_argument("--out", type=Path, required=True, metavar="CACHE", help="folder of the caches")
    parser.add_argument("--root", type=Path, help="data set root, if it is not where the index was made")
    parser.add_argument("--split", help="only the key frames of this split (default: all)")
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=[*KINDS, "all"],
        default=DEFAULT_KINDS,
        help=f"default: {' '.join(DEFAULT_KINDS)}",
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (default %(default)s)")
    _add_parameters(parser, "ground", "of clusters, supervoxels and tracks", GroundParams)
    for name, kind in KINDS.items():
        _add_parameters(parser, name, f"of {name}", kind.params)
    args = parser.parse_args()
    if args.workers < 1:
        raise ValueError(f"--workers is {args.workers}, expected at least 1")
    return args


def _add_parameters(parser: argparse.ArgumentParser, kind: str, whose: str, params: type) -> None:
    group = parser.add_argument_group(f"parameters {whose} ({params.__module__}.{params.__name__})")
    hints = get_type_hints(params)
    for field in fields(params):
        if kind == "ground" or field.name not in GROUND:
            group.add_argument(
                _flag(kind, field.name), help="default %(default)s", **_argument(field, hints[field.name])
            )


def _argument(field: Field, hint: Any) -> dict[str, Any]:
    """How argparse reads the values of a field."""
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction, "default": default}
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint), "default": default}
    if get_origin(hint) is dict:
        return {"type": json.loads, "default": json.dumps(default), "metavar": "JSON"}
    # Of `float | None` the float.
    return {"type": next(iter(get_args(hint)), hint), "default": default}


def _flag(kind: str, name: str) -> str:
    prefix = "" if kind == "clusters" or name in GROUND else f"{kind}-"
    return f"--{prefix}{name}".replace("_", "-")


def _params(kind: str, args: argparse.Namespace) -> Params:
    values = vars(args)
    chosen: dict[str, Any] = {
        field.name: values[_flag(kind, field.name)[2:].replace("-", "_")]
        for field in fields(KINDS[kind].params)
    }
    return KINDS[kind].params(**chosen)


def _report(summary: BuildSummary, kinds: dict[str, Params], out: Path, console: Console) -> None:
    """Print the statistics and add them to `statistics.json`."""
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
    path = out / "statistics.json"
    content = read_json(path) if path.is_file() else {}
    for kind, params in kinds.items():
        content[open_cache(out, kind, params).folder.name] = {
            "kind": kind,
            "made from labels": _uses_labels(params),
            "parameters": asdict(params),
            "statistics": statistics.get(kind, {}),
            "failures": [asdict(failure) for failure in summary.failures if failure.kind == kind],
        }
    write_json(path, content)


def _uses_labels(params: Params) -> bool:
    return isinstance(params, SemanticParams) and params.uses_labels


def main() -> None:
    with stopped_in_one_line("what is done is kept; run it again to go on"):
        _run(_parse())


def _run(args: argparse.Namespace) -> None:
    console = Console(stderr=True)
    warnings.showwarning = lambda message, *_: console.print(f"warning: {message}", style="bold red")
    wanted = list(KINDS) if "all" in args.kinds else args.kinds
    kinds = {kind: _params(kind, args) for kind in wanted}
    index = SweepIndex.open(args.index, root=args.root)
    rows = index.key_rows(args.split)
    with console.status("fitting what the sweeps share"):
        prepare(index, args.out, kinds)
    args.out.mkdir(parents=True, exist_ok=True)
    progress = Progress(
        TextColumn("regions"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    try:
        with worker_pool(args.workers) as executor, progress:
            task = progress.add_task("regions", total=len(rows))
            summary = build_regions(
                key_frames(index, rows),
                args.out,
                kinds,
                executor,
                in_flight=4 * args.workers,
                on_done=lambda: progress.advance(task),
            )
    except BrokenProcessPool:
        fail(
            "a worker was killed, most often for want of memory",
            args.out,
            "run it again with fewer --workers: what is done is kept",
        )
    _report(summary, kinds, args.out, Console())
    if summary.failures:
        first = summary.failures[0]
        fail(
            f"{len(summary.failures)} times the regions of a sweep could not be made",
            f"{first.kind} of sweep {first.token}, and those above",
            "mend what is said there and run it again: what is done is kept",
        )


if __name__ == "__main__":
    run_command(main)
