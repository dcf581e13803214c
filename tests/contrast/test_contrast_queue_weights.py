"""Weights, prototypes, half-hard negatives and queues, beside plain loops over their equations."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.distributed as dist
from engine_cases import at, contrast_of, e0, generator, unit
from engine_loops import dot, filled, lse, nearest, part_of
from engine_parts import PARTS, contrast_with, facts_of, rows
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pc3d.contrast.align_uniform import align_uniform, spread
from pc3d.contrast.comparison import compare
from pc3d.contrast.nce import info_nce
from pc3d.contrast.negatives.clusters import LearnedWeights
from pc3d.contrast.policy import Part
from pc3d.contrast.positives.hallucinated import Hallucinated
from pc3d.contrast.positives.memory import Memory
from pc3d.contrast.prototype_nce import SMOOTH, concentration
from pc3d.contrast.prototypes import Clustering
from pc3d.contrast.queue import FeatureQueue
from pc3d.evaluation.protocol.transport import transported_prototypes

SIX = {"abs": 6e-7, "rel": 0}
TAU, DIM = 0.5, 5
seeds = st.integers(0, 9999)
few = settings(max_examples=20, deadline=None)


@few
@given(seed=seeds, labels=st.booleans())
def test_clusters_as_weights_beside_a_loop(seed: int, labels: bool) -> None:
    policy = {"type": "ClusterWeights", "counts": (2, 4), "queue": 9, "labels": labels}
    facts = facts_of(6, seed) if labels else {}
    contrast = filled(contrast_of(dim=DIM, facts=tuple(facts), negatives=[policy]), unit(9, DIM, seed))
    a, b = unit(6, DIM, seed + 1), unit(6, DIM, seed + 2)
    clustering = part_of(contrast.eval(), Clustering)
    ignore = torch.rand(6, 6, generator=generator(seed)) < 0.2
    terms = []
    for i in range(6):
        weighted = []
        for j in range(6):
            count = sum(nearest(b[i], c) != nearest(b[j], c) for c in (clustering.of(0), clustering.of(1)))
            if labels:
                y = facts["labels"]
                count += int(y[i] != y[j] or y[i] < 0)
            if j != i and count and not ignore[i, j]:
                weighted.append(math.log(count) + dot(a[i], b[j]) / TAU)
        if weighted:
            terms.append(lse(weighted) - dot(a[i], b[i]) / TAU)
    expected = sum(terms) / max(len(terms), 1)
    assert float(contrast.pair(a, b, generator(), ignore, facts=facts)) == pytest.approx(expected, abs=1e-9)


def test_an_anchor_without_a_key_is_of_its_own_cluster() -> None:
    contrast = filled(
        contrast_of(negatives=[{"type": "ClusterWeights", "counts": (2,), "queue": 4}]), at(0, 5, 90, 95)
    )
    own, negative = torch.tensor([1, -1]), torch.ones(2, 3, dtype=torch.bool)
    c = compare(at(0, 0), at(2, 88, 93), own, negative, TAU)
    weight = contrast.policies[0](c, generator()).weight
    assert (weight > -torch.inf).tolist() == [[True, False, False], [False, True, True]]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [((0, 1, 2), -1.389403), ((-1, -1, -1), -1.389403), ((4, 4, 4), 0.0)],
    ids=["each its own", "none", "all of one"],
)
def test_one_clustering_by_ready_labels(labels: tuple[int, ...], expected: float) -> None:
    policy = {"type": "ClusterWeights", "counts": (), "labels": True}
    contrast = contrast_of(facts=("labels",), negatives=[policy])
    a = e0("A").requires_grad_()
    loss = contrast.pair(a, e0("B"), generator(), facts={"labels": torch.tensor(labels)})
    loss.backward()
    assert float(loss.detach()) == pytest.approx(expected, **SIX)
    assert a.grad is not None
    assert a.grad.isfinite().all()


@few
@given(seed=seeds)
def test_learned_weights_beside_a_loop(seed: int) -> None:
    torch.manual_seed(seed)
    contrast = contrast_of(dim=DIM, negatives=[{"type": "LearnedWeights", "hidden": 3}])
    policy = part_of(contrast, LearnedWeights)
    w1, b1, w2, b2 = (parameter.detach() for parameter in policy.parameters())
    a, b = unit(5, DIM, seed + 1), unit(5, DIM, seed + 2)
    ignore = (torch.rand(5, 5, generator=generator(seed)) < 0.3).fill_diagonal_(False)
    terms = []
    for i in range(5):
        used = [j for j in range(5) if not ignore[i, j]]
        hidden = {
            j: [math.tanh(dot(w, a[i] + b[j]) + float(c)) for w, c in zip(w1, b1, strict=True)] for j in used
        }
        score = {
            j: sum(float(w) * h for w, h in zip(w2[0], hidden[j], strict=True)) + float(b2) for j in used
        }
        weight = {j: 1 / (1 + math.exp(-score[j])) for j in used}
        mean = sum(weight.values()) / len(used)
        terms.append(
            lse([math.log(weight[j] / mean) + dot(a[i], b[j]) / TAU for j in used]) - dot(a[i], b[i]) / TAU
        )
    assert float(contrast.pair(a, b, generator(), ignore).detach()) == pytest.approx(sum(terms) / 5, abs=1e-9)


def test_an_anchor_without_its_own_positive_keeps_the_first_candidate() -> None:
    own, negative = torch.tensor([-1, -1, 2]), torch.ones(3, 3, dtype=torch.bool)
    c = compare(e0("A"), e0("B"), own, negative, TAU, positive=torch.eye(3, dtype=torch.bool))
    assert c.present.int().tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]]
    weight = LearnedWeights(2).double()(c, generator()).weight
    assert weight.isfinite().all()


@few
@given(seed=seeds)
def test_prototype_nce_beside_a_loop(seed: int) -> None:
    term = {"type": "ProtoNCE", "counts": (2, 4), "queue": 12, "temperature": 0.7, "weight": 0.3}
    contrast = filled(contrast_of(dim=DIM, regularizers=[term]), unit(12, DIM, seed)).eval()
    clustering = part_of(contrast, Clustering)
    a, b = unit(6, DIM, seed + 1).requires_grad_(), unit(6, DIM, seed + 2).requires_grad_()
    terms = []
    for number in range(2):
        centroids = clustering.of(number)
        phi = by_hand(clustering.queue.rows(), centroids, 0.7)
        for z, key in zip(a, b, strict=True):
            logits = [dot(z, c) / p for c, p in zip(centroids, phi, strict=True)]
            terms.append(lse(logits) - logits[nearest(key, centroids)])
    loss = contrast.pair(a, b, generator())
    expected = float(info_nce(a, b, TAU).detach()) + 0.3 * sum(terms) / len(terms)
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-7)
    torch.testing.assert_close(
        torch.autograd.grad(loss, b)[0], torch.autograd.grad(info_nce(a, b, TAU), b)[0]
    )


def by_hand(rows: Tensor, centroids: Tensor, mean: float) -> list[float]:
    """phi of each cluster."""
    members: list[list[float]] = [[] for _ in centroids]
    for row in rows:
        own = nearest(row, centroids)
        members[own].append(math.dist(row.tolist(), centroids[own].tolist()))
    phi = [sum(m) / max(len(m), 1) / math.log(len(m) + SMOOTH) for m in members]
    phi = [p if len(m) > 1 else max(phi) for p, m in zip(phi, members, strict=True)]
    low, high = np.percentile(phi, [10, 90])
    phi = [min(max(p, low, 1e-6), high) for p in phi]
    return [p * mean / (sum(phi) / len(phi)) for p in phi]


def test_concentration_of_equal_rows_is_finite() -> None:
    phi = concentration(at(10, 10, 10), at(10, 100), 0.9)
    assert phi.tolist() == pytest.approx([0.9, 0.9])


@few
@given(seed=seeds, pool=st.floats(0.05, 1), part=st.floats(0.05, 1))
def test_half_hard_negatives_are_of_the_hardest(seed: int, pool: float, part: float) -> None:
    contrast = contrast_of(dim=DIM, negatives=[{"type": "SemiHard", "pool": pool, "count": pool * part}])
    ignore = torch.rand(7, 7, generator=generator(seed)) < 0.3
    negative = ~(ignore | torch.eye(7, dtype=torch.bool))
    negative[0] = False
    c = compare(unit(7, DIM, seed), unit(7, DIM, seed + 1), torch.arange(7), negative, TAU)
    kept = contrast.policies[0](c, generator(seed)).weight > -torch.inf
    assert not kept[0].any()
    for i in range(1, 7):
        hard = sorted((j for j in range(7) if negative[i, j]), key=lambda j: -float(c.negative[i, j]))
        drawn = {j for j in range(7) if kept[i, j]}
        assert drawn <= set(hard[: max(round(len(hard) * pool), 1)])
        assert len(drawn) == min(max(round(len(hard) * pool * part), 1), len(hard))


@few
@given(seed=seeds, count=st.integers(1, 5))
def test_align_uniform_beside_a_loop(seed: int, count: int) -> None:
    p1, p2, t1, t2, z1, z2 = (unit(count, DIM, seed + number) for number in range(6))
    near = sum(dot(p1[i], t2[i]) + dot(p2[i], t1[i]) for i in range(count)) / count
    both, means = [*z1, *z2], []
    for i in range(2 * count):
        rest = [j for j in range(2 * count) if j % count != i % count]
        if rest:
            means.append(sum(math.exp(dot(both[i], both[j]) / 2) for j in rest) / len(rest))
    expected = -near / 2 + (0.3 * math.log(sum(means) / len(means)) if means else 0)
    teachers = [t1.requires_grad_(), t2.requires_grad_()]
    students = [z1.requires_grad_(), z2.requires_grad_()]
    loss = align_uniform([p1, p2], teachers, students, 0.3)
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-9)
    loss.backward()
    assert all(t.grad is None for t in teachers)
    assert all(z.grad is not None and z.grad.isfinite().all() for z in students)
    order = torch.randperm(count, generator=generator(seed))
    torch.testing.assert_close(spread(z1[order], z2[order]), spread(z1, z2))


@few
@given(seed=seeds, passes=st.integers(1, 3), keep=st.sampled_from([0.0, 0.3]))
def test_transported_prototypes_beside_a_loop(seed: int, passes: int, keep: float) -> None:
    source = np.random.default_rng(seed)
    supports, queries = source.normal(size=(3, 4)), source.normal(size=(6, 4))
    share = source.dirichlet(np.ones(3) * 5) + 0.01
    share /= share.sum()
    moved = supports.copy()
    for _ in range(passes):
        cost = np.array([[((s - q) ** 2).sum() for q in queries] for s in moved])
        kernel = np.exp(-cost / cost.max() / 0.3)
        u = np.ones(3)
        for _ in range(2000):
            v = (1 / 6) / (kernel.T @ u)
            u = share / (kernel @ v)
        plan = u[:, None] * kernel * v
        np.testing.assert_allclose(plan.sum(axis=1), share, atol=1e-9)
        moved = (1 - keep) * (plan / plan.sum(axis=1, keepdims=True)) @ queries + keep * moved
    found = transported_prototypes(supports, queries, 0.3, passes, keep, share, rounds=3000)
    np.testing.assert_allclose(found, moved, atol=1e-7)


def test_a_queue_keeps_some_rows_of_a_step_evenly() -> None:
    queue = FeatureQueue(6, 2, ("label",), keep=3)
    queue.push(at(*range(9)).float(), label=torch.arange(9))
    assert queue.commit() == 3
    assert queue.fact("label").tolist() == [0, 3, 6]
    queue.label("label", torch.tensor([7, 8, 9]))
    queue.push(at(1, 2).float(), label=torch.tensor([1, 2]))
    queue.commit()
    assert queue.fact("label").tolist() == [7, 8, 9, 1, 2]


@pytest.mark.parametrize(("slot", "name"), PARTS)
def test_looking_at_rows_needs_no_other_rank(slot: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank that has nothing to compare does not look: only `commit` may wait for others."""
    contrast = contrast_with(slot, name)
    filled(contrast, rows(16)[1].detach())

    def never(*_: object) -> None:
        raise AssertionError("waits for other ranks")

    gathers: tuple[tuple[str, Callable[..., object]], ...] = (
        ("is_initialized", lambda: True),
        ("get_world_size", lambda: 2),
        ("all_gather", never),
    )
    for function, stand_in in gathers:
        monkeypatch.setattr(dist, function, stand_in)
    a, b = rows(8)
    contrast.look(a, b, facts_of(8), facts_of(8))


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (Hallucinated, {"prototypes": 1}),
        (Hallucinated, {"share": 1.5}),
        (Memory, {"prototypes": 9, "rows": 8}),
        (Memory, {"epsilon": 0}),
        (LearnedWeights, {"hidden": 0}),
    ],
)
def test_settings_that_cannot_be(kind: Callable[..., Part], arguments: dict) -> None:
    with pytest.raises(ValueError, match=r"expected"):
        kind(dim=2, **arguments)
