"""A handful of labels a class: the nearest prototype, as it is and moved onto what is to be told (OpTA)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pc3d.evaluation.metrics import confusion_matrix, summary
from pc3d.evaluation.protocol.probes import standardise
from pc3d.evaluation.protocol.transport import transported_prototypes

NEAREST, MOVED, BY_SHARE = "nearest", "moved", "moved, shares known"
FORMS = (NEAREST, MOVED, BY_SHARE)
QUERIES, ROUNDS = 4096, 100
"""Validation points that prototypes are moved onto, evenly spaced, and rounds of Sinkhorn (ours)."""


def few_shot(
    train_x: NDArray,
    train_y: NDArray,
    val_x: NDArray,
    val_y: NDArray,
    num_classes: int,
    shots: Sequence[int],
    draws: int = 3,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """mIoU by the nearest prototype, the mean of a few labelled rows of each class.

    Features are standardised on the training part, whose labels are read for the drawn rows only, but that
    the third form knows the share of each class. The moved forms are `transported_prototypes` with the
    settings of BECLR's code (5 passes for one label, else one that keeps 0.3 of the old).

    Args:
        train_x, val_x: (N, C) and (M, C). train_y, val_y: (N,) and (M,) int64 in 0..num_classes-1.
        shots: labels of each class; all that there are where there are fewer.
        draws: of the labelled rows, over which the scores are means. seed: of them.

    Returns:
        By the number of shots as text: mIoU by `FORMS`.

    Raises:
        ValueError: shots or draws below 1, no row, or features that do not fit.
    """
    if draws < 1 or not shots or min(shots) < 1:
        raise ValueError(f"shots {tuple(shots)} and draws {draws}: expected at least 1 each")
    train, val = standardise(train_x, val_x)
    labels = np.asarray(train_y)
    classes, counts = np.unique(labels, return_counts=True)
    truth = torch.as_tensor(val_y)
    queries = val[np.linspace(0, len(val) - 1, min(len(val), QUERIES)).astype(np.int64)]
    found: dict[str, dict[str, float]] = {}
    for count in shots:
        scores: dict[str, list[float]] = {form: [] for form in FORMS}
        for draw in range(draws):
            rng = np.random.default_rng((seed, count, draw))
            own = np.stack([train[_drawn(labels, c, count, rng)].mean(axis=0) for c in classes])
            for form, prototypes in _forms(own, queries, count, counts / counts.sum()):
                predicted = torch.from_numpy(classes[_nearest(val, prototypes)])
                score: dict[str, Any] = summary(confusion_matrix(truth, predicted, num_classes))
                scores[form].append(float(score["miou"]))
        found[str(count)] = {form: float(np.mean(values)) for form, values in scores.items()}
    return found


def _drawn(labels: NDArray, one: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    rows = np.flatnonzero(labels == one)
    return rng.permutation(rows)[:count]


def _forms(own: NDArray, queries: NDArray, count: int, share: NDArray) -> Iterator[tuple[str, NDArray]]:
    passes, keep = (5, 0.0) if count == 1 else (1, 0.3)
    yield NEAREST, own
    for form, marginals in ((MOVED, None), (BY_SHARE, share)):
        moved = transported_prototypes(
            own, queries, passes=passes, keep=keep, marginals=marginals, rounds=ROUNDS
        )
        yield form, moved


def _nearest(rows: NDArray, prototypes: NDArray) -> NDArray[np.int64]:
    """(M,) the prototype nearest to each row."""
    squares = (prototypes**2).sum(axis=1)[None, :] - 2 * rows @ prototypes.T
    nearest: NDArray[np.int64] = squares.argmin(axis=1)
    return nearest
