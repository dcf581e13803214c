"""Positives from a queue, beside plain loops over their equations."""

from __future__ import annotations

import math

import pytest
import torch
from engine_cases import at, contrast_of, e0, generator, unit
from engine_loops import dot, filled, lse, nearest, part_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pc3d.contrast.nce import info_nce
from pc3d.contrast.policy import draw
from pc3d.contrast.positives.hallucinated import hallucinate
from pc3d.contrast.positives.memory import Memory
from pc3d.contrast.prototypes import Clustering
from pc3d.contrast.sinkhorn import sinkhorn

SIX = {"abs": 6e-7, "rel": 0}
TAU, DIM = 0.5, 5
seeds = st.integers(0, 9999)
few = settings(max_examples=20, deadline=None)


def arc(z: Tensor, p: Tensor, t: float) -> Tensor:
    angle = math.acos(max(-1.0, min(1.0, dot(z, p))))
    made = math.sin((1 - t) * angle) * z + math.sin(t * angle) * p
    return made / made.norm()


def as_like(z: Tensor, p0: Tensor, p: Tensor) -> float:
    """The share of the arc at which a point is as like p0 as p, by halving."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        point = arc(z, p, middle)
        low, high = (middle, high) if dot(point, p0) > dot(point, p) else (low, middle)
    return low


@few
@given(seed=seeds, ids=st.booleans())
def test_hallucinated_positives_beside_a_loop(seed: int, ids: bool) -> None:
    policy = {"type": "Hallucinated", "prototypes": 3, "count": 3, "weight": 1.5, "queue": 9}
    a, b, facts = unit(6, DIM, seed), unit(6, DIM, seed + 1), {}
    if ids:
        facts = {"ids": torch.randperm(6, generator=generator(seed)) + 40}
    contrast = filled(contrast_of(dim=DIM, positives=[policy]), unit(9, DIM, seed + 2)).eval()
    centroids = part_of(contrast, Clustering).of(0)
    numbers = draw(generator(7), facts.get("ids", torch.arange(6)), 6)
    pulls = []
    for i in range(6):
        own = nearest(b[i], centroids)
        others = [k for k in range(3) if k != own]
        for j in range(3):
            p = centroids[others[int(float(numbers[i, j]) * 2)]]
            back = float(numbers[i, 3 + j]) * 0.8
            g = arc(b[i], p, (1 - back) * as_like(b[i], centroids[own], p))
            if nearest(g, centroids) == own:
                pulls.append(dot(a[i], g) / TAU)
    expected = float(info_nce(a, b, TAU)) - (1.5 * sum(pulls) / len(pulls) if pulls else 0)
    assert float(contrast.pair(a, b, generator(7), facts=facts)) == pytest.approx(expected, abs=1e-9)


def test_hallucinated_positives_are_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = {"type": "Hallucinated", "prototypes": 2, "count": 2, "share": 1.0, "queue": 4}
    contrast = filled(contrast_of(positives=[policy]), at(20, 30, 190, 200))
    a, b = e0("A").requires_grad_(), e0("B").requires_grad_()
    plain = info_nce(a, b, TAU)
    _, expected = torch.autograd.grad(plain, (a, b))
    ours, theirs = torch.autograd.grad(contrast.pair(a, b, generator()), (a, b))
    torch.testing.assert_close(theirs, expected)
    assert not torch.allclose(ours, torch.autograd.grad(info_nce(a, b, TAU), a)[0])
    # u = 1 gives the key itself: the mean logit of the positives.
    ones = torch.ones(3, 4, dtype=torch.float64)
    monkeypatch.setattr("pc3d.contrast.positives.hallucinated.draw", lambda *_: ones)
    expected = plain.detach() - (a * b).sum(dim=1).detach().mean() / TAU
    torch.testing.assert_close(contrast.pair(a, b, generator()).detach(), expected)


def test_hallucinated_positives_where_there_are_none() -> None:
    a, b = e0("A").requires_grad_(), e0("B").requires_grad_()
    cold = contrast_of(positives=[{"type": "Hallucinated", "prototypes": 2, "queue": 4}])
    assert float(cold.pair(a, b, generator()).detach()) == pytest.approx(0.289720, **SIX)
    which = back = torch.zeros(1, 1, dtype=torch.float64)
    _, kept = hallucinate(at(0), at(0, 180), which, back)  # no arc between opposite points
    assert not kept.any()
    made, kept = hallucinate(at(0), at(60, -60), which, back)  # as like both: the key itself
    assert kept.all()
    torch.testing.assert_close(made[0], at(0))
    _, kept = hallucinate(at(0), at(50, 180, 70), torch.full((1, 1), 0.6).double(), back)
    assert kept.all()
    _, kept = hallucinate(at(0), at(10, 170, 60), torch.zeros(1, 1).double(), back)  # 60 is nearer on the way
    assert not kept.any()


@few
@given(seed=seeds)
def test_a_memory_beside_a_loop(seed: int) -> None:
    policy = {"type": "Memory", "prototypes": 3, "rows": 12, "neighbours": 2}
    contrast = filled(contrast_of(dim=DIM, positives=[policy]), unit(12, DIM, seed)).eval()
    memory = part_of(contrast, Memory)
    held, label = memory.queue.rows(), memory.queue.fact("label").tolist()
    a, b = unit(5, DIM, seed + 1), unit(5, DIM, seed + 2)
    terms = []
    for i in range(5):
        own = nearest(b[i], memory.prototypes)
        among = [m for m in range(12) if label[m] == own]
        among = among if len(among) > 2 else list(range(12))
        best = sorted(among, key=lambda m: -dot(b[i], held[m]))[:2]
        positive = [dot(a[i], b[i]) / TAU, *(dot(a[i], held[m]) / TAU for m in best)]
        whole = lse([*positive, *(dot(a[i], b[j]) / TAU for j in range(5) if j != i)])
        terms.append(sum(whole - p for p in positive) / 3)
    assert float(contrast.pair(a, b, generator())) == pytest.approx(sum(terms) / 5, abs=1e-9)


def stepped(memory: Memory, *degrees: float, lost: bool = False) -> list[int]:
    """Labels after a step with rows at angles, and one that is not finite."""
    others = at(*degrees)
    memory.observe(others, torch.cat([others, others[:1] * torch.nan]) if lost else others, {}, {})
    memory.commit()
    return memory.queue.fact("label").tolist()


@pytest.mark.parametrize("lost", [False, True])
def test_labels_of_a_memory_are_balanced_over_all_of_it(lost: bool) -> None:
    memory = Memory(2, prototypes=2, rows=6, neighbours=1)
    assert stepped(memory, 0, 10) == [-1, -1]
    assert not memory.made
    first = stepped(memory, 5, 180, 190, 185)
    assert first[0] == first[1] == first[2] != first[3] == first[4] == first[5]
    before = memory.prototypes.clone()
    after = stepped(memory, 182, lost=lost)  # one row alone: by its likeness, not the first prototype
    assert after == [*first[1:], first[3]]
    codes = sinkhorn(memory.queue.rows() @ before.T, 0.05)
    assert after[-1] == int(codes[-1].argmax())
    assert memory.state_dict()["prototypes"].isfinite().all()


def test_a_memory_of_one_cluster_is_clustered_anew() -> None:
    memory = Memory(2, prototypes=2, rows=4, neighbours=1)
    stepped(memory, 0, 5, 180, 185)
    memory.queue.label("label", torch.ones(4, dtype=torch.long))
    memory.commit()
    label = memory.queue.fact("label").tolist()
    assert label[0] == label[1] != label[2] == label[3]
    alone = Memory(2, prototypes=1, rows=4, neighbours=1)
    assert stepped(alone, 0, 5, 180, 185) == [0] * 4


def test_a_memory_gives_nothing_before_its_start() -> None:
    policy = {"type": "Memory", "prototypes": 2, "rows": 4, "neighbours": 1, "start": 2}
    contrast = contrast_of(positives=[policy])
    values = []
    for _ in range(3):
        values.append(float(contrast.pair(e0("A"), e0("B"), generator())))
        filled(contrast, e0("B"))
    assert values[:2] == pytest.approx([0.289720] * 2, **SIX)
    assert values[2] != pytest.approx(values[0], abs=1e-3)


def spent(positive: list[float], negative: list[float], form: str) -> float:
    """The term of an anchor with these logits."""
    if form == "each":
        return sum(lse([p, *negative]) - p for p in positive) / len(positive)
    whole = lse([*positive, *negative])
    return whole - lse(positive) if form == "in" else sum(whole - p for p in positive) / len(positive)


@few
@given(seed=seeds, form=st.sampled_from(["out", "in", "each", "DCL"]), regions=st.booleans())
def test_a_pseudo_label_beside_a_loop(seed: int, form: str, regions: bool) -> None:
    """Two contrasts, each with its own positives alone in its denominator."""
    positives: list[dict] = [{"type": "PseudoLabel", "clusters": 3, "queue": 10, "share": 0.4}]
    labels = torch.randint(0, 3, (5,), generator=generator(seed))
    positives = [{"type": "SameRegion"}, *positives] if regions else positives
    loss = {"type": "DCL"} if form == "DCL" else {"type": "InfoNCE", "form": form}
    facts = {"labels": labels} if regions else {}
    contrast = contrast_of(dim=DIM, facts=tuple(facts), positives=positives, loss=loss)
    contrast = filled(contrast, unit(10, DIM, seed)).eval()
    clustering = part_of(contrast, Clustering)
    centroids, held = clustering.of(0), clustering.queue.rows()
    a, b = unit(5, DIM, seed + 1), unit(5, DIM, seed + 2)
    numbers = draw(generator(7), torch.arange(5), 1)[:, 0].tolist()
    terms = []
    for i in range(5):
        same = [j for j in range(5) if regions and j != i and labels[j] == labels[i]]
        negative = [dot(a[i], b[j]) / TAU for j in range(5) if j != i and j not in same]
        positive = [dot(a[i], b[j]) / TAU for j in (i, *same)]
        alike = [m for m in range(10) if nearest(held[m], centroids) == nearest(b[i], centroids)]
        drawn = [dot(a[i], held[alike[int(numbers[i] * len(alike))]]) / TAU] if alike else []
        if form == "DCL":
            if negative:
                further = 0.4 * drawn[0] if drawn else 0
                kept = sum(positive) / len(positive) * (0.6 if drawn else 1)
                terms.append(lse(negative) - kept - further)
            continue
        term = spent(positive, negative, form)
        terms.append(0.6 * term + 0.4 * spent(drawn, negative, "each") if drawn else term)
    expected = sum(terms) / max(len(terms), 1)
    assert float(contrast.pair(a, b, generator(7), facts=facts)) == pytest.approx(expected, abs=1e-9)
