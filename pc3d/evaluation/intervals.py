"""Means over worlds and seeds with 95 % intervals, paired: start minus reference in the same world and seed.

Worlds are the sample, seeds are repetitions inside of one: two runs in one world say little about a third
world. So the mean is over the means of the worlds, and two intervals stand beside each other:

- the hierarchical bootstrap (worlds are drawn with replacement, then seeds inside of each drawn one; Davison
  and Hinkley, Bootstrap Methods and their Application, 3.8), by percentiles. It takes any distribution, but
  with few worlds it is too narrow: three of them have ten different resamples.
- the t interval of the means of the worlds. It takes them as normal, and is right for three worlds as well.

Fewer than three worlds have no bootstrap interval, one has none at all; `note` says so.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
FEWEST_WORLDS = 3
"""For a bootstrap: two worlds have three different resamples, whose range is no interval."""
RESAMPLES = 10_000

Scores = Mapping[tuple[Hashable, Hashable], float]
"""A score of each (world, seed)."""


@dataclass(frozen=True)
class Interval:
    """A mean and how sure it is.

    Attributes:
        mean: of the means of the worlds: each world counts the same, whatever its number of runs.
        bootstrap: (low, high) of the hierarchical bootstrap; None for fewer than three worlds.
        t: (low, high) of the t interval over the means of the worlds; None for one.
        worlds, runs: n of both. level: of the intervals.
        note: in words, what there is not; may be empty.
    """

    mean: float
    bootstrap: tuple[float, float] | None
    t: tuple[float, float] | None
    worlds: int
    runs: int
    level: float = LEVEL
    note: str = ""

    @property
    def above_zero(self) -> bool | None:
        """Whether both intervals lie above zero; None where one is missing."""
        if self.bootstrap is None or self.t is None:
            return None
        return min(self.bootstrap[0], self.t[0]) > 0

    def text(self, scale: float = 1.0, digits: int = 1, sign: bool = True) -> str:
        """In a line: mean, both intervals, n, and what is missing.

        Args:
            scale: of the numbers, 100 for percent. sign: whether positive means have a plus.
        """

        def number(value: float) -> str:
            return f"{scale * value:{'+' if sign else ''}.{digits}f}"

        ranges = [("bootstrap", self.bootstrap), ("t", self.t)]
        found = [
            f"{name} {number(pair[0])} to {number(pair[1])}" for name, pair in ranges if pair is not None
        ]
        between = f" [{100 * self.level:g} %: {'; '.join(found)}]" if found else ""
        return f"{number(self.mean)}{between} ({self.counts()})"

    def counts(self) -> str:
        """n in words, and the note."""
        worlds = f"{self.worlds} world{'s' * (self.worlds != 1)}, {self.runs} run{'s' * (self.runs != 1)}"
        return f"{worlds}: {self.note}" if self.note else worlds


def paired_interval(
    start: Scores, reference: Scores, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Start minus reference, in the same world and with the same seed.

    Runs without their partner are left out, and `note` counts them.

    Raises:
        ValueError: no run has a partner, or a score is not finite.
    """
    shared = [key for key in start if key in reference]
    if not shared:
        raise ValueError(
            f"no run of the start ({_some(start)}) has one of the reference ({_some(reference)}) in its "
            "world with its seed: a difference is of the same world and seed"
        )
    alone = len({*start, *reference}) - len(shared)
    note = f"{alone} without a partner left out" if alone else ""
    _check(start)
    _check(reference)
    return _interval({key: start[key] - reference[key] for key in shared}, level, resamples, seed, note)


def interval(scores: Scores, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """The mean of scores by (world, seed) and its intervals.

    Raises:
        ValueError: there is no score, or one that is not finite.
    """
    _check(scores)
    return _interval(scores, level, resamples, seed, "")


def _interval(scores: Scores, level: float, resamples: int, seed: int, note: str) -> Interval:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected a share above 0 and below 1")
    worlds = by_world(scores)
    means = [statistics.fmean(runs) for runs in worlds]
    notes = [note] if note else []
    bootstrap = t = None
    if len(worlds) >= FEWEST_WORLDS:
        drawn = bootstrap_means(worlds, resamples, seed)
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
        bootstrap = float(low), float(high)
    if len(worlds) > 1:
        t = t_interval(means, level)
    if len(worlds) == 1:
        notes.append("no interval, which needs other worlds")
    elif bootstrap is None:
        notes.append("too few for a bootstrap")
    return Interval(statistics.fmean(means), bootstrap, t, len(worlds), len(scores), level, "; ".join(notes))


def by_world(scores: Scores) -> list[list[float]]:
    """The scores of each world, worlds and scores in the order in which they come."""
    worlds: dict[Hashable, list[float]] = {}
    for (world, _), score in scores.items():
        worlds.setdefault(world, []).append(float(score))
    return list(worlds.values())


def bootstrap_means(worlds: list[list[float]], resamples: int, seed: int = 0) -> NDArray[np.float64]:
    """(resamples,) means of the means of worlds that are drawn with replacement, and their runs inside."""
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}, expected at least 1")
    counts = np.array([len(runs) for runs in worlds])
    values = np.zeros((len(worlds), counts.max()))
    for world, runs in enumerate(worlds):
        values[world, : len(runs)] = runs
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(worlds), (resamples, len(worlds)))
    chosen = rng.integers(0, counts[drawn][..., None], (*drawn.shape, counts.max()))
    kept = np.arange(counts.max()) < counts[drawn][..., None]
    means = (values[drawn[..., None], chosen] * kept).sum(axis=-1) / counts[drawn]
    return means.mean(axis=1)


def t_interval(values: list[float], level: float = LEVEL) -> tuple[float, float]:
    """Student's interval of the mean of at least two values that are normal and independent."""
    from scipy.stats import t

    mean = statistics.fmean(values)
    half = t.ppf((1 + level) / 2, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return float(mean - half), float(mean + half)


def _check(scores: Scores) -> None:
    if not scores:
        raise ValueError("there is no score")
    odd = next((key for key, score in scores.items() if not math.isfinite(score)), None)
    if odd is not None:
        where = "world {!r}, seed {!r}".format(*odd)
        raise ValueError(f"the score of {where} is {scores[odd]}, expected a finite number")


def _some(scores: Scores) -> str:
    keys = [f"world {world}, seed {seed}" for world, seed in scores]
    return "; ".join(keys[:3]) + ("; ..." if len(keys) > 3 else "") if keys else "none"
