"""How many labels a start is worth: the label multiplier, and the share of the gap that it closes.

m = L / p. A start was fine-tuned with the label share p. L is the share with which the random start gets the
same score, read from its curve (`LabelCurve`) over nested subsets of frames (`label_fraction(...,
rule="nested")`), each share the mean of all worlds and draws. `>`: more than the largest share is needed;
`<`: fewer than the smallest is. Censored resamples stay censored in the bootstrap interval, whose ends are
order statistics: it may go from 4 to `>20`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pc3d.evaluation.intervals import FEWEST_WORLDS, LEVEL, RESAMPLES
from pc3d.evaluation.label_curve import (
    Bound,
    LabelCurve,
    bound_of,
    gap_closed,
    isotonic,
    log_shares_for,
    multiplier,
)

Floats = NDArray[np.float64]
Run = tuple[Hashable, Hashable]
"""World and draw: a repetition inside of a world, of other frames or another seed."""

__all__ = ["Bound", "LabelCurve", "LabelMultiplier", "gap_closed", "label_multiplier", "multiplier"]


@dataclass(frozen=True)
class LabelMultiplier:
    """What a start is worth, over worlds and draws.

    Attributes:
        share: p. score: mean of the start with it. curve: of the random start, in the same worlds.
        multiplier: m. interval: its (low, high) of the bootstrap, None for fewer than three worlds.
        gap: `gap_closed`, from the random start with the same share to that with the largest one.
        gap_interval: None where `gap` is, or where too many resamples have no gap.
        worlds, runs: n of the start's runs. level: of the intervals.
        note: in words, what was left out or cannot be said.
    """

    share: float
    score: float
    curve: LabelCurve
    multiplier: Bound
    interval: tuple[Bound, Bound] | None
    gap: float | None
    gap_interval: tuple[float, float] | None
    worlds: int
    runs: int
    level: float = LEVEL
    note: str = ""

    def text(self) -> str:
        """m and its interval: `4.2 [2.1 to >20]`."""
        between = f" [{self.interval[0].text()} to {self.interval[1].text()}]" if self.interval else ""
        return f"{self.multiplier.text()}{between}"

    def gap_text(self) -> str:
        """The share of the gap in percent and its interval, empty where there is no gap."""
        if self.gap is None:
            return ""
        ends = self.gap_interval
        between = f" [{100 * ends[0]:.0f} to {100 * ends[1]:.0f}]" if ends else ""
        return f"{100 * self.gap:.0f} %{between}"


def label_multiplier(
    random: Mapping[Run, Mapping[float, float]],
    start: Mapping[Run, float],
    share: float,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> LabelMultiplier:
    """The label multiplier of a start and the share of the gap that it closes, with bootstrap intervals.

    Worlds are drawn with replacement, then draws inside of each: the curve's and the start's runs of a draw
    together, since they saw the same frames. A share that no drawn run has (all labels are the same frames in
    every draw, and run once) keeps its mean of that world.

    Args:
        random: score of the random start by (world, draw) and label share.
        start: score of the start with the label share `share`, by (world, draw).
        share: in the unit of the curve's; within its range.

    Raises:
        ValueError: no world has both; fewer than two shares that all of these worlds have; a share outside of
            the curve; a score that is not finite.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected a share above 0 and below 1")
    runs = _Runs.of(random, start)
    columns = runs.means()
    means = dict(zip(runs.shares, columns[:-1].tolist(), strict=True))
    curve = LabelCurve.of(means, dict(zip(runs.shares, runs.counts()[:-1].tolist(), strict=True)))
    curve.at(share)  # or it is outside
    found = multiplier(curve, share, float(columns[-1]))
    few = _between(columns[None, :-1], curve.shares, share)[0]
    gap, notes, interval, gap_interval = gap_closed(columns[-1], few, columns[-2]), runs.notes, None, None
    if len(runs.values) >= FEWEST_WORLDS:
        drawn = runs.resample(resamples, seed)
        curves = isotonic(drawn[:, :-1], runs.counts()[:-1])
        logs = log_shares_for(drawn[:, -1], curves, np.log(curve.shares))
        low, high = (bound_of(log, curve.shares, share) for log in _range(logs, logs, level))
        interval, gap_interval = (low, high), _gap_range(drawn, curve.shares, share, level)
    else:
        notes = [*notes, "too few worlds for a bootstrap"]
    if gap is None:
        notes, gap_interval = [*notes, f"no gap between {share:g} and {curve.shares[-1]:g}"], None
    elif interval and gap_interval is None:
        notes = [*notes, "no interval of the gap, which some resamples do not have"]
    counts, score = {"worlds": len(runs.values), "runs": int(runs.counts()[-1])}, float(columns[-1])
    gap = None if gap is None else float(gap)
    return LabelMultiplier(
        share, score, curve, found, interval, gap, gap_interval, **counts, level=level, note="; ".join(notes)
    )


@dataclass(frozen=True)
class _Runs:
    """The scores of both starts in the worlds that both have.

    Attributes:
        shares: (S,) those that the random start has in each of these worlds, ascending.
        values: of each world (draws, S + 1): the random start's by share, and the start's; NaN: not run.
        notes: what was left out.
    """

    shares: list[float]
    values: list[Floats]
    notes: list[str]

    @classmethod
    def of(cls, random: Mapping[Run, Mapping[float, float]], start: Mapping[Run, float]) -> _Runs:
        both = [world for world in _worlds(start) if world in _worlds(random)]
        if not both:
            raise ValueError(
                f"the start was run in the worlds {_named(_worlds(start))}, the random one in "
                f"{_named(_worlds(random))}: a label multiplier needs a world with both"
            )
        notes = []
        alone = [world for world in _worlds({**random, **start}) if world not in both]
        if alone:
            notes.append(f"without {_named(alone)}, where only one start was run")
        by_world = [{share for run in random if run[0] == world for share in random[run]} for world in both]
        shares = sorted(set.intersection(*by_world))
        partial = sorted(set.union(*by_world) - set(shares))
        if partial:
            notes.append(f"without {', '.join(f'{s:g}' for s in partial)}, which not all worlds have")
        values = [_matrix(world, random, start, shares) for world in both]
        return cls(shares, values, notes)

    def counts(self) -> Floats:
        """(S + 1,) runs of each column."""
        return np.sum([np.isfinite(world).sum(axis=0) for world in self.values], axis=0).astype(np.float64)

    def means(self) -> Floats:
        """(S + 1,) means of the means of the worlds."""
        return np.mean([np.nanmean(world, axis=0) for world in self.values], axis=0)

    def resample(self, resamples: int, seed: int) -> Floats:
        """(resamples, S + 1) means over worlds, and draws inside of them, that are drawn with replacement."""
        if resamples < 1:
            raise ValueError(f"resamples is {resamples}, expected at least 1")
        rng = np.random.default_rng(seed)
        drawn = rng.integers(0, len(self.values), (resamples, len(self.values)))
        found = np.empty((*drawn.shape, len(self.shares) + 1))
        for number, world in enumerate(self.values):
            slots = np.nonzero(drawn == number)
            draws = world[rng.integers(0, len(world), (len(slots[0]), len(world)))]
            run = np.isfinite(draws)
            sums, counts = np.where(run, draws, 0.0).sum(axis=1), run.sum(axis=1)
            found[slots] = np.where(counts > 0, sums / np.maximum(counts, 1), np.nanmean(world, axis=0))
        return found.mean(axis=1)


def _worlds(runs: Mapping[Run, object]) -> list[Hashable]:
    return list(dict.fromkeys(world for world, _ in runs))


def _named(worlds: Sequence[Hashable]) -> str:
    return ", ".join(map(str, worlds)) or "none"


def _matrix(
    world: Hashable,
    random: Mapping[Run, Mapping[float, float]],
    start: Mapping[Run, float],
    shares: list[float],
) -> Floats:
    """(draws, S + 1) scores of a world, NaN where not run."""
    draws = dict.fromkeys(draw for runs in (random, start) for own, draw in runs if own == world)
    rows = []
    for draw in draws:
        run = (world, draw)
        scores = [*(random.get(run, {}).get(share) for share in shares), start.get(run)]
        odd = next((score for score in scores if score is not None and not math.isfinite(score)), None)
        if odd is not None:
            raise ValueError(f"a score of world {world!r}, draw {draw!r} is {odd}, expected a finite number")
        rows.append([math.nan if score is None else score for score in scores])
    return np.array(rows, np.float64)


def _between(scores: Floats, shares: Sequence[float], share: float) -> Floats:
    """(N,) scores with a share, linear in its logarithm, of (N, S)."""
    logs = np.log(shares)
    after = int(np.clip(np.searchsorted(logs, math.log(share)), 1, len(shares) - 1))
    part = (math.log(share) - logs[after - 1]) / (logs[after] - logs[after - 1])
    return (1 - part) * scores[:, after - 1] + part * scores[:, after]


def _range(low: Floats, high: Floats, level: float) -> tuple[float, float]:
    """The ends of the middle `level` of values that lie between `low` and `high`: order statistics, the outer
    ones, since there is nothing between a number and infinity."""
    last = len(low) - 1
    ends = math.floor(last * (1 - level) / 2), math.ceil(last * (1 + level) / 2)
    return float(np.sort(low)[ends[0]]), float(np.sort(high)[ends[1]])


def _gap_range(
    drawn: Floats, shares: Sequence[float], share: float, level: float
) -> tuple[float, float] | None:
    """The interval of the closed gap; a resample without a gap could be anywhere."""
    few, many = _between(drawn[:, :-1], shares, share), drawn[:, -2]
    there = many > few
    closed = (drawn[:, -1] - few) / np.where(there, many - few, 1.0)
    ends = _range(np.where(there, closed, -np.inf), np.where(there, closed, np.inf), level)
    return ends if all(map(math.isfinite, ends)) else None
