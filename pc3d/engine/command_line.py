"""Arguments that the training commands share, and how their errors reach a person."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

from mmengine.config import DictAction

from pc3d.data.errors import DataError


def training_parser(description: str, examples: str) -> argparse.ArgumentParser:
    """Parser with CONFIG, --work-dir, --resume, --cfg-options and --launcher."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog="examples:\n" + examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", type=Path, help="config file, for example configs/pretrain/sim_joint.py")
    parser.add_argument("--work-dir", type=Path, help="run folder (default: work_dirs/<config name>)")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint of the run folder"
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        metavar="KEY=VALUE",
        help="override settings, for example schedule.epochs=5 data.batch_size=2",
    )
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm"], default="none")
    return parser


def run_command(command: Callable[[], None]) -> None:
    """Run a command; bad input ends it with one clear line and exit code 2."""
    try:
        command()
    except (DataError, ValueError, FileNotFoundError, ImportError, FloatingPointError) as error:
        # An error of a data worker arrives with the worker's traceback in its text.
        text = re.split(r"\n\S*(?:Error|Exception): ", str(error))[-1].rstrip()
        print(f"error: {text}", file=sys.stderr)
        raise SystemExit(2) from None
