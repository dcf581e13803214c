"""Heads with a temperature for each pair."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from engine_cases import contrast_of, e0, generator, unit
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pc3d.contrast.contrast import Contrast
from pc3d.contrast.similarity.adaptive import AdaptiveHeads

OWN = torch.tensor([0.2, 0.4, 0.5], dtype=torch.float64)
OTHER = torch.tensor([[0.3, 0.6, 0.9], [0.5, 0.7, 0.8], [0.4, 0.2, 1.0]], dtype=torch.float64)


class Known(AdaptiveHeads):
    """One head, the features themselves, with temperatures that are given."""

    def __init__(self) -> None:
        super().__init__(heads=1, reg=0.1, dim=2)
        self.projections = nn.ModuleList([nn.Identity()])

    def temperatures(self, head: int, left: Tensor, right: Tensor, place: Tensor) -> Tensor:
        own = place == torch.arange(3)[:, None]
        return torch.where(own, OWN[:, None], OTHER.gather(1, place))


def heads(**arguments) -> AdaptiveHeads:
    torch.manual_seed(3)
    return AdaptiveHeads(**{"dim": 4, **arguments}).double()


def test_values() -> None:
    contrast = Contrast(Known())
    c = contrast.similarity.compare(
        e0("A"), e0("B"), torch.arange(3), ~torch.eye(3, dtype=torch.bool), {}, {}, None, generator()
    )
    terms, used = contrast.similarity.terms(c)
    assert used.all()
    assert terms.tolist() == pytest.approx([-3.419803, -1.163236, -5.816458], abs=6e-7)
    assert float(contrast.pair(e0("A"), e0("B"), generator())) == pytest.approx(-3.466499, abs=6e-7)


def test_the_positive_part_is_least_at_twice_the_distance() -> None:
    taus = torch.linspace(0.05, 2, 40001, dtype=torch.float64)
    energy = heads().omega(taus) - 0.9 / taus
    assert float(taus[energy.argmin()]) == pytest.approx(0.2, abs=1e-4)
    assert float(energy.min()) == pytest.approx(-0.304719, abs=6e-7)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 7), st.sampled_from([1, 2, None]), st.integers(0, 99))
def test_loop(count: int, hardest: int | None, seed: int) -> None:
    adaptive = heads(hardest=hardest, reg=0.7, reg_dim=3)
    a, b = unit(count, 4, seed), unit(count, 4, seed + 1)
    ignore = torch.rand(count, count, generator=generator(seed)) < 0.3
    loss = Contrast(adaptive).pair(a, b, generator(), ignore=ignore)
    total = torch.zeros((), dtype=torch.float64)
    for project, judge in zip(adaptive.projections, adaptive.judges, strict=True):
        x, y = F.normalize(project(a), dim=1), F.normalize(project(b), dim=1)
        for i in range(count):

            def energy(j: int, i: int = i, x: Tensor = x, y: Tensor = y, judge: nn.Module = judge) -> Tensor:
                tau = 0.05 + 1.95 * judge(x[i] * y[j])[0].sigmoid()
                return x[i] @ y[j] / tau - 0.7 * (1.5 * tau.log() + 1 / tau)

            rest = [j for j in range(count) if j != i and not ignore[i, j]]
            rest = sorted(rest, key=lambda j: -float((x[i] @ y[j]).detach()))[:hardest]
            total = total - energy(i)
            if rest:
                total = total + torch.stack([energy(j) for j in rest]).logsumexp(dim=0)
    torch.testing.assert_close(loss, total / count)


def test_limits() -> None:
    """Without regularisation and with one temperature: hinge-like, or a sum of decoupled losses."""
    a, b = unit(6, 4, 1), unit(6, 4, 2)
    fixed = {"low": 0.5, "high": 0.5, "reg": 0.0}
    one = heads(heads=1, **fixed)
    x, y = (F.normalize(one.projections[0](side), dim=1) for side in (a, b))
    logits = x @ y.T / 0.5
    expected = logits.clone().fill_diagonal_(-torch.inf).amax(dim=1) - logits.diagonal()
    torch.testing.assert_close(Contrast(one).pair(a, b, generator()), expected.mean())
    three = heads(hardest=None, **fixed)
    total = torch.zeros((), dtype=torch.float64)
    for project in three.projections:
        dcl = contrast_of(loss={"type": "DCL"})
        total += dcl.pair(F.normalize(project(a), dim=1), F.normalize(project(b), dim=1), generator())
    torch.testing.assert_close(Contrast(three).pair(a, b, generator()), total)


def test_no_negatives_leave_the_positive_part() -> None:
    a, b = unit(1, 4, 1), unit(1, 4, 2)
    adaptive = heads()
    total = torch.zeros((), dtype=torch.float64)
    for project, judge in zip(adaptive.projections, adaptive.judges, strict=True):
        x, y = F.normalize(project(a)), F.normalize(project(b))
        tau = 0.05 + 1.95 * judge(x * y).sigmoid()
        total += (adaptive.omega(tau) - x @ y.T / tau).sum()
    torch.testing.assert_close(Contrast(adaptive).pair(a, b, generator()), total)


def test_temperatures_stay_in_bounds_and_the_order_of_heads_is_free() -> None:
    adaptive, a, b = heads(), unit(6, 4, 1), unit(6, 4, 2)
    for judge in adaptive.judges:
        judge[2].weight.data.mul_(1e4)
    taus = adaptive.temperatures(0, a, b, torch.arange(6).expand(6, 6))
    assert taus.min() >= 0.05
    assert taus.max() <= 2
    before = Contrast(adaptive).pair(a, b, generator())
    adaptive.projections = nn.ModuleList(reversed(adaptive.projections))
    adaptive.judges = nn.ModuleList(reversed(adaptive.judges))
    torch.testing.assert_close(Contrast(adaptive).pair(a, b, generator()), before)


def test_policies_leave_negatives_out() -> None:
    a, b, labels = unit(6, 4, 1), unit(6, 4, 2), torch.tensor([0, 0, 1, 1, 1, -1])
    contrast = contrast_of(
        dim=4, facts=("labels",), similarity={"type": "AdaptiveHeads"}, negatives=[{"type": "SameCluster"}]
    )
    loss = contrast.pair(a, b, generator(), facts={"labels": labels})
    ignore = (labels[:, None] != labels[None, :]) & (labels >= 0)[:, None]
    contrast.policies = nn.ModuleList()
    torch.testing.assert_close(loss, contrast.pair(a, b, generator(), ignore=ignore))


def test_every_parameter_learns_and_blocks_change_nothing() -> None:
    a, b = unit(6, 4, 1), unit(6, 4, 2)
    adaptive = heads(hardest=2)
    whole = Contrast(adaptive).pair(a, b, generator())
    torch.testing.assert_close(Contrast(adaptive, block=4).pair(a, b, generator()), whole)
    whole.backward()
    assert all(parameter.grad.any() for parameter in adaptive.parameters())


def test_what_it_goes_with() -> None:
    similarity = {"type": "AdaptiveHeads"}
    with pytest.raises(ValueError, match="AdaptiveHeads and DCL exclude each other: it has its own loss"):
        contrast_of(similarity=similarity, loss={"type": "DCL"})
    with pytest.raises(ValueError, match="AdaptiveHeads and Geodesic exclude each other"):
        contrast_of(similarity=similarity, positives=[{"type": "Geodesic"}])
    with pytest.raises(ValueError, match="expected 0 < low <= high"):
        AdaptiveHeads(low=0.0)
    with pytest.raises(ValueError, match="expected at least 1 of each"):
        AdaptiveHeads(hardest=0)
