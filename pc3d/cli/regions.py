"""Compute the regions of every key frame of an index once: what belongs together, in points and pixels.

What the cache has already is kept, so an interrupted run goes on where it stopped; other parameters have
a cache of their own. What the parameters mean: the classes named beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from pc3d.regions.build import Params

HELP = "compute what belongs together in points and images"
EXAMPLES = """\
  pc3d regions index/mini --out cache/mini
  pc3d regions index/mini --out cache/mini --kinds clusters --workers 8
  pc3d regions index/mini --out cache/mini --kinds superpixels --superpixels-width 800
  pc3d regions index/mini --out cache/mini --kinds semantics --semantics-clusters 64
  pc3d regions index/mini --out cache/mini --kinds semantics --semantics-source png \\
      --semantics-folder maps/mini
  pc3d regions index/mini --out cache/mini --kinds objects --objects-max-regions 128
  pc3d regions index/mini --out cache/mini --kinds supervoxels tracks --sensor-height 1.8
"""
DEFAULT_KINDS = ["clusters", "superpixels"]


def add(parser: argparse.ArgumentParser) -> None:
    from pc3d.regions.build import KINDS
    from pc3d.regions.ground import GroundParams

    parser.usage = "%(prog)s INDEX --out CACHE [options]"
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
    _add_parameters(parser, "ground", "of clusters, supervoxels, objects and tracks", GroundParams)
    for name, kind in KINDS.items():
        _add_parameters(parser, name, f"of {name}", kind.params)


def run(args: argparse.Namespace) -> None:
    from rich.console import Console

    from pc3d.data.index import SweepIndex
    from pc3d.processes import stopped_in_one_line
    from pc3d.regions.build import KINDS
    from pc3d.regions.cut import cut_regions

    if args.workers < 1:
        raise ValueError(f"--workers is {args.workers}, expected at least 1")
    console = Console(stderr=True)
    warnings.showwarning = lambda message, *_: console.print(f"warning: {message}", style="bold red")
    wanted = list(KINDS) if "all" in args.kinds else args.kinds
    with stopped_in_one_line("what is done is kept; run it again to go on"):
        kinds = {kind: _params(kind, args) for kind in wanted}
        index = SweepIndex.open(args.index, root=args.root)
        cut_regions(index, index.key_rows(args.split), args.out, kinds, args.workers)


def _add_parameters(parser: argparse.ArgumentParser, kind: str, whose: str, params: type) -> None:
    group = parser.add_argument_group(f"parameters {whose} ({params.__module__}.{params.__name__})")
    hints = get_type_hints(params)
    for field in fields(params):
        if kind == "ground" or field.name not in _of_ground():
            group.add_argument(
                _flag(kind, field.name), help="default %(default)s", **_argument(field, hints[field.name])
            )


def _of_ground() -> set[str]:
    """The parameters that clusters, supervoxels, objects and tracks share."""
    from pc3d.regions.ground import GroundParams

    return {field.name for field in fields(GroundParams)}


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
    prefix = "" if kind == "clusters" or name in _of_ground() else f"{kind}-"
    return f"--{prefix}{name}".replace("_", "-")


def _params(kind: str, args: argparse.Namespace) -> Params:
    from pc3d.regions.build import KINDS

    values = vars(args)
    chosen: dict[str, Any] = {
        field.name: values[_flag(kind, field.name)[2:].replace("-", "_")]
        for field in fields(KINDS[kind].params)
    }
    return KINDS[kind].params(**chosen)
