"""The curve of the random start over label shares, and the share with which it gets a score.

Monotone by isotonic regression (Barlow et al., Statistical Inference under Order Restrictions, 1972), linear
in the logarithm of the share between two shares. A score above the end of the curve or below its start has no
share, only a bound of it: such values are censored and keep their sign.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Sign = Literal["<", "", ">"]
Floats = NDArray[np.float64]


def isotonic(scores: ArrayLike, weights: ArrayLike) -> Floats:
    """The closest scores that do not fall, in weighted least squares, of many curves at once.

    Args:
        scores: (..., S) of each share, ascending. weights: (S,) above 0.

    Returns:
        (..., S): the largest of the smallest means, max over a <= i of min over b >= i of mean(a..b).
    """
    y, w = np.asarray(scores, np.float64), np.asarray(weights, np.float64)
    shares = y.shape[-1]
    found = np.full(y.shape, -np.inf)
    for a in range(shares):
        # One alone is itself, without rounding: the curve's own scores are on the curve.
        means = [y[..., a]] + [np.average(y[..., a : b + 1], -1, w[a : b + 1]) for b in range(a + 1, shares)]
        smallest = np.minimum.accumulate(means[::-1], axis=0)[::-1]
        found[..., a:] = np.maximum(found[..., a:], np.moveaxis(smallest, 0, -1))
    return np.maximum.accumulate(found, axis=-1)


@dataclass(frozen=True)
class Bound:
    """A number, or on which side of it the number lies."""

    value: float
    sign: Sign = ""

    def text(self, unit: str = "") -> str:
        """`>20`, `4.2`, `0.35`: two digits, more where the number has more before the point; and the unit."""
        digits = 0 if round(self.value, 1) >= 10 else 1 if round(self.value, 2) >= 1 else 2
        return f"{self.sign}{self.value:.{digits}f}{unit}"


@dataclass(frozen=True)
class LabelCurve:
    """Scores of the random start over label shares.

    Attributes:
        shares: (S,) at least two, above 0, ascending, in any unit.
        means: (S,) of the runs.
        scores: (S,) the same made monotone.
    """

    shares: tuple[float, ...]
    means: tuple[float, ...]
    scores: tuple[float, ...]

    @classmethod
    def of(cls, means: Mapping[float, float], weights: Mapping[float, float] | None = None) -> LabelCurve:
        """The curve through the mean of each share.

        Args:
            weights: of each share, its number of runs: one of many runs is moved less.

        Raises:
            ValueError: fewer than two shares, one that is not above 0, or a number that is not finite.
        """
        shares = sorted(means)
        if len(shares) < 2:
            have = ", ".join(f"{share:g}" for share in shares) or "none"
            raise ValueError(
                f"a label curve needs two shares, there is {have}: run the random start with more"
            )
        if not 0 < shares[0] <= shares[-1] < math.inf:
            raise ValueError(f"label shares are above 0 and finite, there are {shares[0]} to {shares[-1]}")
        ordered = [float(means[share]) for share in shares]
        if not all(map(math.isfinite, ordered)):
            raise ValueError(f"the scores of a label curve are {ordered}, expected finite numbers")
        counts = [1.0 if weights is None else weights[share] for share in shares]
        return cls(tuple(map(float, shares)), tuple(ordered), tuple(isotonic(ordered, counts).tolist()))

    def at(self, share: float) -> float:
        """The monotone curve's score with a share.

        Raises:
            ValueError: the share is not between the smallest and the largest one.
        """
        low, high = self.shares[0], self.shares[-1]
        if not low <= share <= high:
            raise ValueError(f"the label curve goes from {low:g} to {high:g}, {share:g} is outside")
        return float(np.interp(math.log(share), np.log(self.shares), self.scores))

    def share_for(self, score: float) -> Bound:
        """The smallest share with which the curve reaches a score; `>` the largest or `<` the smallest share
        where it never does or always did."""
        found = log_shares_for(np.array([score]), np.array([self.scores]), np.log(self.shares))
        return bound_of(found[0], self.shares)


def log_shares_for(scores: Floats, curves: Floats, log_shares: Floats) -> Floats:
    """(N,) logarithm of the share with which each curve reaches its score; infinite where censored.

    Args:
        scores: (N,). curves: (N, S) ascending. log_shares: (S,).
    """
    tie = 1e-12 * np.abs(curves).max(axis=-1)  # means of the same scores, in another order
    reached = curves >= (scores - tie)[..., None]
    after = reached.argmax(axis=-1)
    before = np.maximum(after - 1, 0)
    low, high = (np.take_along_axis(curves, i[..., None], axis=-1)[..., 0] for i in (before, after))
    part = np.clip((scores - low) / np.where(high > low, high - low, 1.0), 0, 1)
    found = log_shares[before] + part * (log_shares[after] - log_shares[before])
    found = np.where(part == 1, log_shares[after], found)
    found = np.where(reached.any(axis=-1), found, np.inf)
    return np.where(scores < curves[..., 0] - tie, -np.inf, found)


def bound_of(log_share: float, shares: Sequence[float], unit: float = 1.0) -> Bound:
    """The share of a logarithm in units of `unit`."""
    if log_share == math.inf:
        return Bound(shares[-1] / unit, ">")
    if log_share == -math.inf:
        return Bound(shares[0] / unit, "<")
    exact = next((share for share in shares if np.log(share) == log_share), math.exp(log_share))
    return Bound(exact / unit)


def multiplier(curve: LabelCurve, share: float, score: float) -> Bound:
    """m = L / p of a start with `score` at the label share p = `share`.

    Raises:
        ValueError: the share is not above 0, or the score is not finite.
    """
    if not share > 0 or not math.isfinite(score):
        raise ValueError(
            f"a start with share {share} and score {score}: expected a share above 0, a finite score"
        )
    found = curve.share_for(score)
    return Bound(found.value / share, found.sign)


def gap_closed(score: float, few: float, many: float) -> float | None:
    """The share of the gap between the random start with few and with all labels that a start closes.

    Returns:
        (score - few) / (many - few): 0 is the random start, 1 is all labels; None where there is no gap.
    """
    return None if many <= few else (score - few) / (many - few)
