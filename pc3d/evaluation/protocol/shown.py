"""Sweeps as a network in evaluation is shown them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pc3d.data.batch import Batch, Needs
from pc3d.data.collate import collate
from pc3d.data.dataset import FrameDataset
from pc3d.data.frame_types import FrameConfig
from pc3d.data.index import SweepIndex
from pc3d.data.transforms import NO_AUGMENTATION, PointFilter


class Sweeps(Protocol):
    """Some sweeps of an index."""

    @property
    def index(self) -> SweepIndex: ...

    @property
    def tokens(self) -> tuple[str, ...]: ...


def batches(data: Sweeps, frames: FrameConfig | None, needs: Needs, size: int) -> Iterator[Batch]:
    """The sweeps in their order, each whole, without what only training does to a frame."""
    shown = frames or FrameConfig()
    shown = replace(
        shown,
        num_cameras=None,
        image_flip=0.0,
        image_crop=None,
        augmentation=(NO_AUGMENTATION,),
        points=PointFilter(shown.points.point_range),
        paste=None,
    )
    dataset = FrameDataset(data.index, needs, tokens=data.tokens, config=shown)
    for start in range(0, len(dataset), size):
        yield collate([dataset[number] for number in range(start, min(start + size, len(dataset)))])


@contextmanager
def modes_kept(module: nn.Module) -> Iterator[None]:
    """Inside, modules may be put into other modes; each gets its own back."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def estimated_norms(module: nn.Module, passes: Iterable[object]) -> Iterator[None]:
    """Inside, the batch norms of a module have the mean statistics of some passes (a cumulative average).

    Weights stay; a norm that nothing went through keeps its statistics. Statistics, momenta and modes are put
    back at the end, bit for bit.

    Args:
        passes: makes the passes as it is read, in evaluation mode but for the norms.
    """
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    kept = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    momenta = [norm.momentum for norm in norms]
    try:
        with modes_kept(module), torch.no_grad():
            module.eval()
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None
                norm.train()
            for _ in passes if norms else ():
                pass
            for norm, buffers in zip(norms, kept, strict=True):
                if not norm.num_batches_tracked:
                    _put_back(norm, buffers)
        yield
    finally:
        for norm, momentum, buffers in zip(norms, momenta, kept, strict=True):
            norm.momentum = momentum
            _put_back(norm, buffers)


def _put_back(norm: nn.Module, buffers: dict[str, Tensor]) -> None:
    for name, buffer in buffers.items():
        norm.get_buffer(name).copy_(buffer)


def device_of(module: nn.Module) -> torch.device:
    """Where its weights are."""
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
