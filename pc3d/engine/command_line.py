"""Arguments that the training commands share, and how their errors reach a person."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pc3d.data.errors import DataError
from pc3d.engine.runs.exits import (
    BAD_INPUT,
    DISK,
    NOT_FINITE,
    Stopped,
    disk_message,
    is_disk_error,
    worker_message,
)
from pc3d.engine.runs.signals import STOPS
from pc3d.engine.settings.options import HELP, OptionsAction


def training_parser(description: str, examples: str) -> argparse.ArgumentParser:
    """Parser with the arguments of `add_training`."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog="examples:\n" + examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_training(parser)
    return parser


def add_training(parser: argparse.ArgumentParser) -> None:
    """Add CONFIG, --work-dir, what to do with a run that is there, --cfg-options, --launcher."""
    parser.add_argument(
        "config", type=Path, help="config file, or the name of one that ships with pc3d: see `pc3d configs`"
    )
    parser.add_argument("--work-dir", type=Path, help="run folder (default: work_dirs/<config name>)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--resume", action="store_true", help="go on from the newest whole checkpoint of the run folder"
    )
    what.add_argument("--overwrite", action="store_true", help="remove the run that is in the run folder")
    parser.add_argument(
        "--allow-change",
        nargs="+",
        default=[],
        metavar="KEY",
        help="with --resume: settings (optimizer.lr) or sections (optimizer) that may differ from then",
    )
    parser.add_argument(
        "--take-over", action="store_true", help="take the folder from a run that still holds its lock"
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=OptionsAction,
        metavar="KEY=VALUE",
        help=HELP,
    )
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm"], default="none")


def start_options(args: argparse.Namespace) -> dict[str, Any]:
    """What `pretrain` and `finetune` are told about a run that is there already.

    Raises:
        ValueError: --allow-change without --resume.
    """
    if args.allow_change and not args.resume:
        raise ValueError("--allow-change goes with --resume: a new run has no earlier settings")
    return {name: getattr(args, name) for name in ("resume", "overwrite", "allow_change", "take_over")}


def run_command(command: Callable[[], None]) -> None:
    """Run a command; what ends it is one clear message and the exit code of its kind, see `exits`."""
    try:
        with STOPS.installed():
            command()
    except Stopped as stop:
        _end(stop.message, stop.code)
    except FloatingPointError as error:
        _end(f"error: {error}", NOT_FINITE)
    except (DataError, ValueError, FileNotFoundError, ImportError) as error:
        # An error of a data worker arrives with the worker's traceback in its text.
        _end(f"error: {_last_error(error)}", BAD_INPUT)
    except (OSError, RuntimeError) as error:
        worker = worker_message(error)
        if worker is not None:
            _end(f"error: {worker}", BAD_INPUT)
        if not isinstance(error, OSError):
            raise
        if is_disk_error(error):
            _end(f"error: {disk_message(error)}", DISK)
        _end(f"error: {error.strerror or error}\n  where: {error.filename}", BAD_INPUT)


def _last_error(error: Exception) -> str:
    return re.split(r"\n\S*(?:Error|Exception): ", str(error))[-1].rstrip()


def _end(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr, flush=True)
    raise SystemExit(code) from None
