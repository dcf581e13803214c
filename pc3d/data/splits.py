"""Label fractions as published token lists, made by named rules.

"1 %" means other frames in every public code base: a list of tokens leaves no doubt.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from pc3d.data.errors import DataError, fail
from pc3d.data.index import SweepIndex

RULES = ("scenes", "frames")


def _stride(percent: float) -> int:
    if not 0 < percent <= 100:
        raise ValueError(f"a label fraction is in (0, 100] percent, got {percent}")
    return max(1, round(100 / percent))


def label_fraction(index: SweepIndex, split: str, percent: float, rule: str = "auto") -> list[str]:
    """Sweep tokens of a share of a split's key frames, by a stride, without randomness.

    Args:
        index: of the data set.
        split: e.g. `train`.
        percent: in (0, 100]; the stride is `round(100 / percent)`.
        rule: "scenes" takes all key frames of every k-th scene, the first included (CALICO; SLidR
            takes every 100th scene for 1 %); "frames" takes every k-th key frame of the split
            (SuperFlow's lists are of frames); "auto" takes scenes where there are at least k of them,
            else frames.

    Raises:
        DataError: no such split, or it has fewer scenes than the rule "scenes" needs for one whole
            stride.
    """
    stride = _stride(percent)
    rows = index.key_rows(split)
    scenes = [list(group) for _, group in groupby(rows.tolist(), key=lambda row: index.scene_rows(row).start)]
    if rule == "auto":
        rule = "scenes" if len(scenes) >= stride else "frames"
    if rule == "scenes":
        if len(scenes) < stride:
            fail(
                f"{percent} % by scenes is every {stride}th scene, split {split!r} has {len(scenes)}",
                index.folder,
                'use rule "frames", or a larger share',
            )
        chosen = [row for scene in scenes[::stride] for row in scene]
    elif rule == "frames":
        chosen = rows[::stride].tolist()
    else:
        raise ValueError(f"unknown rule {rule!r}, use one of {RULES} or 'auto'")
    return [index[row].token for row in chosen]


def write_tokens(path: str | Path, tokens: Iterable[str], comment: str) -> None:
    """Write a token list: a comment line that says what it is, then one token a line."""
    if "\n" in comment:
        raise ValueError("the comment of a token list is one line")
    Path(path).write_text("\n".join([f"# {comment}", *tokens]) + "\n")


def read_tokens(path: str | Path) -> list[str]:
    """Tokens of a list; lines that start with # are comments.

    Raises:
        DataError: the file cannot be read, holds no token, or one twice.
    """
    try:
        lines = [line.strip() for line in Path(path).read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"token list cannot be read: {error}\n  where: {path}\n  remedy: check the path"
        ) from error
    tokens = [line for line in lines if line and not line.startswith("#")]
    if not tokens or len(set(tokens)) != len(tokens):
        fail("token list is empty or names a token twice", path, "write it again with `write_tokens`")
    return tokens
