"""Soft positives along a graph of near rows, and positives of one region."""

from __future__ import annotations

import math

import pytest
import torch
from engine_cases import at, contrast_of, e0, generator, unit
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pc3d.contrast.comparison import Comparison, compare
from pc3d.contrast.nce import info_nce
from pc3d.contrast.positives.geodesic import Geodesic, geodesics, neighbour_graph


def floyd_warshall(rows: Tensor, neighbours: int, likeness: float) -> Tensor:
    count = len(rows)
    cosine = torch.nn.functional.normalize(rows, dim=1) @ torch.nn.functional.normalize(rows, dim=1).T
    way = torch.full((count, count), math.inf, dtype=torch.float64)
    for i in range(count):
        near = sorted((j for j in range(count) if j != i), key=lambda j: -float(cosine[i, j]))
        for j in near[:neighbours]:
            if cosine[i, j] >= likeness:
                way[i, j] = way[j, i] = max(1 - float(cosine[i, j]), 1e-6)
    way.fill_diagonal_(0)
    for k in range(count):
        way = torch.minimum(way, way[:, k, None] + way[None, k, :])
    return way


def compared(a: Tensor, b: Tensor, **arguments) -> Comparison:
    c = compare(a, b, torch.arange(len(a)), ~torch.eye(len(a), dtype=torch.bool), 0.5)
    return Geodesic(**arguments)(c, generator())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.integers(1, 5), st.sampled_from([0.0, 0.6, 0.9]))
def test_geodesics_are_those_of_floyd_and_warshall(seed: int, neighbours: int, likeness: float) -> None:
    rows = unit(20, 4, seed)
    graph = neighbour_graph(rows, neighbours, likeness)
    expected = floyd_warshall(rows, neighbours, likeness)
    torch.testing.assert_close(geodesics(graph, torch.arange(20), 1e9), expected)
    near = geodesics(graph, torch.arange(20), 0.5)
    torch.testing.assert_close(near, expected.masked_fill(expected > 0.5, math.inf))
    torch.testing.assert_close(near, near.T)
    assert abs(graph - graph.T).nnz == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.integers(0, 4), st.sampled_from([0.3, 0.5]))
def test_loop(seed: int, most: int, floor: float) -> None:
    a, b = unit(12, 3, seed), unit(12, 3, seed + 1)
    ignore = torch.rand(12, 12, generator=generator(seed)) < 0.2
    part = {"type": "Geodesic", "neighbours": 3, "most": most, "floor": floor}
    loss = contrast_of(dim=3, positives=[part]).pair(a, b, generator(), ignore=ignore)
    way, logits, terms = floyd_warshall(b, 3, 0.6), a @ b.T / 0.5, []
    for i in range(12):
        among = [j for j in range(12) if j == i or not ignore[i, j]]
        reached = [j for j in among if j != i and way[i, j] <= 0.5]
        near = sorted(reached, key=lambda j: float(way[i, j]))[:most]
        weights = {j: math.exp(-float(way[i, j]) / 0.1) for j in near}
        own = max(floor, 1 / (1 + sum(weights.values()))) if near else 1.0
        q = {i: own, **{j: (1 - own) * w / sum(weights.values()) for j, w in weights.items()}}
        log_all = logits[i, among].logsumexp(dim=0)
        terms.append(sum(share * (log_all - logits[i, j]) for j, share in q.items()))
    torch.testing.assert_close(loss, torch.stack(terms).mean())


def test_targets_sum_to_one_and_positives_are_no_negatives() -> None:
    c = compared(unit(20, 3, 1), unit(20, 3, 2))
    assert c.present[:, 1:].any()
    torch.testing.assert_close(c.shares().sum(dim=1), torch.ones(20, dtype=torch.float64))
    assert not c.shares()[~c.present].any()
    assert (c.shares()[:, 0] >= 0.5 - 1e-12).all()
    assert torch.equal(c.counts + c.present.sum(dim=1), torch.full((20,), 20))


def test_without_edges_it_is_info_nce() -> None:
    a, b = unit(9, 8, 1), unit(9, 8, 2)
    part = {"type": "Geodesic", "likeness": 1.0}
    loss = contrast_of(dim=8, positives=[part]).pair(a, b, generator())
    torch.testing.assert_close(loss, info_nce(a, b, 0.5), atol=1e-12, rtol=0)


def test_a_chain_joins_rows_that_are_not_alike() -> None:
    """Rows 30 degrees apart: each step is 0.134 long, the third 0.402, the fourth beyond the limit."""
    rows = at(0, 30, 60, 90, 120)
    ways = geodesics(neighbour_graph(rows, 2, 0.6), torch.tensor([0]), 0.5)[0]
    step = 1 - math.cos(math.pi / 6)
    assert ways.tolist() == pytest.approx([0, step, 2 * step, 3 * step, math.inf])


def test_scaling_changes_nothing_and_the_graph_has_no_gradient() -> None:
    a, b = unit(12, 3, 1), unit(12, 3, 2).requires_grad_()
    c, scaled = compared(a, b), compared(a, b * 3)
    torch.testing.assert_close(c.shares(), scaled.shares())
    assert torch.equal(c.weight, scaled.weight)
    assert not c.shares().requires_grad
    # The gradient is that of the targets held fixed.
    share, where = c.shares(), c.present
    logits = a @ b.T / 0.5
    place = (c.positive[:, :, None] == logits[:, None, :]).long().argmax(dim=2)
    fixed = (share * (logits.logsumexp(1, keepdim=True) - logits.gather(1, place)) * where).sum(1).mean()
    (expected,) = torch.autograd.grad(fixed, b)
    loss = contrast_of(dim=3, positives=[{"type": "Geodesic"}]).pair(a, b, generator())
    (gradient,) = torch.autograd.grad(loss, b)
    torch.testing.assert_close(gradient, expected)


def test_rows_of_zeros_and_equal_rows_are_finite() -> None:
    for b in (torch.zeros(6, 3), torch.ones(6, 3)):
        a = unit(6, 3, 1).float().requires_grad_()
        loss = contrast_of(dim=3, positives=[{"type": "Geodesic"}]).pair(a, b, generator())
        loss.backward()
        assert a.grad.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"neighbours": -1}, "neighbours -1"),
        ({"likeness": 2.0}, "likeness 2.0"),
        ({"floor": 1.5}, "floor 1.5"),
        ({"limit": 0.0}, "limit 0.0"),
    ],
)
def test_wrong_settings(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Geodesic(**arguments)


@pytest.mark.parametrize(("form", "expected"), [("out", 0.547195), ("in", 0.036450)])
def test_same_region(form: str, expected: float) -> None:
    contrast = contrast_of(
        facts=("labels",), positives=[{"type": "SameRegion"}], loss={"type": "InfoNCE", "form": form}
    )
    loss = contrast.pair(e0("A"), e0("B"), generator(), facts={"labels": torch.tensor([0, 0, 1])})
    assert float(loss) == pytest.approx(expected, abs=6e-7)


def test_rows_without_a_region_are_positives_of_none() -> None:
    contrast = contrast_of(facts=("labels",), positives=[{"type": "SameRegion"}])
    loss = contrast.pair(e0("A"), e0("B"), generator(), facts={"labels": torch.tensor([-1, -1, -1])})
    torch.testing.assert_close(loss, info_nce(e0("A"), e0("B"), 0.5))
