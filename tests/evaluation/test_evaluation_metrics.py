"""Metrics against scikit-learn."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nuscenes.eval.lidarseg.utils import ConfusionMatrix
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


@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(2, 30), size=st.integers(1, 400))
@settings(max_examples=25, deadline=None)
def test_equals_the_evaluators_of_nuscenes_and_semantic_kitti(seed: int, classes: int, size: int) -> None:
    """Both count from class 1 on and ignore label 0; few classes of many occur, so that some are absent."""
    rng = np.random.default_rng(seed)
    occur = rng.choice(classes, rng.integers(1, classes + 1))
    labels, predictions = rng.choice([-1, *occur], size), rng.choice(occur, size)
    confusion = confusion_matrix(labels, predictions, classes)
    devkit = ConfusionMatrix(classes + 1, 0)
    devkit.update(labels + 1, predictions + 1)
    assert (devkit.global_cm[1:, 1:] == confusion.numpy()).all()
    result = summary(confusion)
    if not confusion.sum():
        assert math.isnan(result["miou"])
        assert math.isnan(result["miou_all"])
        return
    per_class = devkit.get_per_class_iou()[1:]  # with unions in float32
    np.testing.assert_allclose(list(result["iou"].values()), per_class, rtol=1e-6)
    assert result["miou"] == pytest.approx(devkit.get_mean_iou(), rel=1e-6)
    assert result["fwiou"] == pytest.approx(devkit.get_freqweighted_iou(), rel=1e-6)
    assert result["miou_all"] == pytest.approx(semantic_kitti_miou(labels + 1, predictions + 1, classes))


def semantic_kitti_miou(labels: np.ndarray, predictions: np.ndarray, classes: int) -> float:
    """Point by point: tp / (tp + fp + fn) of each class, without the points whose label is 0."""
    tp, fp, fn = np.zeros(classes + 1), np.zeros(classes + 1), np.zeros(classes + 1)
    for truth, guess in zip(labels.tolist(), predictions.tolist(), strict=True):
        if truth and truth == guess:
            tp[truth] += 1
        elif truth:
            fn[truth] += 1
            fp[guess] += 1
    return float((tp / (tp + fp + fn + 1e-15))[1:].mean())


def test_equals_what_semantic_kittis_evaluator_gave() -> None:
    """mIoU of these labels by `iouEval` of github.com/PRBonn/semantic-kitti-api, commit a9c749e."""
    random = Random(5)
    pairs = []
    for _ in range(3000):
        truth = int(20 * random.random() ** 2)  # 0..19, the later ones rare
        guess = truth if random.random() < 0.6 else int(1 + 17 * random.random())
        pairs.append((truth, guess or 1))
    labels, predictions = np.array(pairs).T
    result = summary(confusion_matrix(labels - 1, predictions - 1, 19))
    assert result["miou_all"] == pytest.approx(0.43611463888232116, abs=1e-12)


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
