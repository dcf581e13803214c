"""Scores of one fit on one data set and one look at another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pc3d.evaluation.protocol.logistic import fit_logistic
from pc3d.evaluation.protocol.probes import nearest_vote, probe, standardise
from pc3d.evaluation.transfer.boxes import MOVERS

SCALES = ("train", "each")
"""Features are standardised by the fitted part, or each part by itself, which needs no label either."""
Part = tuple[NDArray, NDArray[np.int64]]
"""(N, C) features and (N,) labels."""


def scaled(train: NDArray, val: NDArray, scale: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standardised features (N, C) and (M, C) of both parts.

    Args:
        scale: `train` takes mean and deviation of the fitted part for both; `each` takes each part's own,
            which undoes a sensor's other scale of intensity or height.

    Raises:
        ValueError: an unknown scale, or features that `standardise` refuses.
    """
    if scale not in SCALES:
        raise ValueError(f"scale is {scale!r}, expected one of {', '.join(SCALES)}")
    if scale == "each":
        return standardise(train)[0], standardise(val)[0]
    fitted, scored = standardise(train, val)
    return fitted, scored


def shared_classes(
    draws: Sequence[NDArray[np.int64]], others: Sequence[NDArray[np.int64]], num_classes: int, least: int
) -> tuple[list[int], dict[int, str]]:
    """Classes that a mean can be taken over: `least` points in every draw of both data sets.

    Args:
        draws, others: labels of each draw of one data set, and of the other.

    Returns:
        The classes, ascending, and why each other class that occurs somewhere is left out.
    """
    counts = [
        np.stack([np.bincount(labels, minlength=num_classes) for labels in side]) for side in (draws, others)
    ]
    shared, why = [], {}
    for label in range(num_classes):
        columns = [side[:, label] for side in counts]
        if all(column.min() >= least for column in columns):
            shared.append(label)
        elif any(column.any() for column in columns):
            absent = not all(column.any() for column in columns)
            why[label] = "drawn in one data set only" if absent else f"fewer than {least} points in some draw"
    return shared, why


def segmentation_scores(train: Part, val: Part, shared: Sequence[int], num_classes: int) -> dict[str, float]:
    """mIoU over the shared classes, in percent, of both probes.

    Points of other classes are fitted and scored like all: those of `val` are false positives of what they
    are taken for.

    Args:
        shared: classes that occur in the truth of `val`.

    Returns:
        `logistic` and `knn`.
    """
    found = probe(*train, *val, num_classes)
    return {
        name: 100 * float(np.mean([found[name]["iou"][str(label)] for label in shared]))
        for name in ("logistic", "knn")
    }


def box_scores(train: Part, val: Part) -> dict[str, float]:
    """How well points in boxes are told from points beside them, and which kind they are; in percent.

    Args:
        train, val: standardised features, and kinds (`transfer.boxes.KINDS`); both parts have points of
            kind 0 and of others.

    Returns:
        Of "an object": `ap`, average precision by the logistic probe (chance is the share of objects), and
        `knn`, balanced accuracy. Of the points in boxes of vehicles and pedestrians: `kinds`, mean recall of
        the two by a logistic probe to which both are equally common; absent where a part lacks one.
    """
    from sklearn.metrics import average_precision_score

    (train_x, train_y), (val_x, val_y) = train, val
    fitted, truth = (train_y > 0).astype(np.int64), (val_y > 0).astype(np.int64)
    model = fit_logistic(torch.from_numpy(train_x), torch.from_numpy(fitted))
    objects = model.probabilities(torch.from_numpy(val_x))[:, 1].numpy()
    near = nearest_vote(train_x, fitted, val_x, 2)
    scores = {
        "ap": 100 * float(average_precision_score(truth, objects)),
        "knn": 100 * _mean_recall(truth, near, np.array([0, 1])),
    }
    both = np.array(MOVERS)
    if np.isin(both, train_y).all() and np.isin(both, val_y).all():
        rows, wanted = _equally_common(train_y, both), np.isin(val_y, both)
        model = fit_logistic(torch.from_numpy(train_x[rows]), torch.from_numpy(train_y[rows]))
        guess = model.predict(torch.from_numpy(val_x[wanted])).numpy()
        scores["kinds"] = 100 * _mean_recall(val_y[wanted], guess, both)
    return scores


def _equally_common(labels: NDArray[np.int64], kinds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the kinds, those of rarer ones again and again until each kind has as many."""
    rows = [np.flatnonzero(labels == kind) for kind in kinds]
    return np.concatenate([np.resize(of_kind, max(map(len, rows))) for of_kind in rows])


def _mean_recall(truth: NDArray[np.int64], guess: NDArray[np.int64], kinds: NDArray[np.int64]) -> float:
    return float(np.mean([(guess[truth == kind] == kind).mean() for kind in kinds]))
