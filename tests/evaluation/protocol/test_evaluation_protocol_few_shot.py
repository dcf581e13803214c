"""The nearest prototype of a few labels, beside plain loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pc3d.evaluation.protocol.few_shot import BY_SHARE, FORMS, MOVED, NEAREST, few_shot
from pc3d.evaluation.protocol.transport import transported_prototypes


def blobs(sizes: tuple[int, ...], seed: int, wide: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(len(sizes), 4)) * 2
    y = np.repeat(np.arange(len(sizes)), sizes)
    return centres[y] + wide * rng.normal(size=(len(y), 4)), y


def miou(truth: list[int], predicted: list[int], classes: int) -> float:
    """Mean over the classes that occur in either."""
    found = []
    for c in range(classes):
        both = sum(t == c and p == c for t, p in zip(truth, predicted, strict=True))
        any_ = sum(t == c or p == c for t, p in zip(truth, predicted, strict=True))
        if any_:
            found.append(both / any_)
    return sum(found) / len(found)


def loop(x: np.ndarray, y: np.ndarray, vx: np.ndarray, vy: np.ndarray, form: str) -> float:
    """With all labels of each class."""
    mean = [sum(column) / len(column) for column in x.T]
    squares = [sum((v - m) ** 2 for v in c) / len(c) for c, m in zip(x.T, mean, strict=True)]
    train, val = ((part - mean) / np.sqrt(squares) for part in (x, vx))
    classes = sorted(set(y.tolist()))
    own = np.array([sum(r for r, c in zip(train, y, strict=True) if c == k) / sum(y == k) for k in classes])
    share = np.array([sum(y == k) / len(y) for k in classes]) if form == BY_SHARE else None
    if form != NEAREST:
        own = transported_prototypes(own, val, keep=0.3, marginals=share, rounds=100)
    predicted = [classes[min(range(len(own)), key=lambda k: math.dist(row, own[k]))] for row in val]
    return miou(vy.tolist(), predicted, 4)


def test_scores_are_those_of_a_loop() -> None:
    x, y = blobs((30, 9, 16), 1)
    vx, vy = blobs((22, 8, 14), 2)
    scores = few_shot(x, y, vx, vy, 4, [99], draws=2)["99"]
    assert scores == {form: pytest.approx(loop(x, y, vx, vy, form)) for form in FORMS}
    assert len(set(scores.values())) > 1


def test_few_labels_are_drawn_by_class_and_more_are_better() -> None:
    x, y = blobs((400, 100, 60), 1)
    vx, vy = blobs((300, 80, 50), 2)
    scores = few_shot(x, y, vx, vy, 3, [1, 20], draws=5)
    assert scores["20"][NEAREST] > scores["1"][NEAREST] + 0.02
    # One label lies anywhere in its class: moving it onto the queries, with known shares, brings it in.
    assert scores["1"][BY_SHARE] > scores["1"][NEAREST]
    few = few_shot(x, y, vx, vy, 3, [20], draws=5)
    assert few["20"] == scores["20"] != few_shot(x, y, vx, vy, 3, [20], draws=5, seed=1)["20"]
    assert few_shot(*blobs((50, 50), 1, 0.01), *blobs((9, 9), 2, 0.01), 2, [1])["1"][MOVED] == 1


@pytest.mark.parametrize("wrong", [{"shots": []}, {"shots": [0]}, {"draws": 0}])
def test_settings_that_are_none(wrong: dict[str, Any]) -> None:
    x, y = blobs((5, 5), 0)
    with pytest.raises(ValueError, match="expected at least 1 each"):
        few_shot(x, y, x, y, 2, **{"shots": [1], **wrong})
