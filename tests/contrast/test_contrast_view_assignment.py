"""Codes of whole views that all views predict: values, a plain loop, queues, prototypes, two ranks."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from engine_cases import at, e0, unit
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pc3d.contrast.sinkhorn import sinkhorn
from pc3d.contrast.swav import Prototypes, ViewQueues, swapped_assignment, view_assignment

CENTRES = at(0, 120)
PAST = [at(30, 150), at(45, 250)]
A, B, C = e0("A"), e0("B"), e0("C")


def value(views: list[Tensor], epsilon: float, past: list[Tensor] | None = None) -> float:
    return float(view_assignment(views, CENTRES, queues=past, epsilon=epsilon))


def test_values() -> None:
    codes = [[0.965811, 0.034189], [0.300748, 0.699252], [0.131744, 0.868256]]
    expected = torch.tensor(codes, dtype=torch.float64)
    torch.testing.assert_close(sinkhorn(A @ CENTRES.T, 0.5), expected, atol=6e-7, rtol=0)
    found = [value([A, B], 0.5), value([A, B, C], 0.5), value([A, B], 0.5, PAST)]
    assert found == pytest.approx([1.560294, 2.093299, 1.530748], abs=6e-7)
    found = [value([A, B], 0.05), value([A, B, C], 0.05), value([A, B], 0.05, PAST)]
    assert found == pytest.approx([0.125193, 0.063699, 0.124810], abs=6e-7)


def loop(
    views: list[Tensor], rows: list[list[int]], past: list[Tensor], centres: Tensor, epsilon: float
) -> Tensor:
    """Over the equation; codes as in SwAV's listing."""
    means = []
    for a in (0, 1):
        q = (torch.cat([past[a], views[a]]).detach() @ centres.detach().T / epsilon).exp()
        for _ in range(3):
            for k in range(q.shape[1]):
                q[:, k] = q[:, k] / q[:, k].sum()
            for i in range(len(q)):
                q[i] = q[i] / q[i].sum()
        q = q[len(past[a]) :]
        terms = []
        for v in range(len(views)):
            shared = [] if v == a else [row for row in rows[v] if row in rows[a]]
            each = []
            for row in shared:
                e = torch.stack([(views[v][rows[v].index(row)] @ c / 0.2).exp() for c in centres])
                each.append(-(q[rows[a].index(row)] * (e / e.sum()).log()).sum())
            if each:
                terms.append(torch.stack(each).mean())
        if terms:
            means.append(torch.stack(terms).mean())
    nothing = 0.0 * torch.cat([*views, centres]).sum()  # so that each has a gradient
    return torch.stack(means).mean() + nothing if means else nothing


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 999),
    whole=st.integers(0, 6),
    count=st.integers(1, 4),
    crops=st.integers(0, 2),
    past=st.integers(0, 3),
)
def test_is_its_equation_with_gradients(seed: int, whole: int, count: int, crops: int, past: int) -> None:
    g = torch.Generator().manual_seed(seed)
    rows = [torch.randperm(8, generator=g)[:whole] for _ in range(2)]
    rows += [
        torch.randperm(8, generator=g)[: int(torch.randint(0, 5, (), generator=g))] for _ in range(crops)
    ]
    views = [unit(len(r), 3, seed + 1 + n).requires_grad_() for n, r in enumerate(rows)]
    centres = unit(count, 3, seed).requires_grad_()
    queues = [unit(past, 3, seed + 50 + n) for n in range(2)]
    fast = view_assignment(views, centres, rows, queues=queues, temperature=0.2, epsilon=0.3)
    slow = loop(views, [r.tolist() for r in rows], queues, centres, 0.3)
    torch.testing.assert_close(fast.double(), slow)
    leaves = [*views, centres]
    torch.testing.assert_close(torch.autograd.grad(fast, leaves), torch.autograd.grad(slow, leaves))


def test_what_changes_nothing() -> None:
    views = [unit(9, 4, seed).requires_grad_() for seed in range(3)]
    centres = unit(5, 4, 9)
    plain = view_assignment(views, centres)
    torch.testing.assert_close(view_assignment(views, centres.flip(0)), plain)
    torch.testing.assert_close(view_assignment([v.flip(0) for v in views], centres), plain)
    torch.testing.assert_close(view_assignment([views[1], views[0], views[2]], centres), plain)
    assert torch.equal(view_assignment(views, centres, queues=[centres[:0], None]), plain)
    two = view_assignment(views[:2], centres, epsilon=0.03)
    torch.testing.assert_close(two, swapped_assignment(views[0], views[1], centres))
    # The order of a queue decides nothing, and of one code per row there is nothing to predict.
    past = [unit(6, 4, 20), unit(6, 4, 21)]
    torch.testing.assert_close(
        view_assignment(views, centres, queues=past),
        view_assignment(views, centres, queues=[rows.flip(0) for rows in past]),
    )
    assert not view_assignment(views, centres[:1])


def test_codes_have_no_gradient() -> None:
    """A view that only gives codes gets none: what it predicts is left out by its rows."""
    a, b = unit(4, 3, 0).requires_grad_(), unit(4, 3, 1).requires_grad_()
    rows = [torch.arange(4), torch.arange(4)]
    view_assignment([a, b], unit(3, 3, 2), rows, assign=(0,)).backward()
    assert a.grad is not None
    assert not a.grad.any()
    assert b.grad is not None
    assert b.grad.any()


def test_no_shared_row_is_zero_with_a_graph() -> None:
    leaves = [unit(2, 3, seed).requires_grad_() for seed in range(3)]
    for rows in ([0, 1], [2, 3]), ([], []):
        numbers = [torch.tensor(r, dtype=torch.long) for r in rows]
        views = [leaf[: len(r)] for leaf, r in zip(leaves, numbers, strict=False)]
        loss = view_assignment(views, leaves[2], numbers)
        assert float(loss) == 0.0
        assert all(not g.any() for g in torch.autograd.grad(loss, leaves))


def test_half_inputs_are_computed_in_float32() -> None:
    views = [unit(30, 4, seed) for seed in range(3)]
    centres = unit(6, 4, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = view_assignment([v.half() for v in views], centres.half())
    assert half.dtype == torch.float32
    exact = view_assignment([v.half().double() for v in views], centres.half().double())
    torch.testing.assert_close(half.double(), exact, rtol=1e-4, atol=1e-4)


def test_mistakes_are_named() -> None:
    for said, views, more in (
        ("1 views, expected at least 2", [A], {}),
        ("say with `rows`", [A, B[:2]], {}),
        ("`rows` names", [A, B], {"rows": [torch.arange(3), torch.arange(2)]}),
        ("each once", [A, B], {"assign": (0, 2)}),
        ("1 queues of 2", [A, B], {"queues": [None]}),
        ("of one D", [A, torch.zeros(3, 4)], {}),
        ("temperature must be positive", [A, B], {"temperature": 0.0}),
    ):
        with pytest.raises(ValueError, match=said):
            view_assignment(views, CENTRES, **more)
    with pytest.raises(ValueError, match="expected at least 1"):
        Prototypes(0, 3)


def test_a_queue_is_used_once_full_and_gives_the_newest_first() -> None:
    queues = ViewQueues(4, 2, views=2)
    rows = unit(6, 2, 0).float()
    queues.see(rows[:3], rows[:3])
    assert queues.past() == [None, None]
    queues.commit()
    assert queues.past() == [None, None]
    queues.see(rows[3:], rows[3:])
    queues.commit()
    for past in queues.past():
        assert past is not None
        assert torch.equal(past, rows[2:].flip(0))
    again = ViewQueues(4, 2, views=2)
    again.load_state_dict(queues.state_dict())
    assert torch.equal(torch.stack(again.past()), torch.stack(queues.past()))  # type: ignore[arg-type]
    queues.eval()
    queues.see(rows[:3], rows[:3])
    queues.commit()
    assert torch.equal(torch.stack(again.past()), torch.stack(queues.past()))  # type: ignore[arg-type]
    queues.train()
    queues.see(torch.full((2, 2), torch.nan), rows[:0])
    queues.commit()
    assert torch.equal(torch.stack(again.past()), torch.stack(queues.past()))  # type: ignore[arg-type]


def test_prototypes_are_unit_before_a_step_and_frozen_at_first() -> None:
    prototypes = Prototypes(3, 4, freeze=2)
    with torch.no_grad():
        prototypes.rows *= 3
    prototypes.eval()
    torch.testing.assert_close(prototypes(), F.normalize(prototypes.rows, dim=1))
    assert float(prototypes.rows.norm(dim=1).min()) > 2
    prototypes.commit()
    assert int(prototypes.steps) == 0
    prototypes.train()
    for step in range(4):
        rows = prototypes()
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))
        torch.testing.assert_close(prototypes.rows.norm(dim=1), torch.ones(3))
        assert rows.requires_grad == (step >= 2)
        prototypes.commit()


COUNTS = (4, 4)


def _rank(rank: int, folder: str) -> None:
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=30),
    )
    views = [unit(8, 3, seed).split(COUNTS)[rank] for seed in range(3)]
    queues = ViewQueues(6, 3).double()
    queues.see(*(unit(8, 3, 30 + seed).split(COUNTS)[rank] for seed in range(2)))
    queues.commit()
    loss = view_assignment(views, unit(4, 3, 9), queues=queues.past(), across_ranks=True)
    torch.save(loss, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_are_one_with_both_halves(tmp_path: Path) -> None:
    """The queue, which both hold, counts once."""
    mp.spawn(_rank, (str(tmp_path),), nprocs=2)
    losses = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    queues = ViewQueues(6, 3).double()
    queues.see(*(unit(8, 3, 30 + seed) for seed in range(2)))
    queues.commit()
    views = [unit(8, 3, seed) for seed in range(3)]
    torch.testing.assert_close(sum(losses) / 2, view_assignment(views, unit(4, 3, 9), queues=queues.past()))
