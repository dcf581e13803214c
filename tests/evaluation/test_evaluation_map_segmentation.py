"""Map IoU against scikit-learn's, and what happens to absent classes and malformed batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score

from pc3d.data.map_targets import MAP_CLASSES
from pc3d.evaluation.map_segmentation import THRESHOLDS, MapScore, evaluate_map

Batches = list[tuple[torch.Tensor, torch.Tensor]]


def random_batches(seed: int, sizes: tuple[int, ...] = (2, 1, 3)) -> Batches:
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for size in sizes:
        targets = torch.rand(size, 6, 7, 9, generator=generator) < 0.4
        noise = torch.rand(size, 6, 7, 9, generator=generator)
        batches.append((0.6 * noise + 0.4 * targets, targets))
    return batches


def of_class(batches: Batches, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and truth of a class over all batches, flat."""
    probabilities, targets = (
        np.concatenate([item[n][:, k].numpy().ravel() for item in batches]) for n in (0, 1)
    )
    return probabilities, targets


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**31))
def test_iou_is_scikit_learns(seed: int) -> None:
    batches = random_batches(seed)
    result = evaluate_map(batches)
    best, fixed = [], []
    for k, name in enumerate(MAP_CLASSES):
        probabilities, truth = of_class(batches, k)
        scores = [jaccard_score(truth, probabilities >= np.float32(t)) for t in THRESHOLDS]
        best.append(max(scores))
        fixed.append(scores[3])
        assert result["iou"][name] == pytest.approx(best[-1], abs=1e-12)
        assert result["iou_fixed"][name] == pytest.approx(fixed[-1], abs=1e-12)
        assert scores[THRESHOLDS.index(result["threshold"][name])] == pytest.approx(best[-1], abs=1e-12)
    assert result["miou"] == pytest.approx(np.mean(best), abs=1e-12)
    assert result["miou_fixed"] == pytest.approx(np.mean(fixed), abs=1e-12)
    assert sum(result["share"].values()) == pytest.approx(1.0)


def test_batches_do_not_matter() -> None:
    batches = random_batches(1)
    joined = [(torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches]))]
    assert evaluate_map(batches) == evaluate_map(joined)


def test_truth_is_perfect_and_its_opposite_is_not() -> None:
    targets = random_batches(2)[0][1]
    assert evaluate_map([(targets.float(), targets.float())])["miou"] == 1.0
    assert evaluate_map([((~targets).float(), targets)])["miou"] == 0.0


def test_a_cell_at_the_threshold_counts() -> None:
    score = MapScore(("road",), (0.5,))
    score.add(torch.tensor([0.5, 0.4999]).reshape(1, 1, 1, 2), torch.ones(1, 1, 1, 2))
    assert score.summary()["iou"]["road"] == 0.5


def test_a_class_without_a_true_cell_is_left_out() -> None:
    score = MapScore(("road", "park"))
    targets = torch.tensor([[1, 0], [0, 0]]).bool()[None, :, None]
    score.add(torch.tensor([[0.9, 0.8], [0.9, 0.1]])[None, :, None], targets)
    result = score.summary()
    assert result["iou"]["road"] == 0.5
    assert math.isnan(result["iou"]["park"])
    assert result["miou"] == result["miou_fixed"] == 0.5


def test_malformed_batches_are_refused() -> None:
    score = MapScore()
    good = torch.zeros(1, 6, 4, 4)
    with pytest.raises(ValueError, match="expected both"):
        score.add(good, torch.zeros(1, 6, 4, 5))
    with pytest.raises(ValueError, match="masks for classes"):
        score.add(good[:, :5], good[:, :5])
    with pytest.raises(ValueError, match="apply the sigmoid"):
        score.add(good + 2, good)
    with pytest.raises(ValueError, match="apply the sigmoid"):
        score.add(good * torch.nan, good)
    with pytest.raises(ValueError, match="no map has been counted"):
        evaluate_map([])
    with pytest.raises(ValueError, match="among the thresholds"):
        MapScore(thresholds=(0.4,))
