"""FAC's losses against plain float64 loops of their equations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pc3d.contrast.foreground import feature_contrast, geometric_contrast

TAU = 0.2


def unit(rows: int, seed: int, width: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(features, dim=1).requires_grad_()


def score(a: Tensor, b: Tensor) -> Tensor:
    return (sum(x * y for x, y in zip(a, b, strict=True)) / TAU).exp()


def loop_geometric(anchors: Tensor, keys: Tensor, of_anchor: list[int], of_key: list[int]) -> Tensor:
    means = []
    for i, a in enumerate(anchors):
        positives = [k for k in range(len(keys)) if of_anchor[i] >= 0 and of_key[k] == of_anchor[i]]
        negatives = sum(
            (score(a, keys[k]) for k in range(len(keys)) if of_key[k] != of_anchor[i]),
            torch.zeros((), dtype=torch.float64),
        )
        if positives:
            terms = [-(score(a, keys[k]) / (score(a, keys[k]) + negatives)).log() for k in positives]
            means.append(sum(terms) / len(terms))
    return sum(means) / len(means)


def loop_feature(anchors: Tensor, keys: Tensor, background: Tensor, matches: int) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for a in anchors:
        scores = sorted((score(a, k) for k in keys), key=float, reverse=True)
        top = sum(scores[:matches])
        total = total - (top / (top + sum(score(a, b) for b in background))).log()
    return total / len(anchors)


def gradients(loss: Tensor, *leaves: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, leaves))


segment_lists = st.lists(st.integers(-1, 2), min_size=1, max_size=7)


@settings(max_examples=25, deadline=None)
@given(of_anchor=segment_lists, of_key=segment_lists, seed=st.integers(0, 10_000))
def test_geometric_contrast_is_its_equation(of_anchor: list[int], of_key: list[int], seed: int) -> None:
    a, k = unit(len(of_anchor), seed), unit(len(of_key), seed + 1)
    fast = geometric_contrast(a, k, torch.tensor(of_anchor), torch.tensor(of_key), TAU)
    blocks = geometric_contrast(a, k, torch.tensor(of_anchor), torch.tensor(of_key), TAU, block=2)
    torch.testing.assert_close(blocks, fast)
    again = geometric_contrast(a, k, torch.tensor(of_anchor), torch.tensor(of_key), TAU)
    for one, other in zip(gradients(again, a, k), gradients(blocks, a, k), strict=True):
        torch.testing.assert_close(one, other)
    if not set(of_anchor) & set(of_key) - {-1}:
        assert float(fast.detach()) == 0.0
        assert all((g == 0).all() for g in gradients(fast, a, k))
        return
    slow = loop_geometric(a, k, of_anchor, of_key)
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(gradients(fast, a, k), gradients(slow, a, k))


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 5)),
    matches=st.integers(1, 8),
    seed=st.integers(0, 10_000),
)
def test_feature_contrast_is_its_equation(sizes: tuple[int, int, int], matches: int, seed: int) -> None:
    a, k, b = (unit(size, seed + i) for i, size in enumerate(sizes))
    fast, slow = feature_contrast(a, k, b, TAU, matches), loop_feature(a, k, b, matches)
    blocks = feature_contrast(a, k, b, TAU, matches, block=2)
    torch.testing.assert_close(blocks, fast)
    again = feature_contrast(a, k, b, TAU, matches)
    for one, other in zip(gradients(again, a, k, b), gradients(blocks, a, k, b), strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(gradients(fast, a, k, b), gradients(slow, a, k, b))


def test_the_order_of_points_changes_nothing_and_the_direction_does() -> None:
    a, b = unit(9, 0), unit(9, 1)
    ids = torch.tensor([0, 0, 1, 1, 2, 2, -1, -1, 0])
    order = torch.randperm(9, generator=torch.Generator().manual_seed(2))
    loss = geometric_contrast(a, b, ids, ids)
    torch.testing.assert_close(loss, geometric_contrast(a[order], b[order], ids[order], ids[order]))
    assert abs(float((loss - geometric_contrast(b, a, ids, ids)).detach())) > 1e-3
    fea = feature_contrast(a[:3], b[:4], b[4:])
    torch.testing.assert_close(fea, feature_contrast(a[[2, 0, 1]], b[[3, 1, 0, 2]], b[[8, 4, 6, 5, 7]]))


def test_background_is_never_an_anchor_and_always_a_negative() -> None:
    a, b = unit(4, 0), unit(4, 1)
    ids = torch.tensor([0, 0, -1, -1])
    of_a, of_b = gradients(geometric_contrast(a, b, ids, ids), a, b)
    assert (of_a[2:] == 0).all()
    assert (of_b[2:].abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("empty", [0, 1, 2])
def test_no_foreground_or_no_background_is_zero_with_a_graph(empty: int) -> None:
    sides = [unit(0 if i == empty else 3, i) for i in range(3)]
    loss = feature_contrast(*sides)
    assert float(loss.detach()) == 0.0
    assert all((g == 0).all() for g in gradients(loss, *sides))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    a, b = unit(30, 0).detach().to(dtype), unit(30, 1).detach().to(dtype)
    ids = torch.arange(30) % 4 - 1
    for loss, exact in (
        (geometric_contrast(a, b, ids, ids), geometric_contrast(a.double(), b.double(), ids, ids)),
        (feature_contrast(a, b, b[:9]), feature_contrast(a.double(), b.double(), b[:9].double())),
    ):
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=1e-5)


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(A, C\) and \(K, C\)"):
        geometric_contrast(torch.zeros(3, 4), torch.zeros(2, 5), torch.zeros(3), torch.zeros(2))
    with pytest.raises(ValueError, match="a segment id for each"):
        geometric_contrast(torch.zeros(3, 4), torch.zeros(2, 4), torch.zeros(2), torch.zeros(2))
    with pytest.raises(ValueError, match="temperature"):
        feature_contrast(torch.zeros(3, 4), torch.zeros(2, 4), torch.zeros(2, 4), 0.0)
