"""The command `pc3d`: a file for each sub-command, imported when it is asked for.

A sub-command is a module here and a line in `COMMANDS`. The module has `HELP` (one line), `EXAMPLES` (command
lines), `add(parser)`, which adds its arguments, and `run(args)`; its docstring is the description. Where
arguments depend on others, `extend(parser, arguments)` adds more. It imports what is heavy in `run` only, so
that `--help` need not wait for it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from pc3d.data.errors import did_you_mean
from pc3d.engine.command_line import run_command

COMMANDS: dict[str, str] = {
    "simulate": "simulate",
    "index": "index",
    "verify": "verify",
    "inspect": "inspect",
    "calibration": "calibration",
    "split": "split",
    "folder": "folder",
    "regions": "regions",
    "objects": "objects",
    "configs": "configs",
    "pretrain": "pretrain",
    "finetune": "finetune",
    "evaluate": "evaluate",
    "probe": "probe",
    "neighbours": "neighbours",
    "pseudo-label": "pseudo_label",
    "visualize": "visualize",
    "import": "import_weights",
    "export": "export",
    "replay": "replay",
    "doctor": "doctor",
}
"""Sub-commands and their modules, in the order in which a user meets them."""

DESCRIPTION = """\
usage: pc3d COMMAND [arguments]

Pretrain LiDAR and camera backbones on drives without labels, fine-tune them with few labels, and measure what
that bought.

commands:
{commands}

`pc3d COMMAND --help` has the arguments of a command and examples.
"""


def main() -> None:
    """The command line of this process."""
    run_command(lambda: dispatch(sys.argv[1:]))


def script(name: str, *given: str) -> None:
    """What a script of `tools/` or `data_prep/` is: the sub-command `name` under the script's own name.

    Args:
        given: arguments that stand before those of the command line.
    """
    own = Path(sys.argv[0]).resolve()
    # Python puts the script's folder first, and data_prep/nuscenes.py would hide the nuscenes-devkit.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != own.parent]
    run_command(lambda: _run(name, [*given, *sys.argv[1:]], own.name))


def dispatch(arguments: Sequence[str]) -> None:
    """Run the sub-command that the first argument names.

    Raises:
        ValueError: there is no such sub-command.
        SystemExit: after `--help`, or with another exit code than 0.
    """
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(DESCRIPTION.format(commands=_listing()), end="")
        raise SystemExit(0 if arguments else 2)
    if arguments[0] in ("-V", "--version"):
        from pc3d import __version__

        print(f"pc3d {__version__}")
        return
    _run(arguments[0], arguments[1:], f"pc3d {arguments[0]}")


def available() -> list[str]:
    """The sub-commands that there are."""
    return [name for name, module in COMMANDS.items() if find_spec(f"{__name__}.{module}") is not None]


def parser_of(name: str, prog: str) -> argparse.ArgumentParser:
    """The parser of a sub-command."""
    module = _module(name)
    parser = argparse.ArgumentParser(
        prog=prog,
        description=module.__doc__,
        epilog="examples:\n" + module.EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add(parser)
    return parser


def _run(name: str, arguments: Sequence[str], prog: str) -> None:
    if name not in available():
        near = did_you_mean(name, available())
        raise ValueError(f"pc3d has no command {name!r}{near}; known: {', '.join(available())}")
    _search_here()
    parser = parser_of(name, prog)
    if extend := getattr(_module(name), "extend", None):
        extend(parser, arguments)
    args = parser.parse_args(arguments)
    _module(name).run(args)


def _module(name: str) -> ModuleType:
    return import_module(f"{__name__}.{COMMANDS[name]}")


def _listing() -> str:
    names = available()
    width = max(map(len, names))
    return "\n".join(f"  {name:{width}}  {_module(name).HELP}" for name in names)


def _search_here() -> None:
    """Let the working directory be searched for the user's own modules, after all that is installed.

    Python puts it first with `-m`: a `nuscenes.py` or `torch.py` there would hide the package of that name.
    """
    here = os.getcwd()
    sys.path[:] = [entry for entry in sys.path if entry not in ("", here)] + [here]
