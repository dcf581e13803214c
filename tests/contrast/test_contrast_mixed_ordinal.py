"""Mixtures along a scale, as positives and as negatives."""

from __future__ import annotations

import pytest
import torch
from engine_cases import contrast_of, e0, generator, unit
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.contrast.comparison import Comparison, compare
from pc3d.contrast.losses import InfoNCE
from pc3d.contrast.negatives.labelled import MixedOrdinalNegatives, Ordinal, pick
from pc3d.contrast.policy import draw
from pc3d.contrast.positives.mixed_ordinal import MixedOrdinal

SIX = {"abs": 6e-7, "rel": 0}
TIMES = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
NEGATIVES = {"type": "MixedOrdinalNegatives", "label": "time", "scale": 1.0, "count": 4}
POSITIVES = {"type": "MixedOrdinal", "label": "time", "window": 2.0, "count": 4}


def middle() -> Comparison:
    """Anchor 1 of the small input, weighed by time."""
    c = compare(
        e0("A")[1:2],
        e0("B"),
        torch.tensor([1]),
        torch.tensor([[True, False, True]]),
        0.5,
        {"time": TIMES[1:2]},
        {"time": TIMES},
    )
    return Ordinal("time", 1.0)(c, generator())


def test_values() -> None:
    c = middle()
    half = torch.tensor([[0.0, 0.0]], dtype=torch.float64)
    rows, there = MixedOrdinal(2.0, "time", 1).mixtures(c, half)
    assert there.tolist() == [[True]]
    assert rows[0, 0].tolist() == pytest.approx([0.389943, 0.026397], **SIX)
    negatives = MixedOrdinalNegatives("time", 1.0, 1)
    among, part = torch.tensor([[0.99]]), torch.tensor([[0.2]], dtype=torch.float64)
    mixed, weight = negatives.mixtures(c, among, part)
    assert mixed[0, 0].tolist() == pytest.approx([-0.479500, -0.415874], **SIX)
    assert float(weight.exp()) == pytest.approx(1 + 1.6, **SIX)  # it lies at 2.6


def test_term_with_both(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = {2: torch.tensor([[0.0, 0.0]]), 10: torch.tensor([[0.99, 0.0, 0.2, *[0.9] * 7]])}

    for module in ("positives.mixed_ordinal", "negatives.labelled"):
        monkeypatch.setattr(f"pc3d.contrast.{module}.draw", lambda *given: numbers[given[-1]].double())
    c = MixedOrdinal(2.0, "time", 1)(middle(), generator())
    c = MixedOrdinalNegatives("time", 1.0, 1)(c, generator())
    terms, _ = InfoNCE()(c)
    assert float(terms) == pytest.approx(1.710988, **SIX)


def test_beta_is_drawn_as_an_order_statistic() -> None:
    mixed = MixedOrdinalNegatives("time", 1.0, 500)
    c = compare(e0("A"), e0("A"), torch.arange(3), ~torch.eye(3, dtype=torch.bool), 0.5)
    parts = []
    mixed.mixtures = lambda c, among, part: (parts.append(part), (c.anchors[:, None], among[:, :1]))[1]
    mixed(c, generator())
    part = parts[0].flatten()
    assert float(part.mean()) == pytest.approx(0.2, abs=0.01)
    assert float(part.var()) == pytest.approx(2 * 8 / (100 * 11), abs=0.002)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.integers(0, 99))
def test_loop(times: list[int], seed: int) -> None:
    """The whole loss with both, from the numbers that are drawn."""
    count, tau = len(times), 0.5
    t, ids = torch.tensor(times, dtype=torch.float64), torch.arange(count)
    a, b = unit(count, 3, seed), unit(count, 3, seed + 1)
    both = {"positives": [POSITIVES], "negatives": [NEGATIVES]}
    loss = contrast_of(dim=3, facts=("time",), **both).pair(
        a, b, generator(seed), facts={"time": t, "ids": ids}
    )
    stream = generator(seed)
    first, second = draw(stream, ids, 8).split(4, dim=1)
    among, parts = draw(stream, ids, 4 * 10).split([4, 36], dim=1)
    terms = []
    for i in range(count):
        rest = [j for j in range(count) if j != i]
        below = [j for j in rest if 0 < t[i] - t[j] <= 2]
        above = [j for j in rest if 0 < t[j] - t[i] <= 2]
        other = [j for j in rest if t[j] != t[i]]
        positives, negatives = [a[i] @ b[i] / tau], [(a[i] @ b[j] / tau).exp() for j in rest]
        for s in range(4):
            if below and above:
                j, k = below[int(first[i, s] * len(below))], above[int(second[i, s] * len(above))]
                u = (t[k] - t[i]) / (t[k] - t[j])
                positives.append(a[i] @ (u * b[j] + (1 - u) * b[k]) / tau)
            if other:
                k = other[int(among[i, s] * len(other))]
                u = parts[i, 9 * s : 9 * s + 9].sort().values[1]
                mixture, weight = u * a[i] + (1 - u) * b[k], 1 + (1 - u) * (t[k] - t[i]).abs()
                negatives.append(weight * (a[i] @ mixture / tau).exp())
        whole = sum(p.exp() for p in positives) + sum(negatives)
        terms.append(torch.stack([whole.log() - p for p in positives]).mean())
    torch.testing.assert_close(loss, torch.stack(terms).mean())


@pytest.mark.parametrize("label", ["time", "range", "height"])
def test_a_shift_of_the_scale_and_the_candidates_gradient(label: str) -> None:
    times = torch.tensor([0.0, 1.0, 1.0, 3.0, 4.0], dtype=torch.float64)
    parts = {
        "positives": [{**POSITIVES, "label": label}],
        "negatives": [{**NEGATIVES, "label": label, "scale": 2.0}],
    }
    wants = "time" if label == "time" else "xyz"
    facts = [times, times + 7]
    if label != "time":
        column = 2 if label == "height" else 0
        facts = [torch.zeros(5, 3, dtype=torch.float64).index_fill(1, torch.tensor([column]), 1) * t[:, None]
                 for t in facts]  # fmt: skip
    losses = [
        contrast_of(dim=3, facts=(wants,), **parts).pair(
            unit(5, 3, 1), unit(5, 3, 2), generator(), facts={wants: value}
        )
        for value in facts
    ]
    torch.testing.assert_close(*losses, atol=1e-12, rtol=0)


def test_mixtures_are_constants() -> None:
    c = compare(
        unit(5, 3, 1).requires_grad_(),
        unit(5, 3, 2).requires_grad_(),
        torch.arange(5),
        ~torch.eye(5, dtype=torch.bool),
        0.5,
        facts := {"time": torch.arange(5.0, dtype=torch.float64)},
        facts,
    )
    added = MixedOrdinal(2.0, "time", 3)(c, generator()).positive[:, 1:]
    gradient, none = torch.autograd.grad(added.sum(), (c.anchors, c.candidates), retain_graph=True)
    assert gradient.any()
    assert not none.any()
    added = MixedOrdinalNegatives("time", 1.0, 3)(c, generator()).negative[:, 5:]
    gradient, none = torch.autograd.grad(added.sum(), (c.anchors, c.candidates))
    assert gradient.any()
    assert not none.any()


def test_equal_labels_and_the_ends_of_a_scale_get_nothing() -> None:
    c = compare(
        e0("A"), e0("B"), torch.arange(3), ~torch.eye(3, dtype=torch.bool), 0.5, {"time": TIMES},
        {"time": TIMES},
    )  # fmt: skip
    assert MixedOrdinal(5.0, "time", 1)(c, generator()).present[:, 1].tolist() == [False, True, False]
    assert not MixedOrdinal(1.5, "time", 1)(c, generator()).present[:, 1].any()
    same = {"time": torch.ones(3)}
    c = compare(e0("A"), e0("B"), torch.arange(3), ~torch.eye(3, dtype=torch.bool), 0.5, same, same)
    assert MixedOrdinalNegatives("time", 1.0, 2)(c, generator()).counts.tolist() == [2, 2, 2]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.floats(0.1, 20))
def test_weights_and_mixed_negatives_never_lower_the_loss(seed: int, scale: float) -> None:
    a, b, t = unit(6, 3, seed), unit(6, 3, seed + 1), torch.randint(0, 5, (6,), generator=generator(seed))
    mixed, weighed = {**NEGATIVES, "scale": scale}, {"type": "Ordinal", "label": "time", "scale": scale}
    values = [
        float(
            contrast_of(dim=3, facts=("time",), negatives=parts).pair(
                a, b, generator(), facts={"time": t.double()}
            )
        )
        for parts in ([], [weighed], [weighed, mixed])
    ]
    assert values == sorted(values)


def test_pick_is_even() -> None:
    mask = torch.tensor([[False, True, True, False, True], [False] * 5])
    numbers = torch.tensor([[0.0, 0.34, 0.67, 0.999]] * 2, dtype=torch.float64)
    assert pick(mask, numbers)[0].tolist() == [1, 2, 4, 4]


@pytest.mark.parametrize(
    ("part", "arguments", "message"),
    [
        (MixedOrdinal, {"window": 0}, "window 0, count 32"),
        (MixedOrdinal, {"label": "depth"}, "unknown label 'depth'; known: range, height, time"),
        (MixedOrdinalNegatives, {"count": -1}, "count -1"),
        (MixedOrdinalNegatives, {"beta": (2, 0.5)}, "expected two integers"),
    ],
)
def test_wrong_settings(part: type, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        part(**arguments)
