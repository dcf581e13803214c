"""Index a data set: read its tables once, look at what it holds, and write an index that all else reads.

The format is found by itself; `--format` names it where it is not. Raw files stay where they are and as they
are.
`pc3d index ROOT --help` has the options of the format of ROOT too.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

HELP = "index a data set of any format: what all other commands read"
EXAMPLES = """\
  pc3d index /data/nuscenes --version v1.0-mini --out index/mini
  pc3d index /data/SemanticKITTI --out index/semantic-kitti
  pc3d index /data/drives/today.bag --list-topics
  pc3d index /data/own --out index/own --classes classes.yaml
  pc3d index /data/nuscenes --out index/lidar --cameras none
  pc3d index /data/own --format my_package.reader:MyReader --out index/own
"""


def add(parser: argparse.ArgumentParser) -> None:
    from pc3d.data.selection import add_selection

    parser.add_argument("root", type=Path, metavar="ROOT", help="folder of the data set, or a bag")
    parser.add_argument("--out", type=Path, metavar="INDEX", help="index folder to write")
    parser.add_argument(
        "--format", metavar="NAME", help="of the data set, or `module:Class` of a reader of yours"
    )
    parser.add_argument(
        "--classes",
        metavar="FILE",
        help="YAML file of classes, name of a set of pc3d, or `common` (default: the format's)",
    )
    parser.add_argument(
        "--compensate-motion",
        action="store_true",
        help="move points to the time of their sweep, by their own times and the poses",
    )
    parser.add_argument("--verbose", action="store_true", help="print findings that are no fault too")
    add_selection(parser)


def extend(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Add the options of the format that the arguments name, or that their root has."""
    named, root = _early(arguments)
    if named is None and root is None:
        return
    from pc3d.data.errors import did_you_mean
    from pc3d.data.plugins import is_plugin, resolve
    from pc3d.data.readers import READERS
    from pc3d.data.readers.detect import detect_format

    name = named or detect_format(root or ".")
    if ".py:" in name:
        raise ValueError(f"--format {name}: name the module without .py, {name.replace('.py:', ':')}")
    if is_plugin(name):
        resolve(name)
    elif name not in READERS:
        known = did_you_mean(name, READERS) or f"; known: {', '.join(READERS)}"
        raise ValueError(f"--format {name}: there is no such format{known}, or module:Class of your own")
    command = ["pc3d", "index", *arguments, *([] if named else ["--format", name])]
    parser.set_defaults(format=name, rebuild=shlex.join(command), reader_options=())
    before = {action.dest for action in parser._actions}
    group = parser.add_argument_group(f"options of the format {name}")
    if options := getattr(import_module(_module_of(name)), "add_options", None):
        options(group)
    parser.set_defaults(reader_options=tuple({a.dest for a in parser._actions} - before))


def _early(arguments: Sequence[str]) -> tuple[str | None, Path | None]:
    """The format that is named and the root, before the options of the format are known."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add(early)
    next(action for action in early._actions if action.dest == "root").nargs = "?"
    known, others = early.parse_known_args([text for text in arguments if text not in ("-h", "--help")])
    # Of an option that is not known yet, the value stands there like a root.
    values = [*([str(known.root)] if known.root else []), *(text for text in others if text[:1] != "-")]
    return known.format, next((Path(text) for text in values if Path(text).exists()), None)


def _module_of(name: str) -> str:
    from pc3d.data.readers import READERS

    return READERS.get(name, name).partition(":")[0]


def run(args: argparse.Namespace) -> None:
    from pc3d.data.build import build_index
    from pc3d.data.errors import fail
    from pc3d.data.readers.detect import detect_format
    from pc3d.data.selection import Selection

    if args.format is None:
        detect_format(args.root)
    options: dict[str, Any] = {name: getattr(args, name) for name in args.reader_options}
    if options.pop("list_topics", False):
        from pc3d.data.readers.bag.topics import list_topics, topics_table

        print(topics_table(list_topics(args.root)))
        return
    if args.out is None:
        fail("there is no place for the index", "--out", "name a folder: --out INDEX")
    if args.classes is not None:
        options["classes"] = args.classes
    build_index(
        args.format,
        args.root,
        args.out,
        args.rebuild,
        Selection.of(args),
        args.verbose,
        compensate_motion=args.compensate_motion,
        **options,
    )
