"""Metrics against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from pc3d.evaluation.metrics import accuracy, confusion_matrix, iou_per_class, mean_iou, summary


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 200), classes=st.integers(2, 8))
@settings(max_examples=40, deadline=None)
def test_against_scikit_learn(seed: int, size: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, classes, size)
    predictions = rng.integers(0, classes, size)
    known = labels >= 0
    confusion = confusion_matrix(labels, predictions, classes)
    if not known.any():
        assert math.isnan(mean_iou(confusion))
        assert math.isnan(accuracy(confusion))
        return
    truth, guess = labels[known], predictions[known]
    expected = sk.confusion_matrix(truth, guess, labels=range(classes))
    assert (confusion.numpy() == expected).all()
    iou = iou_per_class(confusion).numpy()
    seen = np.union1d(truth, guess)
    per_class = sk.jaccard_score(truth, guess, labels=seen, average=None)
    np.testing.assert_allclose(iou[seen], per_class, rtol=1e-12)
    assert np.isnan(np.delete(iou, seen)).all()
    assert mean_iou(confusion, "official") == pytest.approx(per_class.mean(), rel=1e-12)
    occurring = sk.jaccard_score(truth, guess, labels=np.unique(truth), average="macro")
    assert mean_iou(confusion, "truth") == pytest.approx(occurring, rel=1e-12)
    weighted = sk.jaccard_score(truth, guess, labels=seen, average="weighted")
    assert summary(confusion)["fwiou"] == pytest.approx(weighted, rel=1e-12)
    assert accuracy(confusion) == pytest.approx(sk.accuracy_score(truth, guess), rel=1e-12)


def test_predictions_on_ignored_points_are_not_read() -> None:
    assert confusion_matrix(torch.tensor([-1, 1]), torch.tensor([-7, 1]), 2).tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([0, 1], [0], r"labels \(2,\)"),
        ([0, 5], [0, 0], "labels span 0..5"),
        ([0, 1], [0, -1], "predictions span"),
    ],
)
def test_refuses(labels: list[int], predictions: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        confusion_matrix(labels, predictions, 2)
