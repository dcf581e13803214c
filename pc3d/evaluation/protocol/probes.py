"""The two probes of the tables: logistic regression to convergence and nearest neighbours.

Both read features that are standardised on the training part, because a distance and a penalty otherwise
depend on units: metres of height beside an intensity of 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pc3d.evaluation.metrics import confusion_matrix, summary
from pc3d.evaluation.protocol.logistic import TOLERANCE, fit_logistic

C = 1.0
"""Inverse penalty of the logistic probe, the same for all features."""
NEIGHBOURS = 20
_CONSTANT = 1e-6
"""Share of its largest value below which the deviation of a column is rounding (float32): it is constant."""


def standardise(train: NDArray, *others: NDArray, where: str = "features") -> tuple[NDArray[np.float64], ...]:
    """Columns with mean 0 and deviation 1 over `train`; one that is constant there becomes 0 everywhere.

    Args:
        train: (N, C), and `others` (M, C) that are moved and scaled like it.

    Raises:
        ValueError: widths differ, `train` is empty, or a value is not finite.
    """
    parts = [np.asarray(part, dtype=np.float64) for part in (train, *others)]
    if not len(parts[0]) or any(part.ndim != 2 or part.shape[1:] != parts[0].shape[1:] for part in parts):
        raise ValueError(f"{where} of shapes {[part.shape for part in parts]}, expected (N, C) with one C")
    for part in parts:
        if not np.isfinite(part).all():
            row, column = np.argwhere(~np.isfinite(part))[0]
            raise ValueError(f"{where}: {part[row, column]} in row {row}, column {column}: not finite")
    mean, deviation = parts[0].mean(axis=0), parts[0].std(axis=0)
    constant = deviation <= _CONSTANT * np.abs(parts[0]).max(axis=0)
    scale = np.where(constant, 0.0, 1 / np.where(constant, 1.0, deviation))
    return tuple((part - mean) * scale for part in parts)


def probe(
    train_x: NDArray,
    train_y: NDArray,
    val_x: NDArray,
    val_y: NDArray,
    num_classes: int,
    class_names: Sequence[str] | None = None,
    c: float = C,
    k: int = NEIGHBOURS,
) -> dict[str, dict[str, Any]]:
    """Both probes of frozen features.

    Args:
        train_x, val_x: (N, C) and (M, C). train_y, val_y: (N,) and (M,) int64 in 0..num_classes-1.
        class_names: keys of `iou`, by default the numbers.
        c: inverse penalty, as scikit-learn's. k: neighbours, all N where there are fewer.

    Returns:
        `logistic` and `knn`, each as `metrics.summary` (a mean over drawn points, no official metric);
        `logistic` has `fit`, too: whether it converged, its largest gradient, its steps, and where it did
        not converge a `warning`.

    Raises:
        ValueError: features that do not fit or are not finite, or fewer than two classes in `train_y`.
    """
    train, val = standardise(train_x, val_x)
    if len(train) != len(train_y) or len(val) != len(val_y):
        raise ValueError(f"{len(train)} and {len(val)} features, {len(train_y)} and {len(val_y)} labels")
    truth = torch.as_tensor(val_y)
    model = fit_logistic(torch.from_numpy(train), torch.as_tensor(train_y), c)
    predicted = {
        "logistic": model.predict(torch.from_numpy(val)),
        "knn": torch.from_numpy(nearest_vote(train, np.asarray(train_y), val, num_classes, k)),
    }
    scores = {
        name: summary(confusion_matrix(truth, labels, num_classes), class_names)
        for name, labels in predicted.items()
    }
    fit: dict[str, Any] = {"converged": model.converged, "gradient": model.gradient, "steps": model.steps}
    if not model.converged:
        fit["warning"] = (
            f"not converged: gradient {model.gradient:.1e} after {model.steps} steps, {TOLERANCE:g} asked"
        )
    scores["logistic"]["fit"] = fit
    return scores


def nearest_vote(
    bank: NDArray, labels: NDArray[np.int64], queries: NDArray, num_classes: int, k: int = NEIGHBOURS
) -> NDArray[np.int64]:
    """The commonest label of the k nearest by Euclidean distance; of equally common ones the first class.

    Args:
        bank: (N, C). labels: (N,). queries: (M, C). k: all N where there are fewer.

    Returns:
        (M,) int64.
    """
    from sklearn.neighbors import NearestNeighbors

    if not len(queries):
        return np.zeros(0, dtype=np.int64)
    search = NearestNeighbors(n_neighbors=min(k, len(bank)), algorithm="brute").fit(bank)
    index = search.kneighbors(queries, return_distance=False)
    votes = np.zeros((len(queries), num_classes), dtype=np.int64)
    np.add.at(votes, (np.arange(len(queries))[:, None], labels[index]), 1)
    return votes.argmax(axis=1)
