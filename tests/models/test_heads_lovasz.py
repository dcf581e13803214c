"""Lovasz-softmax against a plain loop and against the Jaccard loss itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.models.heads.lovasz import descending, lovasz_gradient, lovasz_softmax


def _loop(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The paper's algorithm in float64: mean over classes of errors times Jaccard differences."""
    losses = []
    for c in sorted(set(labels[labels >= 0].tolist())):
        known = labels >= 0
        truth = labels[known] == c
        errors = np.abs(truth - probabilities[known, c])
        order = np.argsort(-errors, kind="stable")
        loss, previous = 0.0, 0.0
        for count in range(1, len(order) + 1):
            wrong = np.zeros(len(truth), bool)
            wrong[order[:count]] = True
            jaccard = 1 - (truth & ~wrong).sum() / (truth | wrong).sum()
            loss += errors[order[count - 1]] * (jaccard - previous)
            previous = jaccard
        losses.append(loss)
    return float(np.mean(losses))


def _case(seed: int, points: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(points, classes, generator=generator, dtype=torch.float64)
    return logits.softmax(1), torch.randint(-1, classes, (points,), generator=generator)


@given(seed=st.integers(0, 2**31), points=st.integers(1, 40), classes=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_against_the_loop(seed: int, points: int, classes: int) -> None:
    probabilities, labels = _case(seed, points, classes)
    if (labels < 0).all():
        labels[0] = 0
    expected = _loop(probabilities.numpy(), labels.numpy())
    assert float(lovasz_softmax(probabilities.float(), labels)) == pytest.approx(expected, abs=2e-6)


def test_equals_the_jaccard_loss_for_hard_predictions() -> None:
    guess, labels = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([0, 1, 1, 1, 0])
    probabilities = torch.nn.functional.one_hot(guess, 3).float()
    iou = [1 / 3, 2 / 3]  # classes 0 and 1; class 2 does not occur
    assert float(lovasz_softmax(probabilities, labels)) == pytest.approx(1 - np.mean(iou), abs=1e-6)


def test_gradient_keeps_its_digits_in_large_clouds() -> None:
    points = 300_000
    truth = torch.rand(points, 1, generator=torch.Generator().manual_seed(0)) < 0.5
    size = int(truth.sum())
    missed = truth[:, 0].double().cumsum(0)
    jaccard = 1 - (size - missed) / (size + (~truth[:, 0]).double().cumsum(0))
    expected = torch.diff(jaccard, prepend=torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(lovasz_gradient(truth)[:, 0].double(), expected, rtol=1e-5, atol=1e-13)


def test_gradient_of_the_loss_flows_to_the_probabilities() -> None:
    probabilities, labels = _case(3, 12, 4)
    probabilities.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: lovasz_softmax(p, labels), probabilities, atol=1e-5, rtol=1e-4)


def test_half_precision_computes_in_float32() -> None:
    probabilities, labels = _case(5, 3000, 5)
    half = probabilities.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = lovasz_softmax(half, labels)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, lovasz_softmax(half.float(), labels))


def test_nothing_labelled_is_zero_with_a_graph() -> None:
    for points in (0, 4):
        probabilities = torch.rand(points, 3, requires_grad=True)
        loss = lovasz_softmax(probabilities, torch.full((points,), -1))
        loss.backward()
        assert loss.item() == 0.0
        assert not probabilities.grad.any()


def test_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match="expected"):
        lovasz_softmax(torch.rand(4, 3), torch.zeros(5, dtype=torch.long))


@given(st.lists(st.sampled_from([0.0, 1e-30, 0.25, 0.5, 1.0]), min_size=1, max_size=40), st.integers(1, 3))
def test_descending_is_the_stable_order_of_torch(values: list[float], columns: int) -> None:
    errors = torch.tensor(values)[:, None].repeat(1, columns) * torch.linspace(0.5, 1, columns)
    expected = errors.double().sort(dim=0, descending=True, stable=True).indices
    assert torch.equal(descending(errors), expected)
    assert torch.equal(descending(errors.double()), expected)
