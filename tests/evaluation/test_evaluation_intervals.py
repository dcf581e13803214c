"""Intervals over worlds and seeds: closed forms, scipy, all resamples by hand, and their coverage."""

from __future__ import annotations

import math
import statistics
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pc3d.evaluation.intervals import bootstrap_means, interval, paired_interval, t_interval

SCORES = {
    ("a", 0): 0.30,
    ("a", 1): 0.34,
    ("b", 0): 0.50,
    ("b", 1): 0.40,
    ("b", 2): 0.42,
    ("c", 0): 0.10,
}


def test_the_mean_is_of_worlds_not_of_runs() -> None:
    found = interval(SCORES)
    assert found.mean == pytest.approx((0.32 + 0.44 + 0.10) / 3)
    assert (found.worlds, found.runs, found.note) == (3, 6, "")


def test_t_is_that_of_scipy() -> None:
    found, means = interval(SCORES, level=0.9), [0.32, 0.44, 0.10]
    low, high = stats.t.interval(0.9, 2, loc=statistics.fmean(means), scale=stats.sem(means))
    assert found.t == pytest.approx((low, high))
    # The table of Student: 4.303 deviations of the mean for three values.
    assert t_interval([1.0, 2.0, 3.0])[1] == pytest.approx(2 + 4.3027 / math.sqrt(3), abs=1e-4)


def test_one_run_a_world_is_the_bootstrap_of_scipy() -> None:
    values = np.random.default_rng(0).normal(1, 2, 25)
    found = interval({(world, 0): value for world, value in enumerate(values)}, resamples=20_000)
    options = {"method": "percentile", "n_resamples": 20_000, "random_state": 1}
    low, high = stats.bootstrap((values,), np.mean, **options).confidence_interval
    assert found.bootstrap == pytest.approx((low, high), abs=0.06)  # the deviation of the mean is 0.4


def test_resamples_have_the_distribution_of_all_that_there_are() -> None:
    """Two worlds with two runs and one: each of the equally likely ways by hand."""
    worlds = [[0.0, 1.0], [5.0]]
    means = [
        statistics.fmean(
            statistics.fmean(worlds[world][int(len(worlds[world]) * half / 2)] for half in halves)
            for world, halves in ((w1, (a, b)), (w2, (c, d)))
        )
        for w1, w2, a, b, c, d in product(range(2), repeat=6)
    ]
    drawn = bootstrap_means(worlds, 40_000)
    values = sorted(set(means))
    assert set(np.round(drawn, 9)) == set(np.round(values, 9))
    for value in values:
        expected = sum(mean == value for mean in means) / len(means)
        assert np.mean(np.isclose(drawn, value)) == pytest.approx(expected, abs=0.012)


def test_variance_of_resamples_is_the_closed_form() -> None:
    """Of W equal worlds with S runs: (variance of the means + mean variance inside / S) / W, both with n."""
    values = np.random.default_rng(3).normal(size=(7, 4)) + np.arange(7)[:, None]
    expected = (values.mean(axis=1).var() + values.var(axis=1).mean() / 4) / 7
    assert bootstrap_means(values.tolist(), 40_000).var() == pytest.approx(expected, rel=0.05)


def test_intervals_cover_the_truth() -> None:
    """Worlds of deviation 2, seeds of 1, truth 10. The t interval keeps its level for three worlds; the
    bootstrap nearly does for 12 and does not for three, which is why both are told."""
    rng = np.random.default_rng(5)

    def covered(worlds: int, trials: int = 300) -> tuple[float, float]:
        hits = np.zeros(2)
        for _ in range(trials):
            runs = 10 + rng.normal(0, 2, (worlds, 1)) + rng.normal(0, 1, (worlds, 2))
            found = interval({(w, s): runs[w, s] for w in range(worlds) for s in range(2)}, resamples=400)
            assert found.t is not None
            assert found.bootstrap is not None
            hits += [found.t[0] <= 10 <= found.t[1], found.bootstrap[0] <= 10 <= found.bootstrap[1]]
        return tuple(hits / trials)  # type: ignore[return-value]

    t, bootstrap = covered(12)
    assert 0.91 < t < 0.985
    assert 0.87 < bootstrap < 0.98
    t, bootstrap = covered(3)
    assert 0.91 < t < 0.985
    assert 0.6 < bootstrap < 0.92


def test_differences_are_paired() -> None:
    """Worlds differ by far more than the gain: paired it is sure, unpaired it is not."""
    rng = np.random.default_rng(0)
    level = {world: 10.0 * world for world in range(4)}
    reference = {(w, s): level[w] + rng.normal(0, 0.01) for w in level for s in range(2)}
    start = {key: score + 1 + rng.normal(0, 0.01) for key, score in reference.items()}
    found = paired_interval(start, reference)
    assert found.mean == pytest.approx(1, abs=0.02)
    assert found.above_zero
    assert found.t is not None
    assert found.t[1] - found.t[0] < 0.1
    assert not interval(start).above_zero  # 1 to 31
    differences = {key: start[key] - reference[key] for key in start}
    assert found == interval(differences)


def test_runs_without_a_partner() -> None:
    found = paired_interval(SCORES, {key: 0.1 for key in SCORES if key != ("b", 1)} | {("d", 0): 0.3})
    assert (found.worlds, found.runs) == (3, 5)
    assert found.note == "2 without a partner left out"
    assert found.mean == pytest.approx((0.22 + 0.36 + 0.0) / 3)
    with pytest.raises(
        ValueError, match=r"no run of the start \(world a, seed 0\) has one of .* \(world b, seed 0\)"
    ):
        paired_interval({("a", 0): 1.0}, {("b", 0): 1.0})


def test_few_worlds_have_a_word_instead() -> None:
    one = interval({("a", 0): 0.2, ("a", 1): 0.4})
    assert (one.bootstrap, one.t, one.above_zero) == (None, None, None)
    assert one.text(100) == "+30.0 (1 world, 2 runs: no interval, which needs other worlds)"
    two = interval({("a", 0): 0.2, ("b", 0): 0.4})
    assert two.bootstrap is None
    assert two.above_zero is None
    half = 12.7062 * 0.1  # Student for one degree of freedom
    assert two.t == pytest.approx((0.3 - half, 0.3 + half), abs=1e-4)
    assert two.text(100) == "+30.0 [95 %: t -97.1 to +157.1] (2 worlds, 2 runs: too few for a bootstrap)"


def test_text() -> None:
    found = interval({(world, 0): 0.1 * world for world in range(1, 4)})
    assert found.text(100) == "+20.0 [95 %: bootstrap +10.0 to +30.0; t -4.8 to +44.8] (3 worlds, 3 runs)"
    assert found.text(sign=False, digits=2).startswith("0.20 [95 %: bootstrap 0.10 to 0.30;")


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.integers(0, 5), st.integers(0, 3)), st.floats(-1, 1), min_size=1, max_size=12
    ),
    st.floats(-3, 3),
)
def test_intervals_move_with_the_scores(scores: dict[tuple[int, int], float], shift: float) -> None:
    found, moved = (interval(s, resamples=200) for s in (scores, {k: v + shift for k, v in scores.items()}))
    assert moved.mean == pytest.approx(found.mean + shift, abs=1e-9)
    for before, after in ((found.bootstrap, moved.bootstrap), (found.t, moved.t)):
        assert (before is None) == (after is None)
        if before is not None and after is not None:
            assert after == pytest.approx((before[0] + shift, before[1] + shift), abs=1e-9)
            assert before[0] - 1e-12 <= found.mean <= before[1] + 1e-12 or before is found.bootstrap
    assert interval(scores, resamples=200) == found


@pytest.mark.parametrize(
    ("scores", "options", "said"),
    [
        ({}, {}, "no score"),
        ({("a", 1): math.nan}, {}, "world 'a', seed 1 is nan"),
        (SCORES, {"level": 95}, "level is 95"),
        (SCORES, {"resamples": 0}, "resamples is 0"),
    ],
)
def test_what_has_no_interval(scores: dict, options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        interval(scores, **options)
    with pytest.raises(ValueError, match=said if scores else "no run"):
        paired_interval(scores, dict.fromkeys(scores, 0.0), **options)
