"""Losses of the objectives with a momentum network against plain loops; what changes nothing; autocast."""

from __future__ import annotations

import momentum_loops as loops
import pytest
import torch
from engine_cases import TAU, at, e0, generator, unit
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pc3d.contrast.bag_of_words import bag_loss, bags_of, word_codes, word_logits
from pc3d.contrast.propagation import near_agreement, propagate
from pc3d.contrast.slots import active_slots, grouping_loss, scores, slot_loss, slots_of
from pc3d.contrast.triple import local_mutual_information, soft_contrast

some = settings(max_examples=20, deadline=None)
counts, seeds = st.integers(1, 6), st.integers(0, 999)
CLOSE = {"rel": 1e-9, "abs": 1e-9}


def chosen(*shape: int, seed: int, share: float = 0.5) -> Tensor:
    return torch.rand(*shape, generator=generator(seed)) < share


@some
@given(counts, seeds, st.sampled_from([0.1, 1.0, 2.0, 3.0]))
def test_propagation_and_agreement(count: int, seed: int, sharpness: float) -> None:
    x, t, keys = (unit(count, 3, seed + n) * (n + 1) for n in range(3))
    positive = chosen(count, count, seed=seed)
    smoothed = propagate(x, t, sharpness)
    torch.testing.assert_close(smoothed, loops.propagated(x, t, sharpness), rtol=1e-9, atol=1e-9)
    expected = loops.agreement(smoothed, keys, positive)
    assert float(near_agreement(smoothed, keys, positive)) == pytest.approx(expected, **CLOSE)


@some
@given(counts, seeds, st.sampled_from([0.07, 1.0]))
def test_slots_and_grouping(count: int, seed: int, temperature: float) -> None:
    cells, other, prototypes = (unit(n, 3, seed + m) * 2 for n, m in ((count, 0), (count, 1), (4, 2)))
    sample = torch.randint(0, 3, (count,), generator=generator(seed))
    dots, theirs = scores(cells, prototypes), scores(other, prototypes)
    torch.testing.assert_close(dots, loops.dots_of(cells, prototypes))
    found = slots_of(cells, dots, sample, 3, temperature)
    torch.testing.assert_close(found, loops.slots(cells, prototypes, sample, 3, temperature))
    active = {tuple(place) for place in active_slots(dots, sample, 3).nonzero().tolist()}
    assert active == loops.best(dots, sample, 3)
    centre = unit(1, 4, seed)[0]
    expected = loops.grouping(dots, theirs, centre, 0.1, 0.07)
    assert float(grouping_loss(dots, theirs, centre, 0.1, 0.07)) == pytest.approx(expected, **CLOSE)


@some
@given(st.integers(1, 3), seeds)
def test_slots_are_contrasted(size: int, seed: int) -> None:
    predicted, keys = (unit(size * 4, 3, seed + n).view(size, 4, 3) for n in range(2))
    student, teacher = (chosen(size, 4, seed=seed + n, share=0.6) for n in range(2))
    mine, known = (
        {(b, k): rows[b, k] for b, k in active.nonzero().tolist()}
        for rows, active in ((predicted, student), (keys, teacher))
    )
    expected = loops.slot_contrast(mine, known, 0.2)
    assert float(slot_loss(predicted, keys, student, teacher)) == pytest.approx(expected, **CLOSE)


@some
@given(counts, seeds, st.sampled_from([1.0, 15.0]))
def test_bags_and_their_loss(count: int, seed: int, inverse: float) -> None:
    cells, words = unit(count, 3, seed), unit(5, 3, seed + 1)
    document = torch.randint(0, 3, (count,), generator=generator(seed))
    codes, near = word_codes(cells, words, inverse, 0.4)
    bags, has = bags_of(codes, document, 3)
    assert has.tolist() == [bool((document == d).any()) for d in range(3)]
    for d in has.nonzero()[:, 0].tolist():
        torch.testing.assert_close(bags[d], loops.bag(cells[document == d], words, inverse, 0.4)[0])
    assert float(near) == pytest.approx(loops.bag(cells, words, inverse, 0.4)[1], **CLOSE)
    logits = word_logits(unit(3, 3, seed + 2) * 2, words * 3)
    torch.testing.assert_close(logits, 8 * (unit(3, 3, seed + 2) * 2) @ words.T)
    expected = loops.divergence(logits[has], bags[has])
    assert float(bag_loss(logits[has], bags[has])) == pytest.approx(expected, **CLOSE)


@some
@given(counts, seeds, st.integers(1, 3))
def test_local_information(count: int, seed: int, parts: int) -> None:
    anchors, local = unit(count, 3, seed), unit(count * parts, 3, seed + 1).view(count, parts, 3)
    present = chosen(count, parts, seed=seed, share=0.8)
    expected = loops.local_information(anchors, local, present, TAU)
    found = local_mutual_information(anchors, local, present, TAU)
    assert float(found) == pytest.approx(expected, **CLOSE)


@some
@given(counts, seeds, st.integers(0, 4), st.sampled_from([0.0, 0.4, 1.0]))
def test_soft_targets(count: int, seed: int, queued: int, alpha: float) -> None:
    a, b, c = (unit(count, 3, seed + n) for n in range(3))
    queue = unit(queued, 3, seed + 3)
    expected = loops.soft_targets(a, b, c, queue, TAU, alpha)
    assert float(soft_contrast(a, b, c, queue, TAU, alpha)) == pytest.approx(expected, **CLOSE)


def test_ends_of_propagation() -> None:
    x, t = unit(5, 3, 1).abs(), unit(5, 3, 2) * 4  # all cosines above 0
    every = torch.nn.functional.normalize(t, dim=1).sum(dim=0).expand(5, 3)
    torch.testing.assert_close(propagate(x, t, 1e-9), every, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(propagate(x[:1], t[:1]), t[:1] / 4)
    assert propagate(x[:0], t[:0]).shape == (0, 3)
    x = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    for sharpness in (1.0, 2.0):
        propagate(x, x, sharpness).sum().backward()
        assert x.grad.isfinite().all()
    # Opposite features have no part in each other, however flat the weights are.
    assert propagate(at(0, 180), at(0, 180), 0.01)[0].tolist() == pytest.approx([1.0, 0.0])


def test_one_rotation_of_both_views_changes_nothing() -> None:
    turn = torch.linalg.qr(unit(3, 3, 4))[0]
    a, b, positive = unit(6, 3, 1), unit(6, 3, 2), chosen(6, 6, seed=3)
    before = near_agreement(propagate(a, a), b, positive)
    torch.testing.assert_close(near_agreement(propagate(a @ turn, a @ turn), b @ turn, positive), before)


def test_the_order_of_cells_of_a_document_changes_nothing() -> None:
    cells, words, document = unit(6, 3, 1), unit(4, 3, 2), torch.tensor([0, 1, 0, 1, 1, 0])
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    bags = bags_of(word_codes(cells, words, 15, 0.5)[0], document, 2)[0]
    again = bags_of(word_codes(cells[order], words, 15, 0.5)[0], document[order], 2)[0]
    torch.testing.assert_close(again, bags)


def test_words_bags_and_parts_get_no_gradient() -> None:
    cells, words = at(0, 80).requires_grad_(), at(10, 90).requires_grad_()
    assert not word_codes(cells, words, 1, 0.5)[0].requires_grad
    bags = torch.tensor([[0.4, 0.6]], dtype=torch.float64, requires_grad=True)
    logits = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    bag_loss(logits, bags).backward()
    assert bags.grad is None
    assert logits.grad.flatten().tolist() == pytest.approx([0.1, -0.1])
    anchors, local = e0("A").requires_grad_(), e0("B")[:, None].requires_grad_()
    local_mutual_information(anchors, local, torch.ones(3, 1, dtype=torch.bool), TAU).backward()
    assert local.grad is None
    assert anchors.grad.abs().sum() > 0


def test_nothing_to_compare_is_zero_with_a_graph() -> None:
    rows, none = unit(4, 3, 1).requires_grad_(), torch.zeros(4, 4, dtype=torch.bool)
    slots, inactive = rows.view(1, 4, 3), torch.zeros(1, 4, dtype=torch.bool)
    for loss in (
        near_agreement(rows, rows, none),
        grouping_loss(rows[:0], rows[:0], torch.zeros(3), 1.0, 1.0),
        slot_loss(slots, slots, inactive, ~inactive),
        bag_loss(rows[:0], rows[:0]),
        local_mutual_information(rows, rows[:, None], none[:, :1], TAU),
        soft_contrast(rows[:0], rows[:0], rows[:0], rows.detach(), TAU),
    ):
        assert loss.detach() == 0
        assert torch.equal(torch.autograd.grad(loss, rows, retain_graph=True)[0], torch.zeros(4, 3).double())


def test_autocast_changes_nothing() -> None:
    a, b, c = (unit(6, 8, n).float() for n in range(3))
    mask, sample = chosen(6, 6, seed=1), torch.tensor([0, 0, 0, 1, 1, 1])
    active = chosen(2, 3, seed=2, share=0.8)

    def values() -> list[Tensor]:
        codes, _ = word_codes(a, b, 15, 0.5)
        bags, _ = bags_of(codes, sample, 2)
        dots = scores(a, b)
        return [
            near_agreement(propagate(a, b), c, mask),
            grouping_loss(dots, scores(c, b), torch.zeros(6), 0.1, 0.07),
            slots_of(a, dots, sample, 2),
            slot_loss(a.view(2, 3, 8), b.view(2, 3, 8), active, active),
            bag_loss(word_logits(c[:2], b), bags),
            local_mutual_information(a, b.view(6, 1, 8), mask[:, :1], TAU),
            soft_contrast(a, b, c, c, TAU),
        ]

    plain = values()
    with torch.autocast("cpu", torch.bfloat16):
        cast = values()
    for one, other in zip(plain, cast, strict=True):
        assert other.dtype == torch.float32
        assert torch.equal(one, other)
