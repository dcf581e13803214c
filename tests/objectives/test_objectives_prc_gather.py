"""PRC over two processes that gather: the loss and the gradients of one process with all sweeps."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from objective_fixtures import TinyLidar, make_batch
from torch import Tensor

from pc3d.data.batch import Batch, FrameBatch, PointView
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.prc import PRC

POINTS = 40


def sweeps() -> Batch:
    """Two sweeps with regions of the same ids and sizes, no point of which is lost in a view."""
    batch = make_batch(points=POINTS)
    frame = batch.now
    frame.regions = torch.arange(-1, 3).repeat_interleave(POINTS // 4).repeat(2)
    a = frame.views["a"]
    frame.views["b"] = PointView(a.points * 0.9, a.batch, a.row, a.lidar_SE3, a.size)
    return batch


def sweep(number: int) -> Batch:
    """One of the two as a batch of its own."""
    frame, own = sweeps().now, slice(number * POINTS, (number + 1) * POINTS)
    row, sample = torch.arange(POINTS), torch.zeros(POINTS, dtype=torch.long)
    assert frame.regions is not None
    views = {
        name: PointView(view.points[own], sample, row, view.lidar_SE3[:1], 1)
        for name, view in frame.views.items()
    }
    world = frame.world_SE3_lidar[:1]
    alone = FrameBatch(views, POINTS, sample, world_SE3_lidar=world, regions=frame.regions[own])
    return Batch([f"sweep-{number}"], {"t": alone})


def step(batch: Batch, gather: bool) -> dict[str, Tensor]:
    """The loss, and the gradient of each parameter."""
    torch.manual_seed(0)
    lidar = TinyLidar()
    objective = PRC(lidar, across_batch=True, gather=gather)
    loss = objective(Encodings(batch, lidar))["loss"]
    loss.backward()
    named = [*lidar.named_parameters(), *objective.named_parameters()]
    return {"loss": loss.detach(), **{name: p.grad for name, p in named if p.grad is not None}}


def _rank(rank: int, folder: str) -> None:
    store, patience = f"file://{folder}/store", timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=patience)
    torch.save(step(sweep(rank), gather=True), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_that_gather_are_one_with_all_sweeps(tmp_path: Path) -> None:
    """The mean over processes, which is what DDP makes of gradients."""
    mp.spawn(_rank, (str(tmp_path),), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    mean = {name: (ranks[0][name] + ranks[1][name]) / 2 for name in ranks[0]}
    whole = step(sweeps(), gather=False)
    torch.testing.assert_close(mean, whole)
    alone = [step(sweep(number), gather=True) for number in range(2)]
    assert abs(float((alone[0]["loss"] + alone[1]["loss"]) / 2 - whole["loss"])) > 0.1


def test_gathering_single_sweeps_is_refused() -> None:
    with pytest.raises(ValueError, match="set across_batch=True"):
        PRC(TinyLidar(), gather=True)
