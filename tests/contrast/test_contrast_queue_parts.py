"""Parts with a queue or with weights of their own: values of a small input, and what their states do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from engine_cases import TAU, at, contrast_of, e0, generator, unit
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pc3d.contrast.align_uniform import align_uniform, spread
from pc3d.contrast.clustered_memory import neighbours
from pc3d.contrast.comparison import Comparison, compare
from pc3d.contrast.losses import DCL
from pc3d.contrast.negatives.clusters import ClusterWeights, LearnedWeights
from pc3d.contrast.positives.hallucinated import farthest, hallucinate
from pc3d.contrast.positives.memory import Memory
from pc3d.contrast.positives.pseudo_label import PseudoLabel
from pc3d.contrast.prototype_nce import concentration, prototype_nce
from pc3d.contrast.prototypes import Clustering
from pc3d.contrast.queue import FeatureQueue, means, spherical_kmeans
from pc3d.evaluation.protocol.transport import transported_prototypes

SIX = {"abs": 6e-7, "rel": 0}


def paired() -> Comparison:
    return compare(e0("A"), e0("B"), torch.arange(3), ~torch.eye(3, dtype=torch.bool), TAU)


def number(value: float) -> Tensor:
    return torch.full((1, 1), value, dtype=torch.float64)


def degrees(rows: Tensor) -> list[float]:
    return (torch.atan2(rows[..., 1], rows[..., 0]) * 180 / math.pi).flatten().tolist()


def test_clusters_as_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusterings (0, 0, 1) and (0, 1, 1)."""
    part = ClusterWeights(2, counts=(3, 3), queue=3).double()
    part.clustering.made.fill_(True)
    near = {0: e0("A")[[0, 2]], 1: e0("A")[[0, 1]]}  # of A and B alike: 0, 80 | 200 and 0 | 80, 200
    monkeypatch.setattr(Clustering, "of", lambda self, n: near[n])
    sides = compare(e0("A"), e0("A"), torch.arange(3), ~torch.eye(3, dtype=torch.bool), TAU)
    weight = part(sides, generator()).weight.exp()
    assert weight.round().tolist() == [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
    c = paired()
    c = Comparison(**{**vars(c), "weight": weight.log()})
    assert float(DCL()(c)[0].mean()) == pytest.approx(-1.250940, **SIX)


def test_learned_weights_hold_the_own_positive(monkeypatch: pytest.MonkeyPatch) -> None:
    w = torch.tensor([[0.5, 0.2, 0.9], [0.1, 0.5, 0.8], [0.3, 0.6, 0.4]], dtype=torch.float64)
    part = LearnedWeights(2).double()
    monkeypatch.setattr(part, "scores", lambda a, b: w.logit())
    c = part(paired(), generator())
    # Ours are scaled to a mean of 1 in each row, which adds a constant to the term of the row.
    terms = DCL()(c)[0] + w.mean(dim=1).log()
    assert float(terms.mean()) == pytest.approx(-0.623091, **SIX)
    torch.testing.assert_close(c.weight.exp().mean(dim=1), torch.ones(3, dtype=torch.float64))


def test_prototype_nce() -> None:
    a = e0("A")
    first = prototype_nce(a, at(20, 100), torch.tensor([0, 0, 1]), torch.tensor([0.4, 0.6]).double())
    second = prototype_nce(a, at(40, 200), torch.tensor([0, 1, 1]), torch.tensor([0.5, 0.5]).double())
    assert float(first + second) / 2 == pytest.approx(0.616369, abs=1e-6)


def test_concentration_by_hand() -> None:
    rows, centroids = at(0, 10, 20, 90), at(10, 95)
    distance = [2 * math.sin(math.radians(d) / 2) for d in (10, 0, 10, 5)]
    wide = sum(distance[:3]) / 3 / math.log(3 + 5)
    phi = [wide, wide]  # a cluster of one has the largest
    found = concentration(rows, centroids, 0.9).tolist()
    assert found == pytest.approx([0.9 * p / (sum(phi) / 2) for p in phi])


def test_points_of_the_arc() -> None:
    z, p0, p = at(30), at(20), at(100)
    assert float(farthest(z, p0, p, (z * p).sum(-1).arccos())) == pytest.approx(0.428571, **SIX)
    whole, kept = hallucinate(z, torch.cat([p0, p]), number(0), number(0))
    assert kept.all()
    assert degrees(whole) == pytest.approx([60])
    assert float(whole[0] @ p0.T) == pytest.approx(0.766044, **SIX)
    half, _ = hallucinate(z, torch.cat([p0, p]), number(0), number(0.5))
    assert degrees(half) == pytest.approx([45])
    assert float(-(at(35) @ half[0].T)) / 0.07 == pytest.approx(-14.068682, abs=2e-6)
    stays, _ = hallucinate(z, torch.cat([p0, p]), number(0), number(1))
    assert degrees(stays) == pytest.approx([30])
    z, p0, p = at(0), at(80), at(150)  # where a plain arctan takes the wrong branch
    assert float(farthest(z, p0, p, (z * p).sum(-1).arccos())) == pytest.approx(0.767, abs=5e-4)
    three = [[1, 0.3, 0.2], [1, 0.1, -0.3], [-0.2, 1, 0.4]]
    z, p0, p = torch.nn.functional.normalize(torch.tensor(three, dtype=torch.float64), dim=1).split(1)
    assert float(farthest(z, p0, p, (z * p).sum(-1).arccos())) == pytest.approx(0.351337, **SIX)
    made, _ = hallucinate(z, torch.cat([p0, p]), number(0), number(0))
    assert [float(made[0] @ x.T) for x in (p0, p)] == pytest.approx([0.607215] * 2, **SIX)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 9999), back=st.floats(0, 1))
def test_made_positives_stay_in_their_cluster(seed: int, back: float) -> None:
    z, prototypes = unit(6, 4, seed), unit(5, 4, seed + 1)
    which = torch.rand(6, 3, generator=generator(seed), dtype=torch.float64)
    made, kept = hallucinate(z, prototypes, which, torch.full((6, 3), back, dtype=torch.float64))
    torch.testing.assert_close(made.norm(dim=2), torch.ones(6, 3, dtype=torch.float64))
    near = made @ prototypes.T
    own = (z @ prototypes.T).argmax(dim=1)
    assert (near.gather(2, own[:, None, None].expand(6, 3, 1))[..., 0] >= near.amax(dim=2) - 1e-6)[kept].all()


def test_memory_and_its_neighbours() -> None:
    rows, label = at(15, 95, 210, 300), torch.tensor([0, 0, 1, 1])
    prototypes = means(rows, label, torch.zeros(2, 2, dtype=torch.float64))
    assert degrees(prototypes) == pytest.approx([55, -105])
    assert neighbours(e0("A"), rows, label, prototypes, 1)[:, 0].tolist() == [0, 1, 2]
    # A cluster of no more rows than are asked for: the whole memory.
    assert neighbours(at(0), rows, label, prototypes, 2).tolist() == [[0, 3]]
    empty = means(rows[:2], label[:2], at(7, 8))
    assert degrees(empty) == pytest.approx([55, 8])


def test_balanced_labels_of_a_memory_are_those_of_the_nearest() -> None:
    """Four rows nearest to prototypes 0, 0, 1, 1; given distances, Sinkhorn would say 1, 1, 0, 0."""
    part = Memory(2, prototypes=2, rows=4, neighbours=1)
    part.observe(at(0), at(10, 20, 190, 200), {}, {})
    part.commit()
    assert part.made
    part.observe(at(0), at(12, 22, 192, 202), {}, {})
    part.commit()
    label = part.queue.fact("label").tolist()
    assert label[0] == label[1] != label[2] == label[3]


def test_align_uniform() -> None:
    a, b, c = e0("A"), e0("B"), e0("C")
    assert float(spread(a, b)) == pytest.approx(-0.130973, **SIX)
    teachers = [a.clone().requires_grad_(), b.clone().requires_grad_()]
    loss = align_uniform([c.requires_grad_(), a], teachers, [a, c])
    assert float(loss) == pytest.approx(-0.932721, **SIX)
    loss.backward()
    assert teachers[0].grad is None
    assert float(align_uniform([a[:0], a[:0]], [b[:0]] * 2, [a[:0]] * 2)) == 0


def test_transported_prototypes() -> None:
    supports, queries = at(0, 120).numpy(), at(20, 40, 100, 150).numpy()
    found = transported_prototypes(supports, queries, reg=0.5)
    np.testing.assert_allclose(found, [[0.558142, 0.557225], [-0.225110, 0.677583]], atol=6e-7)
    np.testing.assert_allclose(transported_prototypes(supports, queries[::-1], reg=0.5), found, atol=1e-9)
    blurred = transported_prototypes(supports, queries, reg=1e6)
    np.testing.assert_allclose(blurred, np.tile(queries.mean(axis=0), (2, 1)), atol=1e-5)
    np.testing.assert_allclose(transported_prototypes(supports[:1], queries), queries.mean(axis=0)[None])
    uneven = transported_prototypes(supports, queries, reg=0.01, marginals=np.array([0.25, 0.75]))
    np.testing.assert_allclose(uneven[0], queries[0], atol=1e-3)  # one query of four
    for wrong in ({"reg": 0}, {"passes": 0}, {"marginals": np.array([0.5, 0.6])}):
        with pytest.raises(ValueError, match=r"expected|marginals"):
            transported_prototypes(supports, queries, **wrong)


def test_half_hard_negatives() -> None:
    for arguments, expected in (
        ({"pool": 0.01, "count": 0.01}, 0.265776),
        ({"pool": 1.0, "count": 1.0}, 0.289720),
    ):
        contrast = contrast_of(negatives=[{"type": "SemiHard", **arguments}])
        assert float(contrast.pair(e0("A"), e0("B"), generator())) == pytest.approx(expected, **SIX)


def test_a_pseudo_label_draws_from_its_own_cluster() -> None:
    part = PseudoLabel(2, clusters=2, queue=4, every=1).double()
    part.clustering.observe(at(0), at(20, 70, 200, 250), {}, {})
    part.clustering.commit()
    c = part(paired(), generator(3))
    row = c.positive[:, 1] * TAU
    options = (e0("A") @ part.clustering.queue.rows().double().T).tolist()
    for i, (value, own) in enumerate(zip(row.tolist(), [(0, 1), (0, 1), (2, 3)], strict=True)):
        assert any(value == pytest.approx(options[i][j], abs=1e-6) for j in own)
    torch.testing.assert_close(c.shares(), torch.tensor([[0.75, 0.25]] * 3, dtype=torch.float64))


def test_a_queue_keeps_the_newest_and_leaves_out_what_is_not_finite() -> None:
    queue = FeatureQueue(4, 2, ("label",))
    queue.push(at(0, 10).float(), label=torch.tensor([0, 1]))
    queue.push(torch.tensor([[float("nan"), 0.0], [0.5, 0.5]]), label=torch.tensor([7, 2]))
    assert queue.count == 0
    queue.commit()
    assert queue.fact("label").tolist() == [0, 1, 2]
    assert not queue.full
    queue.push(at(20, 30, 40).float(), label=torch.tensor([3, 4, 5]))
    queue.commit()
    assert queue.fact("label").tolist() == [2, 3, 4, 5]
    assert degrees(queue.rows())[1:] == pytest.approx([20, 30, 40], abs=1e-4)
    again = FeatureQueue(4, 2, ("label",))
    again.load_state_dict(queue.state_dict())
    for one in (queue, again):
        one.push(at(*range(6)).float(), label=torch.arange(6))
        one.commit()
    assert torch.equal(queue.rows(), again.rows())
    assert again.fact("label").tolist() == [2, 3, 4, 5]


def test_spherical_kmeans_finds_what_is_apart() -> None:
    rows = at(0, 5, 100, 105, 230, 235)
    assert sorted(degrees(spherical_kmeans(rows, 3))) == pytest.approx([-127.5, 2.5, 102.5])
    with pytest.raises(ValueError, match="7 centroids of 6 rows"):
        spherical_kmeans(rows, 7)
