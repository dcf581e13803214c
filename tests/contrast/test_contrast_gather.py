"""Gathered negatives: two processes against one on all rows."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from pc3d.contrast.gather import rows_of_other_ranks
from pc3d.contrast.nce import info_nce
from pc3d.contrast.sinkhorn import sinkhorn

ROWS = [(5, 3), (4, 4), (6, 0), (0, 0)]
"""Rows of rank 0 and of rank 1, of each case."""


def features(case: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(case)
    a, b = (torch.randn(sum(ROWS[case]), 4, generator=generator, dtype=torch.float64) for _ in "ab")
    return a, b


def _rank(rank: int, folder: str) -> None:
    store, patience = f"file://{folder}/store", timedelta(seconds=30)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=patience)
    results = []
    for case, rows in enumerate(ROWS):
        a, b = (x.split(rows)[rank].clone().requires_grad_() for x in features(case))
        loss = info_nce(a, b, 0.5, extra=rows_of_other_ranks(b))
        loss.backward()
        codes = sinkhorn(a, 0.5, across_ranks=True)
        results.append((loss.detach(), a.grad, b.grad, codes))
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[list[tuple[Tensor, ...]]]:
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(_rank, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("case", range(len(ROWS)))
def test_two_ranks_give_the_loss_and_the_gradients_of_all_rows(ranks, case: int) -> None:
    """Each rank's anchors against all candidates; a row's gradient sums over both ranks' losses."""
    a, b = (x.requires_grad_() for x in features(case))
    nothing = torch.zeros((), dtype=torch.float64)
    logits = a @ b.T / 0.5
    terms = (logits.logsumexp(dim=1) - logits.diagonal()).split(ROWS[case])
    losses = [t.mean() if len(t) else nothing for t in terms]
    for rank in range(2):
        torch.testing.assert_close(ranks[rank][case][0].double(), losses[rank].detach())
    grads = [torch.zeros_like(a), torch.zeros_like(b)]
    if sum(ROWS[case]):
        grads = list(torch.autograd.grad(losses[0] + losses[1], (a, b)))
    for side, expected in enumerate(grads):
        got = torch.cat([ranks[rank][case][1 + side] for rank in range(2)])
        torch.testing.assert_close(got, expected)


def test_ranks_with_as_many_rows_average_to_the_loss_of_all(ranks) -> None:
    a, b = features(1)
    mean = (ranks[0][1][0] + ranks[1][1][0]) / 2
    torch.testing.assert_close(mean, info_nce(a, b, 0.5))


@pytest.mark.parametrize("case", range(len(ROWS)))
def test_codes_across_ranks_are_those_of_all_rows(ranks, case: int) -> None:
    codes = torch.cat([ranks[rank][case][3] for rank in range(2)])
    torch.testing.assert_close(codes, sinkhorn(features(case)[0], 0.5))


def test_one_process_has_no_other_rows() -> None:
    a, b = (torch.randn(5, 4, requires_grad=True) for _ in "ab")
    extra = rows_of_other_ranks(b)
    assert extra.shape == (0, 4)
    assert torch.equal(info_nce(a, b, extra=extra), info_nce(a, b))


def test_extra_candidates_are_negatives_of_every_anchor() -> None:
    a, b, extra = (torch.randn(n, 4, dtype=torch.float64, requires_grad=True) for n in (5, 5, 3))
    expected = sum(
        -(a[i] @ b[i]) + torch.stack([a[i] @ row for row in (*b, *extra)]).logsumexp(dim=0) for i in range(5)
    )
    torch.testing.assert_close(info_nce(a, b, 1.0, extra=extra), expected / 5)
    with pytest.raises(ValueError, match=r"extra must be \(M, 4\)"):
        info_nce(a, b, extra=torch.zeros(3, 5))
