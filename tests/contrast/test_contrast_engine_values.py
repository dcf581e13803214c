"""Values to six digits of a small input, which were computed apart from this code."""

from __future__ import annotations

import math

import pytest
import torch
from engine_cases import at, contrast_of, e0, generator, unit
from torch import Tensor

from pc3d.contrast.comparison import compare
from pc3d.contrast.losses import DCL, InfoNCE
from pc3d.contrast.negatives.mixed import Mixed
from pc3d.contrast.regularizers import Alignment, CrossUniformity, Uniformity, _spread

SIX = {"abs": 6e-7, "rel": 0}
TIMES = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)


def value(facts: dict[str, Tensor] | None = None, **settings) -> float:
    contrast = contrast_of(facts=tuple(facts or {}), **settings)
    return float(contrast.pair(e0("A"), e0("B"), generator(), facts=facts))


def hard(beta: float, prior: float = 0.0) -> dict:
    return {"negatives": [{"type": "Hard", "beta": beta, "prior": prior}]}


def nce(**arguments) -> dict:
    return {"loss": dict(type="InfoNCE", **arguments)}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 0.289720),
        (nce(), 0.289720),
        (hard(0), 0.289720),
        (hard(1), 0.435929),
        (hard(0, 0.1), 0.206435),
        (hard(1, 0.1), 0.383485),
        (hard(50), 0.460890),
        (hard(1, 0.6), 0.043502),
        ({"loss": {"type": "DCL"}}, -1.389403),
        ({"loss": {"type": "DCL", "sigma": 0.5}}, -1.385791),
        ({"loss": {"type": "DCL", "own_view": True}}, -0.803629),
        ({"loss": {"type": "DCL", "sigma": 0.5, "own_view": True}}, -0.800016),
        (nce(symmetric=True, smoothing=0.1), 0.460351),
        (nce(symmetric=True), 0.290984),
    ],
)
def test_values(settings: dict, expected: float) -> None:
    assert value(**settings) == pytest.approx(expected, **SIX)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, 0.090926),
        ({"margin": -0.5}, 0.007952),
        ({"margin": 0.5}, 0.681504),
        ({"margin": -0.2, "arc": True}, 0.069615),
        ({"margin": 0.0, "arc": True}, 0.090926),
    ],
)
def test_margins(arguments: dict, expected: float) -> None:
    assert value(similarity={"type": "Cosine", "temperature": 0.2}, **nce(**arguments)) == pytest.approx(
        expected, **SIX
    )


def test_terms_of_dcl_and_its_weights() -> None:
    c = compare(e0("A"), e0("B"), torch.arange(3), ~torch.eye(3, dtype=torch.bool), 0.5)
    terms, used = DCL()(c)
    assert used.all()
    assert terms.tolist() == pytest.approx([-0.715747, -0.677574, -2.774889], **SIX)
    assert torch.nn.functional.softplus(terms).tolist() == pytest.approx(
        [0.397988, 0.410683, 0.060489], **SIX
    )
    weights = DCL(sigma=0.5).pull((e0("A") * e0("B")).sum(1), used)
    assert weights.tolist() == pytest.approx([0.997207, 0.927965, 1.074828], **SIX)


@pytest.mark.parametrize("seed", range(3))
def test_weights_of_anchors_of_which_some_have_no_positive_of_their_own(seed: int) -> None:
    """DCLW beside a loop over its equation."""
    a, b = unit(6, 4, seed), unit(7, 4, seed + 50)
    own = torch.tensor([2, -1, 0, 5, -1, 3])
    further = torch.rand(6, 7, generator=generator(seed)) < 0.3
    negative = torch.ones(6, 7, dtype=torch.bool) & ~further
    likeness = [[float(x @ y) for y in b] for x in a]
    with_own = [i for i in range(6) if own[i] >= 0]
    shares = {i: math.exp(likeness[i][own[i]] / 0.3) for i in with_own}
    terms = []
    for i in range(6):
        there = {j for j in range(7) if further[i, j]} | ({int(own[i])} if i in shares else set())
        if there:
            weight = 2 - len(shares) * shares[i] / sum(shares.values()) if i in shares else 1.0
            pulled = weight * sum(likeness[i][j] for j in there) / len(there) / 0.5
            pushed = sum(math.exp(likeness[i][j] / 0.5) for j in range(7) if negative[i, j])
            terms.append(math.log(pushed) - pulled)
    contrast = contrast_of(dim=4, loss={"type": "DCL", "sigma": 0.3})
    loss = contrast.grouped(a, b, own, negative, generator(), positive=further)
    assert float(loss) == pytest.approx(sum(terms) / len(terms), abs=1e-9)
    nobody = torch.full((6,), -1)
    assert contrast.grouped(a, b, nobody, negative, generator(), positive=further).isfinite()


def test_hard_in_simclrs_form() -> None:
    contrast = contrast_of(**hard(1, 0.1))
    assert float(contrast.two_way(e0("A"), e0("B"), generator())) == pytest.approx(0.696561, **SIX)


@pytest.mark.parametrize(("detach", "norm"), [(False, 0.287261), (True, 0.273808)])
def test_gradient_of_hard(detach: bool, norm: float) -> None:
    a = e0("A").requires_grad_()
    contrast = contrast_of(negatives=[{"type": "Hard", "beta": 1.0, "detach": detach}])
    contrast.pair(a, e0("B"), generator()).backward()
    assert float(a.grad.norm()) == pytest.approx(norm, **SIX)


@pytest.mark.parametrize(("form", "expected"), [("out", 0.547195), ("in", 0.036450)])
def test_several_positives(form: str, expected: float) -> None:
    group = torch.tensor([0, 0, 1])
    same = group[:, None] == group[None, :]
    contrast = contrast_of(**nce(form=form))
    loss = contrast.grouped(e0("A"), e0("B"), torch.arange(3), ~same, generator(), positive=same)
    assert float(loss) == pytest.approx(expected, **SIX)


def test_same_cluster() -> None:
    labels = torch.tensor([0, 0, 1])
    assert value({"labels": labels}, negatives=[{"type": "SameCluster"}]) == pytest.approx(0.253271, **SIX)


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 0.544142), (math.inf, 0.289720)])
def test_ordinal(scale: float, expected: float) -> None:
    negatives = [{"type": "Ordinal", "label": "time", "scale": scale}]
    assert value({"time": TIMES}, negatives=negatives) == pytest.approx(expected, **SIX)


def test_regularizers() -> None:
    a, b = e0("A"), e0("B")
    assert float(_spread(a, a)) == pytest.approx(-4.327791, **SIX)
    assert float(_spread(b, b)) == pytest.approx(-1.820265, **SIX)
    assert float(CrossUniformity()(a, b, {})) == pytest.approx(-2.930723, **SIX)
    assert float(Alignment()(a, b, {})) == pytest.approx(0.191983, **SIX)
    assert float(Uniformity()(a, b, {})) == pytest.approx((-4.327791 - 1.820265) / 2, **SIX)
    names = ("Uniformity", "CrossUniformity", "Alignment")
    whole = value(**nce(symmetric=True), regularizers=[{"type": name} for name in names])
    assert whole == pytest.approx(-5.521784, abs=2e-6)


def test_synthetic_rows_of_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """h from B_1 and B_2 with 0.25, h' from B_1 with 0.4, of anchor A_0."""
    numbers = torch.tensor([[0.0, 0.0, 0.25, 0.0, 0.8]], dtype=torch.float64)  # j, k, part; j, twice v
    monkeypatch.setattr("pc3d.contrast.negatives.mixed.draw", lambda *_: numbers)
    c = compare(at(0), e0("B"), torch.tensor([0]), torch.tensor([[False, True, True]]), 0.5)
    mixed = Mixed(pairs=1, with_anchor=1)
    rows, there = mixed._synthetic(c, numbers)
    assert there.all()
    assert rows[0, 0].tolist() == pytest.approx([-0.706180, -0.708032], **SIX)
    assert rows[0, 1].tolist() == pytest.approx([0.802955, 0.596040], **SIX)
    terms, _ = InfoNCE()(mixed(c, generator()))
    assert float(terms) == pytest.approx(0.850938, **SIX)


def test_learned_temperature() -> None:
    contrast = contrast_of(similarity={"type": "Learned", "init": 0.5}, **nce())
    contrast.pair(e0("A"), e0("B"), generator()).backward()
    assert float(contrast.similarity.scale.grad) == pytest.approx(-0.278778, **SIX)
