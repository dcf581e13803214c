"""Key frames of drives that name none: every so-manyth sweep."""

from __future__ import annotations

import argparse


def check_key_every(key_every: int) -> None:
    """Raise ValueError unless every so-manyth sweep can be a key frame."""
    if key_every < 1:
        raise ValueError(f"key_every is {key_every}, expected at least 1")


def key_every_note(key_every: int, what: str = "sweep") -> str:
    """What the index says of it; `what` the data set calls a sweep."""
    return f"every {what} is a key frame" if key_every == 1 else f"one {what} in {key_every} is a key frame"


def add_key_every(parser: argparse.ArgumentParser, what: str = "sweep") -> None:
    """The option --key-every."""
    parser.add_argument(
        "--key-every", type=int, default=1, metavar="N", help=f"every N-th {what} is a key frame (default 1)"
    )
