"""Standardisation, logistic regression and neighbours against scikit-learn and plain float64 forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from pc3d.evaluation.protocol import logistic
from pc3d.evaluation.protocol.logistic import fit_logistic
from pc3d.evaluation.protocol.probes import nearest_vote, probe, standardise

CLASSES = 4


def planted(count: int, seed: int, columns: int = 6, classes: int = CLASSES) -> tuple[NDArray, NDArray]:
    """Overlapping clusters; columns of different units that depend on each other; class 0 is commonest."""
    centres = np.random.default_rng(99).normal(size=(classes, columns))
    rng = np.random.default_rng(seed)
    labels = np.minimum(rng.geometric(0.4, count) - 1, classes - 1)
    features = (centres[labels] + rng.normal(size=(count, columns))) @ np.tri(columns)
    return features * np.logspace(-2, 2, columns) + 5, labels


def fit(features: NDArray, labels: NDArray, c: float) -> logistic.Logistic:
    return fit_logistic(torch.from_numpy(features), torch.from_numpy(labels), c)


@given(seed=st.integers(0, 2**20), c=st.sampled_from([0.01, 1.0, 30.0]), classes=st.integers(2, 5))
@settings(max_examples=20, deadline=None)
def test_logistic_regression_is_scikit_learns(seed: int, c: float, classes: int) -> None:
    features, labels = planted(150, seed, classes=classes)
    features = StandardScaler().fit_transform(features)
    labels = np.array([7, 2, 3, 11, 5])[labels]  # neither dense nor ascending
    model = fit(features, labels, c)
    assert model.converged
    if len(np.unique(labels)) == 2:  # scikit-learn has one column of weights there: another penalty
        return
    expected = LogisticRegression(C=c, tol=1e-9, max_iter=5000).fit(features, labels)
    assert model.classes.tolist() == expected.classes_.tolist()
    shares = model.probabilities(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(shares, expected.predict_proba(features), atol=1e-3)
    assert (model.predict(torch.from_numpy(features)).numpy() == expected.predict(features)).mean() > 0.98


@given(seed=st.integers(0, 2**20), classes=st.integers(2, 5))
@settings(max_examples=20, deadline=None)
def test_the_gradient_of_the_objective_is_zero_where_the_fit_ends(seed: int, classes: int) -> None:
    features, labels = planted(120, seed, classes=classes)
    features = standardise(features)[0]
    model = fit(features, labels, 0.5)
    weight = model.weight.numpy()
    scores = np.exp(features @ weight[:-1] + weight[-1])
    shares = scores / scores.sum(axis=1, keepdims=True)
    right = labels[:, None] == model.classes.numpy()
    slope = features.T @ (shares - right) / len(labels) + weight[:-1] / (0.5 * len(labels))
    assert np.abs(slope).max() < 2e-6
    assert np.abs((shares - right).mean(axis=0)).max() < 2e-6


def test_separable_and_repeated_columns_converge() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 1])
    features = np.column_stack([labels, labels, np.random.default_rng(0).normal(size=81)]).astype(float)
    assert fit(standardise(features)[0], labels, 100.0).converged


def test_wide_features_precondition_on_some_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = planted(600, 3)
    features = standardise(features)[0]
    whole = fit(features, labels, 1.0)
    monkeypatch.setattr(logistic, "_PRECONDITIONER_COST", 1)
    some = fit(features, labels, 1.0)
    assert some.converged
    np.testing.assert_allclose(some.weight[:-1].numpy(), whole.weight[:-1].numpy(), atol=1e-2)


def test_a_fit_that_did_not_converge_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    (x, y), (vx, vy) = planted(200, 0), planted(100, 1)
    assert "warning" not in probe(x, y, vx, vy, CLASSES)["logistic"]["fit"]
    monkeypatch.setattr(logistic, "_MOST_STEPS", 1)
    stopped = probe(x, y, vx, vy, CLASSES)["logistic"]["fit"]
    assert not stopped["converged"]
    assert stopped["gradient"] > logistic.TOLERANCE
    assert "not converged" in stopped["warning"]


@given(seed=st.integers(0, 2**20), k=st.sampled_from([1, 2, 20, 500]))
@settings(max_examples=15, deadline=None)
def test_neighbours_by_brute_force(seed: int, k: int) -> None:
    (bank, labels), (queries, _) = planted(130, seed), planted(40, seed + 1)
    expected = []
    for query in queries:
        nearest = np.argsort(((bank - query) ** 2).sum(axis=1), kind="stable")[:k]
        expected.append(np.bincount(labels[nearest], minlength=CLASSES).argmax())
    assert nearest_vote(bank, labels, queries, CLASSES, k).tolist() == expected


def test_no_query_has_no_neighbours() -> None:
    bank, labels = planted(10, 0)
    assert len(nearest_vote(bank, labels, bank[:0], CLASSES)) == 0


@given(seed=st.integers(0, 2**20))
@settings(max_examples=20, deadline=None)
def test_standardised_columns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    train = rng.normal(size=(50, 4)) * [1e-3, 1, 1e4, 1] + [0, 5, -3, 2]
    train[:, 3] = np.float32(0.1) * (1 + 1e-8 * rng.normal(size=50))  # constant but for rounding
    val = rng.normal(size=(20, 4))
    a, b = standardise(train, val)
    np.testing.assert_allclose(a[:, :3].mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(a[:, :3].std(axis=0), 1)
    assert not a[:, 3].any()
    assert not b[:, 3].any()
    reference = StandardScaler().fit(train[:, :3])
    np.testing.assert_allclose(b[:, :3], reference.transform(val[:, :3]), rtol=1e-6, atol=1e-6)


def test_units_change_no_score() -> None:
    (x, y), (vx, vy) = planted(300, 0), planted(200, 1)
    units = np.array([1e3, 1, 0.01, 7, 1, 100])
    other = probe(x * units - 3, y, vx * units - 3, vy, CLASSES, ["a", "b", "c", "d"])
    plain = probe(x, y, vx, vy, CLASSES)
    for name in ("logistic", "knn"):
        assert other[name]["miou"] == pytest.approx(plain[name]["miou"], abs=1e-9)
        assert list(other[name]["iou"]) == ["a", "b", "c", "d"]
        assert plain[name]["accuracy"] > 0.6


def test_a_class_that_only_the_validation_part_has_counts_as_missed() -> None:
    (x, y), (vx, vy) = planted(300, 0), planted(300, 1)
    kept = y != 2
    scores = probe(x[kept], y[kept], vx, vy, CLASSES)
    assert scores["logistic"]["iou"]["2"] == scores["knn"]["iou"]["2"] == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x, y: (x * np.where(np.arange(6) == 3, np.nan, 1), y), r"nan in row 0, column 3: not finite"),
        (lambda x, y: (x[:, :5], y), r"expected \(N, C\) with one C"),
        (lambda x, y: (x[:0], y[:0]), r"expected \(N, C\) with one C"),
        (lambda x, y: (x, y[:-1]), "labels"),
        (lambda x, y: (x, y * 0), "1 classes are labelled, at least 2"),
    ],
)
def test_what_cannot_be_probed(change: object, says: str) -> None:
    (x, y), (vx, vy) = planted(60, 0), planted(30, 1)
    with pytest.raises(ValueError, match=says):
        probe(*change(x, y), vx, vy, CLASSES)  # type: ignore[operator]
    with pytest.raises(ValueError, match="more than 0"):
        probe(x, y, vx, vy, CLASSES, c=0.0)
