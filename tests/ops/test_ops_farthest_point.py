"""Farthest-point sampling: both implementations against a plain loop."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pc3d.ops.farthest_point import _farthest_torch, farthest_points


def plain(points: Tensor, count: int) -> list[int]:
    """Of one cloud; each time the point whose nearest taken point is the farthest."""
    taken = [0] if len(points) else []
    while len(taken) < min(count, len(points)):
        rest = [p for p in range(len(points)) if p not in taken]
        nearest = [min(float((points[p] - points[t]).square().sum()) for t in taken) for p in rest]
        taken.append(rest[nearest.index(max(nearest))])
    return taken


@settings(max_examples=15, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 20), min_size=1, max_size=3).filter(any),
    count=st.integers(1, 12),
    seed=st.integers(0, 1000),
)
def test_is_the_plain_loop(sizes: list[int], count: int, seed: int) -> None:
    """Coordinates are eighths, so that distances are exact and ties are ties in every implementation."""
    generator = torch.Generator().manual_seed(seed)
    xyz = torch.randint(0, 40, (sum(sizes), 3), generator=generator) / 8
    batch = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    expected = [plain(part, count) for part in xyz.split(sizes)]
    starts = [sum(sizes[:b]) for b in range(len(sizes))]
    flat = [row + start for rows, start in zip(expected, starts, strict=True) for row in rows]
    assert farthest_points(xyz, batch, len(sizes), count).tolist() == flat
    side_by_side = _farthest_torch(xyz, sizes, count)
    for rows, chosen in zip(expected, side_by_side, strict=True):
        assert chosen[: len(rows)].tolist() == rows


def test_points_at_one_place_are_taken_once_each() -> None:
    xyz = torch.ones(5, 3)
    assert farthest_points(xyz, torch.zeros(5).long(), 1, 9).tolist() == [0, 1, 2, 3, 4]
    assert _farthest_torch(xyz, [5], 5)[0].tolist() == [0, 1, 2, 3, 4]


def test_nothing_and_mistakes() -> None:
    assert farthest_points(torch.zeros(0, 3), torch.zeros(0).long(), 2, 4).shape == (0,)
    with pytest.raises(ValueError, match=r"expected \(P, 3\)"):
        farthest_points(torch.zeros(4, 2), torch.zeros(4).long(), 1, 2)
    with pytest.raises(ValueError, match="count must be at least 1"):
        farthest_points(torch.zeros(4, 3), torch.zeros(4).long(), 1, 0)
