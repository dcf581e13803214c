"""Sweeps as a network in evaluation is shown them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

import torch
from torch import nn

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


def device_of(module: nn.Module) -> torch.device:
    """Where its weights are."""
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
