"""A copy of layers that follows them as a moving average: heads beside a momentum encoder."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn


class Pace(nn.Module):
    """How far a moving average moves in a step: 1 - m.

    With `steps`, m rises to 1 by a cosine: 1 - m_k = (1 - m) (1 + cos(pi k / steps)) / 2 in step k = 0, 1,
    ..., and 0 from `steps` on, as in the authors' codes of PixPro, SlotCon and OBoW.

    Args:
        momentum: m, in 0..1. steps: of the run, None for the same m in all of them.
    """

    def __init__(self, momentum: float, steps: int | None = None) -> None:
        super().__init__()
        if not 0.0 <= momentum <= 1.0:
            raise ValueError(f"momentum must lie in 0..1, got {momentum}")
        if steps is not None and steps < 1:
            raise ValueError(f"momentum rises over {steps} steps, expected at least 1")
        self.momentum, self.steps = momentum, steps
        self.done: Tensor
        if steps is not None:  # else nothing is saved
            self.register_buffer("done", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def move(self, copy: nn.Module, module: nn.Module) -> None:
        """Move the weights of `copy` one step towards those of `module`."""
        share: float | Tensor = 1 - self.momentum
        if self.steps is not None:
            turn = math.pi * (self.done.double() / self.steps).clamp(max=1)
            share = share * (1 + turn.cos()) / 2
            self.done += 1
        for own, new in zip(copy.parameters(), module.parameters(), strict=True):
            own.lerp_(new, share.to(own) if isinstance(share, Tensor) else share)


class Following(nn.Module):
    """A copy of `module` that follows it: w <- m w + (1 - m) w_module. It never has a gradient.

    Its batch-norm statistics are its own.

    Args:
        module: layers that are trained. momentum, steps: see `Pace`.
    """

    moves_without_gradient = True
    copy: Any  # of the module's own type

    def __init__(self, module: nn.Module, momentum: float = 0.99, steps: int | None = None) -> None:
        super().__init__()
        self.pace = Pace(momentum, steps)
        self.copy = deepcopy(module).requires_grad_(False)

    def update(self, module: nn.Module) -> None:
        """Follow `module` one step."""
        self.pace.move(self.copy, module)

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Any:
        return self.copy(*inputs)
