"""Label fractions as published token lists, made by named rules.

"1 %" means other frames in every public code base: a list of tokens leaves no doubt.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import DataError, fail, some
from pc3d.data.index import SweepIndex
from pc3d.storage.whole import write_bytes

RULES = ("scenes", "last_scenes", "frames", "nested")
PERCENTS = (1, 5, 10, 20, 25, 50, 100)
"""Label fractions of which lists are published, `configs/splits/`."""


def _stride(percent: float) -> int:
    if not 0 < percent <= 100:
        raise ValueError(f"a label fraction is in (0, 100] percent, got {percent}")
    return max(1, round(100 / percent))


def label_fraction(
    index: SweepIndex, split: str, percent: float, rule: str = "auto", draw: int = 0
) -> list[str]:
    """Sweep tokens of a share of a split's key frames, by a stride without randomness, or nested.

    Args:
        index: of the data set.
        split: e.g. `train`.
        percent: in (0, 100]; the stride is `round(100 / percent)`.
        rule: "scenes" takes all key frames of every k-th scene, the first included (CALICO); "last_scenes"
            those of the last of each k (SLidR); "frames" takes every k-th key frame of the split
            (SuperFlow's lists are of frames); "auto" takes "scenes" where there are at least k of them,
            else "frames"; "nested" the first of all key frames in a random order (`nested_order`), so that
            of one draw each share holds every smaller one.
        draw: which of the random orders, of "nested" alone; at least one frame is taken.

    Returns:
        Tokens in the order of the index.

    Raises:
        DataError: no such split, or it has fewer scenes than a rule by scenes needs for one whole
            stride.
        ValueError: a share, a rule or a draw that there is not.
    """
    stride = _stride(percent)
    if draw != 0 and (rule != "nested" or draw < 0):
        raise ValueError(f"draw is {draw}: rule 'nested' has draws from 0, and rule {rule!r} has no other")
    rows = index.key_rows(split)
    scenes = _by_scene(index, rows)
    if rule == "auto":
        rule = "scenes" if len(scenes) >= stride else "frames"
    if rule in ("scenes", "last_scenes"):
        if len(scenes) < stride:
            fail(
                f"{percent} % by scenes is every {stride}th scene, split {split!r} has {len(scenes)}",
                index.folder,
                'use rule "frames", or a larger share',
            )
        chosen = [
            row for scene in scenes[stride - 1 if rule == "last_scenes" else 0 :: stride] for row in scene
        ]
    elif rule == "frames":
        chosen = rows[::stride].tolist()
    elif rule == "nested":
        number = max(1, math.floor(percent * len(rows) / 100 + 0.5))
        chosen = sorted(nested_order(index, split, draw)[:number])
    else:
        raise ValueError(f"unknown rule {rule!r}, use one of {RULES} or 'auto'")
    return [index[row].token for row in chosen]


def nested_order(index: SweepIndex, split: str, draw: int) -> list[int]:
    """The rows of a split's key frames in a random order whose first N are spread over all scenes.

    Stratified: a scene's frames are shuffled, and its r-th stands at `(r + u) / frames` of the order, where u
    is `k / scenes` for the k-th scene of a random order of scenes. So a first share has that share of each
    scene, to about a frame; of scenes of one length all come once before one comes twice.

    "Random" is SHA-256 of the draw, the token of the scene's first key frame and the place in the scene: the
    same on every machine and with every version of numpy, and other frames in data sets whose scenes have
    the same names.
    """
    scenes = _by_scene(index, index.key_rows(split))
    names = [index[scene[0]].token for scene in scenes]
    places: list[tuple[float, int, int]] = []
    for k, number in enumerate(sorted(range(len(scenes)), key=lambda n: _random(draw, names[n]))):
        scene = scenes[number]
        shuffled = sorted(range(len(scene)), key=lambda place: _random(draw, names[number], place))
        # One division, correctly rounded, so that equal places are equal and k decides.
        places += [
            ((r * len(scenes) + k) / (len(scenes) * len(scene)), k, scene[place])
            for r, place in enumerate(shuffled)
        ]
    return [row for _, _, row in sorted(places)]


def _random(*what: object) -> bytes:
    """Of equal distribution, and the same for the same `what`."""
    return hashlib.sha256("\n".join(map(str, what)).encode()).digest()


def _by_scene(index: SweepIndex, rows: NDArray[np.int64]) -> list[list[int]]:
    """The rows of each scene, in the order of the index."""
    return [list(group) for _, group in groupby(rows.tolist(), key=lambda row: index.scene_rows(row).start)]


def rows_of_scenes(index: SweepIndex, names: Iterable[str]) -> NDArray[np.int64]:
    """(N,) rows of the key frames of some scenes, ascending.

    Raises:
        DataError: the index has no key frame of one of them.
    """
    wanted = set(names)
    rows = {index[scene[0]].scene: scene for scene in _by_scene(index, index.key_rows(None))}
    missing = sorted(wanted - set(rows))
    if missing:
        fail(
            f"no key frame of {len(missing)} of {len(wanted)} scenes, the first {missing[0]!r}",
            index.folder,
            "check that the list belongs to this data set, and that its index is complete",
        )
    return np.array(sorted(row for name in wanted for row in rows[name]), dtype=np.int64)


def write_fraction_lists(
    index: SweepIndex, split: str, folder: str | Path, prefix: str, of_what: str
) -> list[Path]:
    """Write the token lists of `PERCENTS`.

    `PREFIX_5_percent.txt` is what `data.fraction=5` takes (rule "auto"); where that is by scenes,
    `PREFIX_5_percent_frames.txt` is the same share by frames.

    Args:
        of_what: the data, for the comment line, e.g. "sim_train of the bench simulation (seed 0)".

    Returns:
        The files.
    """
    scenes = len(_by_scene(index, index.key_rows(split)))
    written = []
    for percent in PERCENTS:
        stride = _stride(percent)
        rules = (
            ("scenes", "frames") if 1 < stride <= scenes else (("scenes",) if stride == 1 else ("frames",))
        )
        for rule in rules:
            tokens = label_fraction(index, split, percent, rule)
            path = Path(folder) / f"{prefix}_{percent}_percent{'_frames' if rule != rules[0] else ''}.txt"
            every = _every(stride, "scene" if rule == "scenes" else "key frame")
            write_tokens(path, tokens, f"{percent} % of {of_what}: {every}, {len(tokens)} key frames")
            written.append(path)
    return written


def write_scene_lists(scenes: Sequence[str], folder: str | Path, prefix: str, of_what: str) -> list[Path]:
    """Write lists of scene names, `PREFIX_5_percent_scenes.txt`: of `PERCENTS`, every k-th of `scenes`.

    In the order of the index (by name) they are the scenes of `label_fraction(..., rule="scenes")`.

    Returns:
        The files; read one with `read_tokens`.
    """
    written = []
    for percent in PERCENTS:
        chosen = scenes[:: _stride(percent)]
        path = Path(folder) / f"{prefix}_{percent}_percent_scenes.txt"
        every = _every(_stride(percent), "scene")
        write_tokens(
            path, chosen, f"{percent} % of {of_what}: {every}, {len(chosen)} of {len(scenes)} scenes"
        )
        written.append(path)
    return written


def _every(stride: int, what: str) -> str:
    if stride == 1:
        return f"every {what}"
    ending = {2: "nd", 3: "rd"}.get(stride, "th")
    return f"every {stride}{ending} {what}"


def write_tokens(path: str | Path, tokens: Iterable[str], comment: str) -> None:
    """Write a token list, all or nothing: a comment line that says what it is, then one token a line."""
    if "\n" in comment:
        raise ValueError("the comment of a token list is one line")
    text = "\n".join([f"# {comment}", *tokens]) + "\n"
    write_bytes(Path(path), text.encode())


def read_tokens(path: str | Path) -> list[str]:
    """Tokens of a list; lines that start with # are comments.

    Raises:
        DataError: the file cannot be read, holds no token, or one twice.
    """
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"token list cannot be read: {error}\n  where: {path}\n  remedy: check the path; a list is UTF-8 "
            "text, one token a line"
        ) from error
    tokens = [line for line in lines if line and not line.startswith("#")]
    odd = next((token for token in tokens if not token.isprintable()), None)
    if not tokens or odd:
        fail(
            f"token list holds {odd!r}, which is no token" if odd else "token list is empty",
            path,
            "write it as UTF-8 text, one token a line",
        )
    counts = Counter(tokens)
    twice = [token for token in counts if counts[token] > 1]
    if twice:
        fail(f"token list names {some(twice, len(counts))} twice", path, "name each once")
    return tokens
