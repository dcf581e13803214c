"""The label multiplier by hand, isotonic regression by scikit-learn, and what must hold of any curve."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import isotonic_regression

from pc3d.evaluation.label_curve import isotonic
from pc3d.evaluation.label_multiplier import (
    Bound,
    LabelCurve,
    gap_closed,
    label_multiplier,
    multiplier,
)

SHARES = (1.0, 5.0, 10.0, 25.0, 50.0, 100.0)
RISING = LabelCurve.of({1: 0.2, 10: 0.4, 100: 0.5})
# Strictly rising curves: steps that are not lost in rounding.
steps = st.lists(st.floats(0.01, 1), min_size=6, max_size=6)


def curve_of(rises: list[float], unit: float = 1.0) -> LabelCurve:
    return LabelCurve.of({unit * s: y for s, y in zip(SHARES, np.cumsum(rises).tolist(), strict=True)})


def test_by_hand() -> None:
    """A start has 0.45 with 5 %: halfway from 10 to 100 in the logarithm, 31.6 %, is 6.3 times as many."""
    assert RISING.share_for(0.45).value == pytest.approx(10**1.5)
    assert multiplier(RISING, 5, 0.45).value == pytest.approx(10**1.5 / 5)
    assert multiplier(RISING, 10, 0.3).value == pytest.approx(10**0.5 / 10)  # worse than random: below 1
    assert RISING.at(10**1.5) == pytest.approx(0.45)
    assert multiplier(RISING, 5, 0.51) == Bound(20, ">")
    assert multiplier(RISING, 5, 0.19) == Bound(0.2, "<")
    assert [RISING.share_for(score) for score in (0.2, 0.4, 0.5)] == [Bound(1), Bound(10), Bound(100)]


def test_a_curve_that_falls_is_made_monotone() -> None:
    curve = LabelCurve.of({1: 0.1, 5: 0.3, 10: 0.2, 25: 0.4})
    assert curve.means == (0.1, 0.3, 0.2, 0.4)
    assert curve.scores == pytest.approx((0.1, 0.25, 0.25, 0.4))
    # On a flat piece: the smallest share with which the score is reached.
    assert curve.share_for(curve.scores[1]) == Bound(5)
    assert curve.share_for(0.26).value > 10
    # Three runs at 5 % against one at 10 %: the pool is nearer to the three.
    weighted = LabelCurve.of({1: 0.1, 5: 0.3, 10: 0.2, 25: 0.4}, {1: 3, 5: 3, 10: 1, 25: 1})
    assert weighted.scores == pytest.approx((0.1, 0.275, 0.275, 0.4))


def test_a_flat_curve() -> None:
    curve = LabelCurve.of({1: 0.3, 100: 0.3})
    signs = [curve.share_for(score) for score in (0.29, 0.3, 0.31)]
    assert signs == [Bound(1, "<"), Bound(1), Bound(100, ">")]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-1, 1), st.integers(1, 5)), min_size=1, max_size=7))
def test_isotonic_is_that_of_scikit_learn(runs: list[tuple[float, int]]) -> None:
    scores, weights = np.array(runs, dtype=np.float64).T
    expected = isotonic_regression(scores, sample_weight=weights)
    assert isotonic(scores, weights) == pytest.approx(expected, abs=1e-12)
    both = isotonic(np.stack([scores, -scores]), weights)  # many curves at once
    assert both[1] == pytest.approx(isotonic_regression(-scores, sample_weight=weights), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(steps, st.integers(0, 5))
def test_the_random_start_is_worth_its_own_labels(rises: list[float], place: int) -> None:
    curve = curve_of(rises)
    assert multiplier(curve, SHARES[place], curve.means[place]) == Bound(1.0)


@settings(max_examples=60, deadline=None)
@given(steps, st.lists(st.floats(-1, 7), min_size=2, max_size=6), st.floats(0.01, 1000))
def test_monotone_in_the_score_and_without_a_unit(
    rises: list[float], scores: list[float], unit: float
) -> None:
    """More score is never fewer labels (censored: outside of all others); percent are as good as frames."""
    curve, scaled = curve_of(rises), curve_of(rises, unit)
    found = [multiplier(curve, 5, score) for score in sorted(scores)]
    order = {"<": 0, "": 1, ">": 2}
    for less, more in pairwise(found):
        assert (order[less.sign], less.value) <= (order[more.sign], more.value + 1e-12)
    for score, here in zip(sorted(scores), found, strict=True):
        there = multiplier(scaled, 5 * unit, score)
        assert there.sign == here.sign
        assert there.value == pytest.approx(here.value, rel=1e-9)
        if here.sign == "":  # the way back
            assert curve.at(min(max(5 * here.value, 1), 100)) == pytest.approx(score, abs=1e-9)


def test_the_gap_that_is_closed() -> None:
    assert gap_closed(0.45, 0.3, 0.6) == pytest.approx(0.5)
    assert gap_closed(0.2, 0.3, 0.6) == pytest.approx(-1 / 3)
    assert gap_closed(0.4, 0.3, 0.3) is None


Runs = dict[tuple[Any, Any], dict[float, float]]


def _runs(worlds: int = 3, draws: int = 2, noise: float = 0.0) -> Runs:
    """0.2, 0.3 and 0.4 at 1, 10 and 100 %; worlds have levels of their own; all labels are run once."""
    rng = np.random.default_rng(0)
    return {
        (world, draw): {
            share: 0.2 + 0.1 * place + 0.05 * world + noise * rng.normal()
            for place, share in enumerate((1, 10, 100))
            if share < 100 or draw == 0
        }
        for world in range(worlds)
        for draw in range(draws)
    }


def test_over_worlds_without_noise() -> None:
    """Every world gains what 10 times the labels give: m is 10 in each resample, whatever their levels."""
    random = _runs()
    start = {run: scores[1] + 0.1 for run, scores in random.items()}
    found = label_multiplier(random, start, 1)
    assert found.multiplier.value == pytest.approx(10)
    assert found.interval is not None
    assert [end.value for end in found.interval] == pytest.approx([10, 10])
    assert found.gap == pytest.approx(0.5)
    assert found.gap_interval == pytest.approx((0.5, 0.5))
    assert (found.worlds, found.runs, found.note) == (3, 6, "")
    assert found.text() == "10 [10 to 10]"
    assert found.gap_text() == "50 % [50 to 50]"


def test_censored_resamples_stay_censored() -> None:
    """The start is far above all labels in one world, and the random one in two: the mean is inside of the
    curve, and resamples are not."""
    random = _runs(draws=1)
    start = {run: scores[1] + (0.5 if run[0] == 0 else 0.0) for run, scores in random.items()}
    found = label_multiplier(random, start, 1)
    assert found.multiplier.sign == ""
    assert found.interval == (Bound(1), Bound(100, ">"))
    assert found.text() == "46 [1.0 to >100]"
    down = label_multiplier(random, {run: scores[1] - 0.2 for run, scores in random.items()}, 1)
    assert down.text() == "<1.0 [<1.0 to <1.0]"


def test_the_interval_is_that_of_resamples_drawn_one_by_one() -> None:
    """Against a loop over worlds and draws with a curve each; the ends differ by what chance gives."""
    random = _runs(worlds=5, draws=3, noise=0.02)
    rng = np.random.default_rng(1)
    start = {run: scores[1] + 0.07 + 0.02 * rng.normal() for run, scores in random.items()}
    found = label_multiplier(random, start, 1, resamples=4000)
    values = []
    for _ in range(1500):
        columns = []
        for world in rng.integers(0, 5, 5):
            runs = [(world, draw) for draw in rng.integers(0, 3, 3)]
            everything = random[world, 0][100]  # run once in each world
            few = [np.mean([random[run][share] for run in runs]) for share in (1, 10)]
            columns.append([*few, everything, np.mean([start[run] for run in runs])])
        *curve, score = np.mean(columns, axis=0)
        y = isotonic_regression(np.array(curve), sample_weight=[15, 15, 5])
        values.append(10 ** np.interp(score, y, [0, 1, 2]))
    assert found.interval is not None
    ends = np.log([end.value for end in found.interval])
    assert ends == pytest.approx(np.log(np.quantile(values, [0.025, 0.975])), abs=0.1)
    assert ends[0] < math.log(found.multiplier.value) < ends[1]


def test_few_worlds_have_a_word_instead() -> None:
    random = _runs(worlds=2)
    found = label_multiplier(random, {run: scores[1] for run, scores in random.items()}, 1)
    assert (found.interval, found.gap_interval) == (None, None)
    assert found.multiplier == Bound(1.0)
    assert found.note == "too few worlds for a bootstrap"
    assert found.text() == "1.0"


def test_what_is_left_out_is_said() -> None:
    random = _runs(worlds=4)
    random[0, 0][50] = 0.35
    start = {run: scores[1] for run, scores in random.items() if run[0] != 3}
    found = label_multiplier(random, start, 1)
    assert found.curve.shares == (1, 10, 100)
    assert found.worlds == 3
    assert found.note == "without 3, where only one start was run; without 50, which not all worlds have"
    whole = label_multiplier(random, {run: random[run[0], 0][100] for run in start}, 100)
    assert whole.multiplier == Bound(1.0)
    assert whole.gap is None
    assert whole.note.endswith("no gap between 100 and 100")
    assert whole.gap_text() == ""


def test_a_gap_that_resamples_do_not_have() -> None:
    random = {(w, 0): {1.0: 0.3, 100.0: 0.3 + gap} for w, gap in enumerate((0.3, -0.1, -0.1))}
    found = label_multiplier(random, {(w, 0): 0.32 for w in range(3)}, 1)
    assert found.gap == pytest.approx(0.6)
    assert found.gap_interval is None
    assert found.note == "no interval of the gap, which some resamples do not have"


@pytest.mark.parametrize(
    ("means", "said"),
    [
        ({}, "needs two shares, there is none"),
        ({5: 0.3}, "needs two shares, there is 5"),
        ({0: 0.3, 5: 0.3}, "above 0"),
        ({1: 0.3, 5: math.nan}, "finite"),
    ],
)
def test_what_is_no_curve(means: dict[float, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LabelCurve.of(means)


def test_what_has_no_multiplier() -> None:
    random = _runs()
    start = {run: scores[1] for run, scores in random.items()}
    with pytest.raises(ValueError, match=r"from 1 to 100, 0\.5 is outside"):
        label_multiplier(random, start, 0.5)
    with pytest.raises(ValueError, match="in the worlds x, the random one in 0, 1, 2"):
        label_multiplier(random, {("x", 0): 0.3}, 1)
    with pytest.raises(ValueError, match="needs two shares, there is 5"):
        label_multiplier({run: {5: 0.3} for run in random}, start, 5)
    with pytest.raises(ValueError, match="world 1, draw 0 is inf"):
        label_multiplier(random, {**start, (1, 0): math.inf}, 1)
    with pytest.raises(ValueError, match="score nan"):
        multiplier(RISING, 1, math.nan)
    for options, said in (({"level": 95}, "level is 95"), ({"resamples": 0}, "resamples is 0")):
        with pytest.raises(ValueError, match=said):
            label_multiplier(random, start, 1, **options)
