"""The points that everybody is probed on: drawn once, whoever is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from pc3d.data.classes import ClassSet
from pc3d.data.errors import fail
from pc3d.data.index import SweepIndex
from pc3d.data.index_classes import COMMON, with_classes
from pc3d.data.labels import load_labels
from pc3d.data.points import load_sweep
from pc3d.data.records import Float32
from pc3d.evaluation.own.scored_classes import scored_classes
from pc3d.evaluation.own.truth import labelled_rows


@dataclass(frozen=True, eq=False)
class ProbeData:
    """Labelled points of some sweeps, N in all, sweep after sweep.

    Attributes:
        index: of the data set.
        tokens: of the S sweeps.
        rows: of each sweep the (n,) int64 points, ascending, in the numbering of `load_sweep`.
        labels: (N,) int64 >= 0.
        classes: names of the labels.
    """

    index: SweepIndex
    tokens: tuple[str, ...]
    rows: tuple[NDArray[np.int64], ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def __len__(self) -> int:
        return len(self.labels)

    def clouds(self) -> Iterator[tuple[Float32, NDArray[np.int64]]]:
        """Of each sweep all points (P, 4), x y z (m, LiDAR frame) and intensity, and the drawn rows."""
        for token, rows in zip(self.tokens, self.rows, strict=True):
            yield load_sweep(self.index[self.index.row_of(token)]), rows

    def select(self, chosen: NDArray[np.bool_]) -> ProbeData:
        """The points of a (N,) mask, of the same sweeps."""
        ends = np.cumsum([len(rows) for rows in self.rows])[:-1]
        rows = zip(self.rows, np.split(chosen, ends), strict=True) if self.rows else ()
        kept = tuple(of_sweep[mask] for of_sweep, mask in rows)
        return ProbeData(self.index, self.tokens, kept, self.labels[chosen], self.classes)


def draw_points(
    index: SweepIndex,
    tokens: Sequence[str],
    points_per_sweep: int = 300,
    seed: int = 0,
    common: bool = False,
) -> ProbeData:
    """Draw labelled points of sweeps, uniformly and without repeats.

    The draw of a sweep depends on its token, its labels and the seed alone: other sweeps beside it, or
    another encoder, change nothing.

    Args:
        tokens: of sweeps with point labels.
        points_per_sweep: at most so many of each.
        common: label them with the classes that all data sets share, so that two can be compared.

    Raises:
        DataError: the index has no classes of points, or no common ones; a sweep has no labels; no point of
            any sweep is of a class.
        ValueError: no token, one twice, or no point is asked for.
    """
    tokens = checked_tokens(tokens, points_per_sweep, "points")
    classes = probed_classes(index, common)
    rows, labels = [], []
    for token, row in zip(tokens, index.rows_of(tokens).tolist(), strict=True):
        sweep = index[row]
        of_sweep = load_labels(sweep, len(load_sweep(sweep)), classes)
        rows.append(_draw(of_sweep, points_per_sweep, token, seed))
        labels.append(of_sweep[rows[-1]])
    joined = np.concatenate(labels)
    if not len(joined):
        what = f"no point of the {len(tokens)} sweeps is of a class: nothing could be probed"
        fail(what, index.folder, "choose other sweeps, or give the raw ids classes in the class file")
    return ProbeData(index, tokens, tuple(rows), joined, classes.classes)


def checked_tokens(tokens: Sequence[str], each: int, of_what: str) -> tuple[str, ...]:
    """The tokens, where something can be drawn of each sweep once.

    Raises:
        ValueError: no token, one twice, or nothing is asked for.
    """
    tokens = tuple(tokens)
    if each < 1 or not tokens or len(set(tokens)) < len(tokens):
        raise ValueError(
            f"{each} {of_what} of {len(tokens)} sweeps ({len(set(tokens))} different), expected at "
            "least 1 of each and each sweep once"
        )
    return tokens


def rng_of(token: str, seed: int) -> np.random.Generator:
    """Random numbers of a sweep, whatever other sweeps are drawn beside it."""
    return np.random.default_rng([seed, int.from_bytes(sha256(token.encode()).digest()[:8], "big")])


def probed_classes(index: SweepIndex, common: bool = False) -> ClassSet:
    """The classes of points of an index, or the common ones by its raw ids.

    Raises:
        DataError: it has none.
    """
    own = scored_classes(index, "lidarseg")
    if not common or own.name == COMMON:
        return own
    shared = ClassSet.of(with_classes(index.metadata, COMMON))
    if shared is None or not shared.classes:
        remedy = "write a class file with `labels` in its section `common`, and index with FILE.yaml:common"
        fail(f"the classes {own.name!r} have no common classes of points", index.folder, remedy)
    return shared


def spread_key_frames(index: SweepIndex, split: str, count: int) -> list[str]:
    """Tokens of at most `count` key frames with point labels, at equal steps through a split.

    Raises:
        DataError: no such split, or no key frame of it has point labels.
        ValueError: none is asked for.
    """
    if count < 1:
        raise ValueError(f"{count} key frames of split {split!r}, expected at least 1")
    sweeps = [index[row] for row in _at_equal_steps(index.key_rows(split), count).tolist()]
    if any(sweep.lidarseg_path is None for sweep in sweeps):  # then all rows are looked at
        labelled = labelled_rows(index, split, "lidarseg")
        sweeps = [index[row] for row in _at_equal_steps(labelled, count).tolist()]
    return [sweep.token for sweep in sweeps]


def _at_equal_steps(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    count = min(count, len(rows))
    return np.asarray(rows)[np.arange(count) * len(rows) // count]


def _draw(labels: NDArray[np.int64], count: int, token: str, seed: int) -> NDArray[np.int64]:
    """(n,) ascending rows: the first labelled ones of a random order of all points."""
    order = rng_of(token, seed).permutation(len(labels))
    return np.sort(order[labels[order] >= 0][:count])
