"""Random choices of rows."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.ops.sampling import sample_rows


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), points=st.integers(0, 40), count=st.integers(0, 12), size=st.integers(1, 3))
def test_sample_rows_takes_eligible_rows_once_up_to_the_count(
    seed: int, points: int, count: int, size: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    sample = torch.randint(size, (points,), generator=generator).sort().values
    eligible = torch.rand(points, generator=generator) < 0.6
    rows = sample_rows(eligible, sample, size, count, generator)
    assert len(rows.unique()) == len(rows)
    assert bool(eligible[rows].all())
    for b in range(size):
        assert int((sample[rows] == b).sum()) == min(count, int(eligible[sample == b].sum()))
    assert torch.equal(sample[rows], sample[rows].sort().values)


def test_sample_rows_draws_every_row_equally_often() -> None:
    generator = torch.Generator().manual_seed(0)
    every = torch.ones(10, dtype=torch.bool)
    drawn = torch.cat([sample_rows(every, torch.zeros(10).long(), 1, 3, generator) for _ in range(2000)])
    assert float(drawn.bincount(minlength=10).float().div(600).sub(1).abs().max()) < 0.15
