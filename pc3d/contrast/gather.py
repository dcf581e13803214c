"""What the ranks of a distributed run share: negatives, by an all-gather that gradients pass through."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _OtherRanks(torch.autograd.Function):
    """Forward: the rows of every other rank. Backward: each row's gradients, summed at its owner."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.rank, rows = dist.get_rank(), _by_rank(features)
        ctx.counts = [len(part) for part in rows]
        return torch.cat(rows[: ctx.rank] + rows[ctx.rank + 1 :])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        own = ctx.counts[ctx.rank]
        counts = [0 if rank == ctx.rank else count for rank, count in enumerate(ctx.counts)]
        padded = gradient.new_zeros(len(counts), max(ctx.counts), gradient.shape[1])
        for place, part in zip(padded, gradient.split(counts), strict=True):
            place[: len(part)] = part
        dist.all_reduce(padded)
        return padded[ctx.rank, :own]


def _alone() -> bool:
    return not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)


def _by_rank(rows: Tensor) -> list[Tensor]:
    """(N, ...) rows of each rank, of any number on each, without gradient."""
    received = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in range(dist.get_world_size())]
    dist.all_gather(received, torch.full_like(received[0], len(rows)))
    counts = torch.cat(received).tolist()  # the one wait
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded[: len(rows)] = rows
    received = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(received, padded)
    return [part[:count] for part, count in zip(received, counts, strict=True)]


@torch.no_grad()
def of_all_ranks(rows: Tensor) -> Tensor:
    """(sum of N, ...) rows of all ranks in their order, of any number on each. Every rank must call it."""
    return rows if _alone() else torch.cat(_by_rank(rows))


def of_every_rank(value: Tensor) -> Tensor:
    """(W, ...) `value` of each rank, of one shape in all, without gradient. Every rank must call it."""
    if _alone():
        return value.detach()[None]
    received = [torch.empty_like(value) for _ in range(dist.get_world_size())]
    dist.all_gather(received, value.detach().contiguous())
    return torch.stack(received)


def rows_of_other_ranks(features: Tensor) -> Tensor:
    """The rows that the other ranks hold, as candidates that are only negatives (`info_nce`'s `extra`).

    Every rank must call it, with rows or without, and use the result in its loss: forward and backward
    exchange rows. The mean over ranks of `info_nce(a, b, tau, extra=rows_of_other_ranks(b))` is the loss of
    all rows together where every rank has as many; its gradients are those that DDP averages.

    Args:
        features: (N, D); N may differ between ranks, D may not.

    Returns:
        (M, D) rows of the other ranks in the order of their ranks; none without a distributed run.
    """
    if _alone():
        return features[:0]
    return _OtherRanks.apply(features)
