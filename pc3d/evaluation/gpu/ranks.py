"""Two processes with a GPU each: the same gradients in both, and those of one process with both halves."""

from __future__ import annotations

import os
import socket
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from pc3d.contrast.gather import rows_of_other_ranks
from pc3d.contrast.nce import info_nce


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))


def _rows() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(8, 16, generator=generator), torch.randn(8, 16, generator=generator)


def _loss(model: nn.Module, a: torch.Tensor, b: torch.Tensor, gather: bool) -> torch.Tensor:
    f, g = (nn.functional.normalize(model(x), dim=1) for x in (a, b))
    return info_nce(f, g, 0.1, extra=rows_of_other_ranks(g) if gather else None)


def _rank(number: int, world: int, port: int, backend: str, out: Any) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group(backend, rank=number, world_size=world)
    device = torch.device("cuda", number) if backend == "nccl" else torch.device("cpu")
    model = nn.parallel.DistributedDataParallel(_network().to(device), broadcast_buffers=False)
    a, b = (rows.chunk(world)[number].to(device) for rows in _rows())
    _loss(model, a, b, gather=True).backward()
    out.put((number, [p.grad.cpu().numpy() for p in model.parameters() if p.grad is not None]))
    dist.barrier()
    dist.destroy_process_group()


def two_ranks(backend: str = "nccl") -> dict[str, float]:
    """Largest difference of gradients between two ranks, and from one process, as shares of the largest.

    A contrast with the rows of the other rank as negatives, averaged by DDP.

    Args:
        backend: `nccl` with two GPUs, `gloo` on the CPU.
    """
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    context = mp.get_context("spawn")
    out = context.Queue()
    running = mp.spawn(_rank, (2, port, backend, out), nprocs=2, join=False)
    of_ranks = dict([out.get(timeout=600), out.get(timeout=600)])  # a rank that fails says nothing
    running.join()
    model = _network()
    _loss(model, *_rows(), gather=False).backward()
    alone = [p.grad.numpy() for p in model.parameters() if p.grad is not None]
    scale = max(float(abs(gradient).max()) for gradient in alone)

    def apart(one: list[Any], other: list[Any]) -> float:
        return max(float(abs(a - b).max()) for a, b in zip(one, other, strict=True)) / scale

    return {"between ranks": apart(of_ranks[0], of_ranks[1]), "from one process": apart(of_ranks[0], alone)}
