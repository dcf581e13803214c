"""Gates by pairs of labels."""

from __future__ import annotations

import pytest
import torch
from engine_cases import contrast_of, generator, unit
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pc3d.contrast.contrast import Contrast
from pc3d.contrast.losses import InfoNCE
from pc3d.contrast.similarity.gated import Gated, OpenGate

Z = torch.tensor(
    [[1, 0.2, 0], [0.9, -0.1, 0.3], [0, 1, 0.5], [0.2, 0.8, -0.4], [-0.5, 0.1, 1]], dtype=torch.float64
)
LABELS, SECOND = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([1, 1, 0, 2, 2])
GATES = {(0, 1): [1.0, -1, 0], (1, 2): [0.0, 1, 1], (2, 2): [-2.0, 0, 2]}


class Known(OpenGate):
    """Second labels and gates that are given."""

    def __init__(self, second: Tensor, gates: dict[tuple[int, int], list[float]] | None, scale: float = 1.0):
        super().__init__()
        self.second, self.known, self.scale = second, gates, scale

    def second_labels(self, labels: Tensor, keys: Tensor, generator: torch.Generator) -> Tensor:
        return self.second

    def gates(self, labels: Tensor, others: Tensor, width: int) -> Tensor:
        if self.known is None:
            return super().gates(labels, others, width)
        pairs = zip(labels.tolist(), others.tolist(), strict=True)
        rows = [self.known[(min(pair), max(pair))] for pair in pairs]
        return torch.tensor(rows, dtype=torch.float64).sigmoid() * self.scale


def contrast(similarity: OpenGate, block: int | None = None) -> Contrast:
    return Contrast(similarity, loss=InfoNCE(form="each"), block=block).double()


@pytest.mark.parametrize(("gates", "expected"), [(GATES, 2.519719), (None, 2.247663)])
@pytest.mark.parametrize("block", [None, 2])
def test_values(gates, expected: float, block: int | None) -> None:
    loss = contrast(Known(SECOND, gates), block).pair(Z, Z, generator(), facts={"labels": LABELS})
    assert float(loss) == pytest.approx(expected, abs=6e-7)


def test_cosines_of_the_first_row() -> None:
    logits = Known(SECOND, GATES).logits(Z, Z, LABELS, SECOND) * 0.1
    assert logits[0].tolist() == pytest.approx([1, 0.968662, 0.053744, 0.492504, -0.584841], abs=6e-7)


def test_a_scaled_gate_changes_nothing() -> None:
    losses = [
        contrast(Known(SECOND, GATES, scale)).pair(Z, Z, generator(), facts={"labels": LABELS})
        for scale in (1.0, 0.1)
    ]
    torch.testing.assert_close(*losses, atol=1e-12, rtol=0)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(-1, 2), min_size=1, max_size=8), st.integers(0, 99))
def test_loop(labels: list[int], seed: int) -> None:
    gated = Gated(3, 4, dim=5).double()
    a, b, ids = unit(len(labels), 5, seed), unit(len(labels), 5, seed + 1), torch.arange(len(labels))
    facts = {"labels": torch.tensor(labels), "ids": ids}
    ignore = torch.rand(len(labels), len(labels), generator=generator(seed)) < 0.2
    loss = contrast(gated).pair(a, b, generator(seed), ignore=ignore, facts=facts)
    second = gated.second_labels(facts["labels"], ids, generator(seed)).tolist()
    assert sorted(second) == sorted(labels)
    terms = []
    for i, (y, other) in enumerate(zip(labels, second, strict=True)):
        if y < 0:
            continue
        g = gated.gates(torch.tensor([y]), torch.tensor([other]), 5)[0]
        logits = [torch.cosine_similarity(g * a[i], g * row, dim=0) / 0.1 for row in b]
        allowed = [j for j in range(len(labels)) if j != i and labels[j] >= 0 and not ignore[i, j]]
        negatives = [logits[j].exp() for j in allowed if labels[j] not in (y, other)]
        for j in allowed:
            if labels[j] == other:
                terms.append((logits[j].exp() + sum(negatives)).log() - logits[j])
    expected = torch.stack(terms).mean() if terms else torch.zeros(())
    torch.testing.assert_close(loss, expected.to(loss))


def test_labels_are_permuted_by_identity() -> None:
    labels, ids = torch.tensor([0, 1, -1, 2, 2, 0]), torch.tensor([7, 3, 5, 1, 9, 2])
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    second = OpenGate().second_labels(labels, ids, generator(4))
    assert torch.equal(second[order], OpenGate().second_labels(labels[order], ids[order], generator(4)))
    counts = torch.zeros(3, 3)
    for seed in range(600):
        drawn = OpenGate().second_labels(torch.arange(3), torch.arange(3), generator(seed))
        counts[torch.arange(3), drawn] += 1
    assert (counts / 600 - 1 / 3).abs().max() < 0.07


def test_gates_close_to_zero_and_labels_without_pair_are_finite() -> None:
    a = Z.clone().requires_grad_()
    gates = {pair: [-900.0] * 3 for pair in GATES}
    contrast(Known(SECOND, gates)).pair(a, Z, generator(), facts={"labels": LABELS}).backward()
    assert a.grad.isfinite().all()
    a.grad = None
    facts = {"labels": torch.full((5,), -1)}
    loss = contrast(Gated(3, 4, dim=3)).pair(a, Z, generator(), facts=facts)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not a.grad.any()


def test_what_it_goes_with() -> None:
    similarity = {"type": "Gated", "classes": 3}
    assert contrast_of(facts=("labels",), similarity=similarity).loss.form == "each"
    contrast_of(facts=("labels",), similarity=similarity, loss={"type": "InfoNCE", "form": "each"})
    for loss in ({"type": "DCL"}, {"type": "InfoNCE"}):
        with pytest.raises(ValueError, match=f"Gated and {loss['type']} exclude each other"):
            contrast_of(facts=("labels",), similarity=similarity, loss=loss)
    with pytest.raises(ValueError, match="Gated and SameRegion exclude each other"):
        contrast_of(facts=("labels",), similarity=similarity, positives=[{"type": "SameRegion"}])
    with pytest.raises(ValueError, match="label 2 is not below Gated's 2 classes"):
        contrast(Gated(2, 4, dim=3)).pair(Z, Z, generator(), facts={"labels": LABELS})
    with pytest.raises(ValueError, match="expected at least 1 of each"):
        Gated(0)
