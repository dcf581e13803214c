"""What the processes of a run decide together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from pc3d.data.errors import DataError

T = TypeVar("T")


def world() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process."""
    return dist.get_rank() if world() > 1 else 0


def _device() -> torch.device:
    cuda = world() > 1 and dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")


def largest(values: Sequence[int]) -> list[int]:
    """The largest of each value over the processes."""
    if world() == 1:
        return list(values)
    tensor: Tensor = torch.tensor(values, dtype=torch.int64, device=_device())
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return tensor.tolist()


def gathered(value: T) -> list[T]:
    """The value of every process, in every process."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return values


def on_first(function: Callable[[], T]) -> T:
    """What `function` returns in the first process, in all of them; its error is raised in all, too."""
    if world() == 1:
        return function()
    box: list[Any] = [None, None]
    raised: Exception | None = None
    if rank() == 0:
        try:
            box[0] = function()
        except Exception as error:
            raised = error
            box[1] = str(error)
    dist.broadcast_object_list(box, src=0, device=_device())
    if raised is not None:
        raise raised
    if box[1] is not None:
        raise DataError(f"the first process stopped: {box[1]}")
    return box[0]
