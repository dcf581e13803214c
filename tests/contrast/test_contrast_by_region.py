"""The terms of PRC, RAD and FAC by a contrast with neutral parts are the functions of their own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from engine_cases import contrast_of, e0, generator, unit
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pc3d.contrast import by_region as engine
from pc3d.contrast.contrast import Contrast

TAU = 0.2
NEUTRAL = {"negatives": [{"type": "Hard", "beta": 0.0}]}
regions_of = st.lists(st.integers(-1, 2), min_size=3, max_size=9)


def plrc(contrast: Contrast, f: Tensor, g: Tensor, ids: Tensor) -> Tensor:
    return engine.contrast_plrc(contrast, TAU, f, g, ids, None, {}, generator())


def plrc_extra(contrast: Contrast, f: Tensor, g: Tensor, ids: Tensor) -> Tensor:
    return engine.contrast_plrc(contrast, TAU, f, g, ids, unit(4, 5, 99), {}, generator())


def rapc(contrast: Contrast, f: Tensor, g: Tensor, ids: Tensor) -> Tensor:
    return engine.contrast_rapc(contrast, TAU, f, g, ids, None, {}, generator())


def rad(contrast: Contrast, f: Tensor, g: Tensor, ids: Tensor) -> Tensor:
    return engine.contrast_region_distillation(contrast, TAU, f, g, ids, False, {}, generator())


def rad_masked(contrast: Contrast, f: Tensor, g: Tensor, ids: Tensor) -> Tensor:
    return engine.contrast_region_distillation(contrast, TAU, f, g, ids, True, {}, generator())


def geo(contrast: Contrast, f: Tensor, g: Tensor, ids: Tensor) -> Tensor:
    return engine.contrast_geometric(contrast, TAU, f, g, ids, {}, generator())


def fea(contrast: Contrast, f: Tensor, g: Tensor, ids: Tensor) -> Tensor:
    return engine.contrast_feature(contrast, TAU, f, g, ids, 2, {}, generator())


CASES = [
    (plrc, "out"),
    (plrc_extra, "out"),
    (rapc, "out"),
    (rad, "out"),
    (rad_masked, "out"),
    (geo, "each"),
    (fea, "in"),
]


@settings(max_examples=15, deadline=None)
@given(regions=regions_of, seed=st.integers(0, 9999))
@pytest.mark.parametrize(("term", "form"), CASES)
def test_neutral_parts_change_nothing(
    term: Callable[..., Tensor], form: str, regions: list[int], seed: int
) -> None:
    ids = torch.tensor(regions)
    found = []
    for given_parts in ({}, {**NEUTRAL, "loss": {"type": "InfoNCE", "form": form}}):
        f, g = (unit(len(ids), 5, seed + n).requires_grad_() for n in (0, 1))
        contrast = contrast_of(dim=5, temperature=TAU, **given_parts)
        assert contrast.plain is not bool(given_parts)
        loss = term(contrast, f, g, ids)
        loss.backward()
        found.append((loss.detach().double(), f.grad, g.grad))
    torch.testing.assert_close(found[1], found[0], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("term", "expected"), [(engine.contrast_plrc, 0.790548), (engine.contrast_rapc, 0.043762)]
)
def test_values(term: Callable[..., Tensor], expected: float) -> None:
    contrast = contrast_of(temperature=0.5, loss={"type": "InfoNCE"})
    loss = term(contrast, 0.5, e0("A"), e0("B"), torch.tensor([0, 0, -1]), None, {}, generator())
    assert float(loss) == pytest.approx(expected, abs=6e-7)
