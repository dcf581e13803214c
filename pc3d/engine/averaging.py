"""The exponential moving average of trained weights, which is saved, resumed and exported beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.hooks import Hook
from torch import Tensor, nn

SUFFIX = "_ema"
"""Of the files of averaged weights: `segmenter_ema.safetensors`."""


class WeightAverage(Hook):
    """w_ema <- m w_ema + (1 - m) w after each step, of the parameters that are trained.

    Buffers (batch-norm statistics) are averages by themselves: the model's go with the averaged weights.

    Args:
        model: that is trained. momentum: m, of 0 to 1, for example 0.999.
    """

    priority = "HIGH"

    def __init__(self, model: nn.Module, momentum: float) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"runtime.ema is {momentum}, expected 0 or more and below 1")
        self.momentum = momentum
        self._trained: dict[str, nn.Parameter] = {
            n: p for n, p in model.named_parameters() if p.requires_grad
        }
        self._average: dict[str, Tensor] = {name: p.detach().clone() for name, p in self._trained.items()}

    @torch.no_grad()
    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        if outputs:  # else the step was left out
            average = list(self._average.values())
            now: list[Tensor] = list(self._trained.values())
            torch._foreach_lerp_(average, now, 1 - self.momentum)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged weights by name, not copies."""
        return dict(self._average)

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """
        Raises:
            ValueError: it is of another model.
        """
        if state.keys() != self._average.keys():
            raise ValueError("the averaged weights are of another model")
        for name, value in state.items():
            self._average[name].copy_(value)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has its averaged weights within."""
        own = {name: p.data for name, p in self._trained.items()}
        for name, p in self._trained.items():
            p.data = self._average[name]
        try:
            yield
        finally:
            for name, p in self._trained.items():
                p.data = own[name]
