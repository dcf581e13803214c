"""Positives by place."""

from __future__ import annotations

import pytest
import torch
from engine_cases import contrast_of, e0, generator, unit
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pc3d.contrast.contrast import Contrast
from pc3d.contrast.nce import info_nce
from pc3d.contrast.positives.near import Near


def near(radius: float = 0.5, form: str = "in", temperature: float = 0.3, dim: int = 2) -> Contrast:
    return contrast_of(
        dim=dim,
        temperature=temperature,
        facts=("sample", "xyz"),
        positives=[{"type": "Near", "radius": radius}],
        loss={"type": "InfoNCE", "form": form},
    )


def facts(xyz: list[list[float]], sample: list[int] | None = None) -> dict[str, Tensor]:
    places = torch.tensor(xyz, dtype=torch.float64)
    return {"xyz": places, "sample": torch.tensor(sample or [0] * len(xyz))}


def test_value_of_pixcontrast() -> None:
    """Places 0 and 1 are near each other, 2 is alone."""
    known = facts([[0, 0, 0], [0.3, 0.4, 0], [0.3, 0.4, 9]])
    assert float(near().pair(e0("A"), e0("B"), generator(), facts=known)) == pytest.approx(0.004249, abs=6e-7)
    # Beyond the radius, and in different sweeps, nothing but a point itself is a positive.
    plain = info_nce(e0("A"), e0("B"), 0.3)
    torch.testing.assert_close(near(0.49).pair(e0("A"), e0("B"), generator(), facts=known), plain)
    apart = {**known, "sample": torch.tensor([0, 1, 0])}
    torch.testing.assert_close(near().pair(e0("A"), e0("B"), generator(), facts=apart), plain)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 8), st.integers(0, 999), st.sampled_from(["in", "out"]))
def test_loop(count: int, seed: int, form: str) -> None:
    a, b = unit(count, 3, seed), unit(count, 3, seed + 1)
    xyz = torch.rand(count, 3, generator=generator(seed), dtype=torch.float64)
    sample = torch.randint(0, 2, (count,), generator=generator(seed))
    ignore = torch.rand(count, count, generator=generator(seed)) < 0.2
    contrast = near(form=form, dim=3)
    loss = contrast.pair(a, b, generator(), ignore=ignore, facts={"xyz": xyz, "sample": sample})
    logits, terms = a @ b.T / 0.3, []
    for i in range(count):
        among = [j for j in range(count) if j == i or not ignore[i, j]]
        taken = [
            j for j in among if j == i or (sample[i] == sample[j] and float((xyz[i] - xyz[j]).norm()) <= 0.5)
        ]
        total = logits[i, among].logsumexp(dim=0)
        if form == "in":
            terms.append(total - logits[i, taken].logsumexp(dim=0))
        else:
            terms.append((total - logits[i, taken]).mean())
    torch.testing.assert_close(loss, torch.stack(terms).mean())


def test_where_all_are_near_nothing_is_a_negative() -> None:
    a = unit(4, 3, 1).requires_grad_()
    loss = near(dim=3).pair(a, unit(4, 3, 2), generator(), facts=facts([[0, 0, 0]] * 4))
    loss.backward()
    assert loss.detach() == 0
    assert a.grad.isfinite().all()


def test_wrong_radius() -> None:
    with pytest.raises(ValueError, match="radius is -1 metres, expected 0 or more"):
        Near(-1)
