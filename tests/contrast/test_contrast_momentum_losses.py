"""Losses of the objectives with a momentum network: values of a small input, loops, degenerate cases."""

from __future__ import annotations

import pytest
import torch
from engine_cases import TAU, at, e0, unit
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pc3d.contrast.bag_of_words import bag_loss, bags_of, perplexity, word_codes, word_logits
from pc3d.contrast.nce import info_nce
from pc3d.contrast.propagation import near_agreement, near_in_metres, propagate
from pc3d.contrast.slots import active_slots, grouping_loss, scores, slot_loss, slots_of
from pc3d.contrast.triple import local_mutual_information, soft_contrast

SIX = {"abs": 6e-7, "rel": 0}
CELLS = torch.tensor([[1, 0], [0, 2], [-1, 1], [2, 1]], dtype=torch.float64)
ONE = torch.zeros(4, dtype=torch.long)


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def mask(*values: int) -> Tensor:
    return torch.tensor([values], dtype=torch.bool)


def test_propagation() -> None:
    a, b, group = e0("A"), e0("B"), torch.tensor([0, 0, 1])
    smoothed = propagate(a, a)
    expected = [1.005236, 0.029696, 0.203802, 0.984808, -0.939693, -0.342020]
    assert smoothed.flatten().tolist() == pytest.approx(expected, **SIX)
    near = near_agreement(smoothed, b, group[:, None] == group[None, :])
    assert float(near) == pytest.approx(-1.542667, **SIX)
    own = near_agreement(smoothed, b, torch.eye(3, dtype=torch.bool))
    assert float(own) == pytest.approx(-1.822532, abs=1e-6)
    assert float(near_agreement(smoothed, b, torch.zeros(3, 3, dtype=torch.bool))) == 0
    assert near_in_metres(torch.tensor([[0.0, 0, 0], [0.3, 0.4, 0], [0, 0, 0.6]]), 0.55).sum() == 5


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 6), seed=st.integers(0, 999))
def test_propagation_is_its_equation(rows: int, seed: int) -> None:
    x, t = unit(rows, 3, seed) * 2, unit(rows, 3, seed + 1) * 3
    for sharpness in (2.0, 3.0):
        found = propagate(x, t, sharpness)
        for i in range(rows):
            weights = [max(float(x[i] @ x[j]) / 4, 0) ** sharpness for j in range(rows)]
            expected = sum((w * t[j] / 3 for j, w in enumerate(weights)), torch.zeros(3).double())
            torch.testing.assert_close(found[i], expected, rtol=1e-6, atol=1e-9)


def test_slots() -> None:
    prototypes = at(0, 120)
    dots = scores(CELLS, prototypes)
    sharp = slots_of(CELLS, dots, ONE, 1).flatten().tolist()
    assert sharp == pytest.approx([1.499995, 0.500004, -0.499998, 1.499998], **SIX)
    soft = slots_of(CELLS, dots, ONE, 1, 1.0).flatten().tolist()
    assert soft == pytest.approx([1.055106, 0.738426, -0.051600, 1.259922], **SIX)
    other = scores(CELLS + numbers(0.2, 0.1), prototypes)
    for centre, expected in ((numbers(0, 0), 0.372372), (numbers(0.2, -0.1), 0.383589)):
        assert float(grouping_loss(dots, other, centre, 1.0, 0.5)) == pytest.approx(expected, **SIX)
    a, b = e0("A")[None], e0("B")[None]
    assert float(slot_loss(a, b, mask(1, 1, 0), mask(1, 1, 1))) == pytest.approx(0.054480, **SIX)
    assert float(slot_loss(a, b, mask(1, 1, 0), mask(1, 0, 1))) == pytest.approx(0.000173, **SIX)
    assert float(slot_loss(a, b, mask(0, 1, 0), mask(1, 0, 1))) == 0
    assert active_slots(dots, ONE, 2).tolist() == [[True, True], [False, False]]


def test_order_of_prototypes_and_cells_is_no_matter() -> None:
    prototypes, order = at(0, 120, 250), torch.tensor([2, 0, 1])
    dots = scores(CELLS, prototypes)
    turned = scores(CELLS, prototypes[order])
    torch.testing.assert_close(slots_of(CELLS, turned, ONE, 1)[0], slots_of(CELLS, dots, ONE, 1)[0][order])
    flipped = slots_of(CELLS.flip(0), dots.flip(0), ONE, 1)
    torch.testing.assert_close(flipped, slots_of(CELLS, dots, ONE, 1))
    one = scores(CELLS, at(40))
    torch.testing.assert_close(slots_of(CELLS, one, ONE, 1)[0, 0], CELLS.mean(dim=0))
    assert float(grouping_loss(one, one, numbers(0), 1.0, 1.0)) == 0


def test_teachers_get_no_gradient() -> None:
    student, teacher = (scores(CELLS, at(0, 120)).requires_grad_() for _ in range(2))
    grouping_loss(student, teacher, numbers(0, 0), 1.0, 0.5).backward()
    assert teacher.grad is None
    keys = e0("B")[None].requires_grad_()
    slot_loss(e0("A")[None].requires_grad_(), keys, mask(1, 1, 1), mask(1, 1, 1)).backward()
    assert keys.grad is None
    anchors, others = e0("A").requires_grad_(), e0("B").requires_grad_()
    soft_contrast(anchors, others, others, others[:0].detach(), TAU).backward()
    assert others.grad is None


def test_bags_of_words() -> None:
    codes, near = word_codes(at(0, 80, 200, 30), at(10, 90, 220), 1, 0.5)
    bags, has = bags_of(codes, ONE, 2)
    assert bags[0].tolist() == pytest.approx([0.337724, 0.319860, 0.342416], **SIX)
    assert has.tolist() == [True, False]
    assert float(near) == pytest.approx(0.075500, **SIX)
    logits = numbers(1, 0.5, -0.2)[None]
    divergence = bag_loss(logits, bags[:1])
    assert float(divergence) == pytest.approx(0.118556, **SIX)
    entropy = torch.special.entr(bags[0]).sum()
    assert float(divergence + entropy) == pytest.approx(1.216741, abs=1e-6)
    assert float(perplexity(bags[:1])) == pytest.approx(float(entropy.exp()))
    sharp, _ = bags_of(word_codes(at(0, 80, 200, 30), at(10, 90, 220), 1e6, 0.5)[0], ONE, 1)
    assert sharp[0].tolist() == pytest.approx([1 / 3] * 3)  # each word occurs
    assert float(bag_loss(logits[:0], bags[:0])) == 0
    assert word_logits(numbers(0.5, 0)[None], at(0) * 7).item() == pytest.approx(4.0)


def test_local_mutual_information() -> None:
    b, present = e0("B"), torch.ones(3, 2, dtype=torch.bool)
    local = torch.stack([at(0, 30), at(80, 120), at(200, 250)])
    assert float(local_mutual_information(b, local, present, TAU)) == pytest.approx(0.604345, **SIX)
    one = local_mutual_information(b, e0("A")[:, None], present[:, :1], TAU)
    assert float(one) == pytest.approx(0.292247, **SIX)
    assert float(one) == pytest.approx(float(info_nce(b, e0("A"), TAU)))
    # A group without parts is left out of both sides.
    present[2] = False
    short = local_mutual_information(b[:2], local[:2], present[:2], TAU)
    assert float(local_mutual_information(b, local, present, TAU)) == pytest.approx(float(short))
    assert float(local_mutual_information(b, local, present & False, TAU)) == 0
    assert float(local_mutual_information(b[:1], local[:1], present[:1], TAU)) == pytest.approx(0, abs=1e-9)


def test_soft_contrast() -> None:
    a, b, c = e0("A"), e0("B"), e0("C")
    none = b[:0]
    assert float(soft_contrast(a, b, c, none, TAU)) == pytest.approx(0.417736, **SIX)
    assert float(soft_contrast(a, b, c, none, TAU, 0)) == pytest.approx(0.289720, **SIX)
    queue = at(15, 300)
    plain = soft_contrast(a, b, c, queue, TAU, 0)
    assert float(plain) == pytest.approx(float(info_nce(a, b, TAU, extra=queue)))
    assert float(soft_contrast(a[:0], b[:0], c[:0], queue, TAU)) == 0
