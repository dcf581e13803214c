"""The ball query: both implementations against a plain loop."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.ops.ball_query import _query_dense, ball_query


@settings(max_examples=20, deadline=None)
@given(
    points=st.integers(1, 120),
    size=st.integers(1, 3),
    radius=st.sampled_from([0.25, 1.0, 2.5]),
    count=st.integers(1, 8),
    seed=st.integers(0, 1000),
)
def test_is_the_plain_loop(points: int, size: int, radius: float, count: int, seed: int) -> None:
    """Coordinates are quarters, so that points lie exactly at the radius; samples are not in order."""
    generator = torch.Generator().manual_seed(seed)
    xyz = torch.randint(-8, 9, (points, 3), generator=generator) / 4
    batch = torch.randint(size, (points,), generator=generator)
    centres = torch.randint(points, (7,), generator=generator)
    expected = torch.full((7, count), -1)
    for m, c in enumerate(centres.tolist()):
        near = [
            p
            for p in range(points)
            if batch[p] == batch[c] and float((xyz[p] - xyz[c]).square().sum()) <= radius**2
        ][:count]
        expected[m, : len(near)] = torch.tensor(near)
    assert torch.equal(ball_query(xyz, batch, centres, radius, count), expected)
    assert torch.equal(_query_dense(xyz, batch, centres, radius, count), expected)


def test_chunks_of_centres_are_all_answered() -> None:
    xyz = torch.rand(700, 3, generator=torch.Generator().manual_seed(0)).mul(32).round() / 8
    every = torch.arange(700)
    batch = torch.zeros_like(every)
    dense = _query_dense(xyz, batch, every, 1.0, 4)
    assert torch.equal(dense, ball_query(xyz, batch, every, 1.0, 4))
    assert bool((dense[:, 0] >= 0).all())


def test_nothing_and_mistakes() -> None:
    none = torch.zeros(0).long()
    assert ball_query(torch.zeros(0, 3), none, none, 1.0, 16).shape == (0, 16)
    with pytest.raises(ValueError, match=r"expected \(P, 3\)"):
        ball_query(torch.zeros(4, 2), torch.zeros(4).long(), none, 1.0, 2)
    with pytest.raises(ValueError, match="radius must be positive"):
        ball_query(torch.zeros(4, 3), torch.zeros(4).long(), none, 0.0, 2)
